// Makes the object that sends messages in one document, and finds them again. It runs
// in the page's main world, calls those functions of the page that k.sending names,
// wraps none, and leaves no trace on any object of the page but one listener. t are the
// tools. What must outlive another selectors file is in the ledger: sent has the
// messages that this document was made to send, news those whose state has changed, and
// files those that are on their way into messages. ping
// is the name of the DOM event that makes the worker fetch the news. acts is what
// messageacts.js makes.
(function (k, t, calls, ledger, ping, acts) {
  "use strict";

  const { Stop, resolve, gone, callable, task, within, isTypeError, carry, text, maybe, identify, addresses, named, isKey, rows, own } = calls(k, t);
  const n = k.sending.names;
  const OURS = /^3EB0[0-9A-F]{18}$/;
  const NOBODY = "3EB0" + "0".repeat(18);
  const STALE_CONTACT = 463; // a refusal of the server
  const STALE_GROUP = 421;
  const MOST_NEWS = 500;
  const MOST_SENT = 2000;
  const MOST_FILES = 20;
  const PREVIEW = 3000; // ms
  const QUICK = 2000; // ms for what the page has at hand

  const FUNCTIONS = ["wid", "exists", "make_chat", "key", "text_data", "send", "rows", "load", "resend_in", "own_phone"];
  const ACTS = ["react", "edit", "may_edit", "revoke", "may_revoke"];
  const MEDIA = ["media_opaque", "media_prepare", "media_object", "media_type", "media_upload"];
  const ACCOUNT = ["timelocked", "may_while_timelocked", "capped", "may_while_capped"];

  // find returns the row of one of our messages.
  async function find(work, id, wids) {
    for (const wid of wids) {
      const row = (await rows(work, [id], wid)).find((r) => isKey(r, id, true));
      if (row) return row;
    }
    return undefined;
  }

  // state is what a row, and what the ledger has of the message, say about it.
  function state(id, row, who) {
    const entry = ledger.sent.get(id) || {};
    let ack = Number(row[n.message_ack]) || 0;
    let refusal = 0;
    const word = row[n.message_error];
    if (Object.hasOwn(k.sending.refusals, word)) refusal = k.sending.refusals[word];
    if (ack <= 0 && entry.ok) ack = 1;
    if (ack <= 0 && (entry.refusal || entry.rejected)) [ack, refusal] = [-1, entry.refusal || refusal];
    if (ack < 0 && !refusal && entry.pending) ack = 0; // The row is of an earlier attempt.
    const pending = ack === 0 && entry.pending === true;
    return { id, stored: true, ack, refusal: ack < 0 ? refusal : 0, pending, seconds: ack === 1 ? entry.seconds || 0 : 0, ...named(who) };
  }

  function remember(id, entry) {
    if (ledger.sent.size >= MOST_SENT) {
      for (const [old, { pending }] of ledger.sent) if (!pending) ledger.sent.delete(old);
    }
    ledger.sent.delete(id);
    ledger.sent.set(id, entry);
    return entry;
  }

  function report(id, ack, refusal) {
    if (ledger.news.size >= MOST_NEWS && !ledger.news.has(id)) return; // The table has it.
    ledger.news.set(id, { id, ack, refusal });
    document.dispatchEvent(new Event(ping));
  }

  // watch notes what the server answers, which may take for ever. A promise of anything
  // else proves nothing.
  function watch(id, entry, sent) {
    if (!sent || typeof sent.then !== "function") return;
    Promise.resolve(sent).then(
      (answer) => {
        if (!answer || answer[n.result] === undefined) return;
        entry.pending = false;
        entry.ok = answer[n.result] === n.result_ok;
        entry.seconds = Number(answer[n.result_time]) || 0;
        entry.refusal = entry.ok ? 0 : Number(answer[n.result_refusal]) || 0;
        if (entry.refusal) report(id, -1, entry.refusal);
      },
      () => {
        if (!entry.stored) return;
        entry.pending = false;
        entry.rejected = true;
        report(id, -1, 0);
      },
    ).catch(() => {
      // The answer is not what it should be.
    });
  }

  // settle notes whether a message was stored, however late: one that was not can be sent.
  function settle(entry, stored) {
    Promise.resolve(stored).then(
      () => {
        entry.stored = true;
      },
      () => {
        entry.pending = false;
      },
    );
  }

  // listener is called with each message whose acknowledgement has changed.
  function listener(message) {
    try {
      const key = message[n.message_id];
      const id = String(key[n.key_id]);
      if (key[n.key_from_me] === true && OURS.test(id)) report(id, Number(message[n.message_ack]) || 0, 0);
    } catch {
      // It is no message.
    }
  }

  // listen listens again: the page can lose its listeners. What can't be left is listened to once.
  function listen() {
    const messages = resolve("messages").value;
    if (ledger.leave && typeof messages[n.off] !== "function") return;
    try {
      ledger.leave?.();
    } catch {
      // What listened has gone.
    }
    messages[n.on](n.ack_event, listener);
    ledger.leave = () => messages[n.off](n.ack_event, listener);
  }

  const chatOf = (work, who) => addresses(who).map((wid) => work.model("chats", wid)).find(Boolean);

  // isKnown reports whether the other side has written to us.
  const isKnown = (chat) => Boolean(chat && (chat[n.chat_token] || chat[n.chat_received]));

  // pref returns one of the page's own notes about the account.
  async function pref(name) {
    try {
      const store = resolve("prefs").value;
      return (await within(store[n.get](name), QUICK)) || {};
    } catch {
      return {};
    }
  }

  const locked = async () => Number((await pref(n.pref_timelock))[n.timelock_ends]) || 0;
  const capping = async () => {
    const kept = await pref(n.pref_capping);
    const number = (name) => Number(kept[name]) || 0;
    return { used: number(n.capping_used), quota: number(n.capping_total), until: 1000 * number(n.capping_ends) };
  };

  // allow stops what the account must not do. Where that can't be found out, only those
  // are written to who wrote to us.
  async function allow(work, chat) {
    const asked = { [n.asked_chat]: chat, [n.asked_contact]: chat && chat[n.chat_contact] };
    try {
      if ((await work.ask("timelocked")) && !(chat && (await work.ask("may_while_timelocked", asked)))) {
        throw new Stop("new_chats_restricted", { until: await locked() });
      }
      if ((await work.ask("capped")) && !(chat && (await work.ask("may_while_capped", asked)))) {
        throw new Stop("new_chats_capped", { until: (await capping()).until });
      }
    } catch (error) {
      if (error.code === "new_chats_restricted" || error.code === "new_chats_capped" || !isKnown(chat)) throw error;
    }
  }

  // exists asks the server for an account.
  async function exists(work, wid) {
    const found = await work.ask("exists", wid);
    if (found === null) return null;
    if (!found || !text(found[n.found_wid]).includes("@")) throw new Stop("lookup_failed", { name: "exists" });
    const who = await identify(work, found[n.found_wid]);
    return { who, business: Boolean(found[n.found_business] || found[n.found_business_info]) };
  }

  function groupOf(work, who) {
    const chat = work.model("chats", who.group);
    if (!chat || chat[n.chat_read_only]) throw new Stop("group_not_writable");
    return { chat, who };
  }

  // destination returns the chat to send to, made if need be, and who that is.
  async function destination(work, asked) {
    if (asked.group) return groupOf(work, asked);
    let who = asked;
    let chat = chatOf(work, who);
    let wid = asked.lid;
    if (!isKnown(chat)) {
      const found = await exists(work, asked.phone || asked.lid);
      if (!found) throw new Stop("not_on_whatsapp");
      wid = addresses(found.who)[0];
      who = { lid: found.who.lid || asked.lid, phone: found.who.phone || asked.phone };
      chat = chatOf(work, who);
    }
    if (resolve("blocked").value && addresses(who).some((wid) => work.model("blocked", wid))) throw new Stop("blocked_contact");
    await allow(work, chat);
    if (!chat) {
      const made = await work.ask("make_chat", wid, n.make_chat_origin);
      chat = work.model("chats", made[n.made_chat][n.chat_id]);
      if (!chat) throw gone("make_chat");
      if (!who.lid) who = { ...who, lid: await maybe(work, "lid_of", who.phone) };
      if (!who.phone) who = { ...who, phone: await maybe(work, "phone_of", who.lid) };
    }
    return { chat, who };
  }

  // matches reports whether a chat is surely that of somebody.
  const matches = (chat, who) => addresses(who).some((wid) => text(wid) === text(chat[n.chat_id]));

  // options are what the page's builder takes besides the text.
  async function options(work, m, chat, who) {
    const made = {};
    if (m.replyTo) {
      let key;
      for (const wid of addresses(who)) key ||= (await rows(work, [m.replyTo], wid)).find((r) => isKey(r, m.replyTo, false));
      const loaded = key && (await work.ask("load", [String(key[n.message_id])]));
      const quoted = loaded && loaded[n.loaded][0];
      if (!quoted || (callable("may_reply") && !work.call("may_reply", quoted))) throw new Stop("reply_not_found");
      made[n.option_quoted] = quoted;
    }
    if (m.mentions.length > 0) made[n.option_mentions] = m.mentions.map((address) => work.call("wid", address));
    const link = m.preview && (await maybe(work, "link", m.text));
    if (link) {
      const seen = await previewOf(work, link, chat);
      if (seen) made[n.option_preview] = seen[n.preview_data] || seen;
    }
    return made;
  }

  async function previewOf(work, link, chat) {
    const before = work.last;
    try {
      return await within(work.call("preview", link, chat), PREVIEW);
    } catch {
      return undefined; // The message does without.
    } finally {
      work.last = before;
    }
  }

  // withKey puts our id into the key of what the page's builder has made.
  function withKey(work, data, id) {
    const Key = resolve("key").value;
    work.last = "key";
    if (typeof Key !== "function") throw gone("key");
    const old = data[n.data_id];
    const key = new Key({
      [n.key_from]: data[n.data_from], [n.key_to]: data[n.data_to], [n.key_id]: id,
      [n.key_participant]: old[n.key_participant], [n.key_direction]: n.key_outgoing,
    });
    if (String(key) !== String(old).split(String(old[n.key_id])).join(id) || !isKey({ [n.message_id]: key }, id, true)) throw gone("key");
    data[n.data_id] = key;
    return key;
  }

  // prepare makes of a file what is uploaded.
  async function prepare(work, file, media) {
    const kind = n["media_" + media.kind];
    const limit = Number(await maybe(work, "media_limit", kind)) || Infinity;
    // Only images may become smaller.
    if (file.size > limit && media.kind !== "image") throw new Stop("media_too_large");
    try {
      const opaque = await work.ask("media_opaque", file.slice(0, file.size, media.mime), media.mime);
      const options = { [n.media_filename]: media.name, ...(media.kind === "document" ? { [n.media_as_document]: true } : {}) };
      const prepared = await work.wait(work.call("media_prepare", opaque, options)[n.media_wait]());
      if (prepared[n.media_size] > limit) throw new Stop("media_too_large");
      if (prepared[n.media_kind] !== kind || !prepared[n.media_hash]) throw new Stop("media_failed", { name: "media_prepare" });
      return prepared;
    } catch (error) {
      if (error?.name === n.media_too_large) throw new Stop("media_too_large");
      if (isTypeError(error)) throw gone(work.last);
      throw error;
    }
  }

  // uploaded returns what a message has to have of a file that it uploads.
  async function uploaded(work, file, media) {
    const prepared = await prepare(work, file, media);
    const object = work.call("media_object", prepared[n.media_hash]);
    object[n.media_consolidate](prepared[n.media_json]());
    prepared[n.media_blob]?.[n.media_release]?.();
    const type = work.call("media_type", { [n.media_kind]: prepared[n.media_kind] });
    const answer = await work.ask("media_upload", { [n.media_mime]: prepared[n.media_mime], [n.media_of]: object, [n.media_class]: type });
    const entry = answer && answer[n.media_entry];
    if (!entry || !entry[n.media_path] || !entry[n.media_key]) throw new Stop("media_failed", { name: "media_upload" });
    const fields = media.kind === "document" ? { [n.media_filename]: media.name } : {};
    for (const [to, from] of Object.entries(k.sending.prepared)) fields[to] = prepared[from];
    for (const [to, from] of Object.entries(k.sending.uploaded)) fields[to] = entry[from];
    return fields;
  }

  // upload has a file uploaded, which nobody but the server notices, unless the message has a
  // row already. It may fail at any point, and be repeated.
  async function upload(work, m) {
    const asked = await identify(work, m.to);
    if (await find(work, m.id, addresses(asked))) return {};
    const lacks = missing() || MEDIA.find((name) => !callable(name));
    if (lacks) throw gone(lacks);
    const { input } = ledger.files.get(m.id) || {};
    const file = input && input.files[0];
    if (!file || file.size !== m.media.size) throw new Stop("media_failed", { name: "media_opaque" });
    try {
      ledger.files.set(m.id, { fields: await uploaded(work, file, m.media) });
    } catch (error) {
      if (error instanceof Stop && error.code !== "late") throw error;
      throw new Stop("media_failed", { name: work.last }); // A connection that fails is a TypeError, too.
    }
    return {};
  }

  // withFile makes of the data of a text those of its file, with the text as the caption.
  function withFile(work, m, data) {
    const { fields } = ledger.files.get(m.id) || {};
    if (!fields) throw new Stop("not_ready");
    const caption = m.text ? data[n.media_body] : undefined;
    delete data[n.media_body];
    return Object.assign(data, fields, { [n.media_caption]: caption });
  }

  // renewed reports whether the page has renewed what the server has refused, so that
  // the message may be sent once more: what it knows of a contact, which opening the chat
  // does, or of a group.
  async function renewed(work, refusal, row) {
    const renew = { [STALE_CONTACT]: "open_chat", [STALE_GROUP]: "refresh_group" }[refusal];
    if (!renew || (renew === "open_chat" && (await maybe(work, "timelocked")))) return false;
    const loaded = await work.ask("load", [String(row[n.message_id])]);
    const chat = work.model("chats", loaded[n.loaded][0][n.message_id][n.key_remote]);
    if (!chat) return false;
    await maybe(work, renew, renew === "open_chat" ? { [n.asked_chat]: chat } : { [n.chat_id]: chat[n.chat_id] });
    return true;
  }

  // existing returns the state of a message that has a row. What an earlier document has
  // left without an acknowledgement is sent again; what failed without a refusal, or with
  // one that may pass, once.
  async function existing(work, id, row, who) {
    const now = state(id, row, who);
    const entry = ledger.sent.get(id) || {};
    if (now.ack > 0 || now.pending || (now.ack < 0 && entry.again)) return now;
    if (now.refusal && !(await renewed(work, now.refusal, row))) return now;
    const loaded = await work.ask("load", [String(row[n.message_id])]);
    const model = loaded[n.loaded][0];
    const failed = Number(model[n.message_ack]) < 0 || model[n.message_failed] === true;
    const chat = work.model("chats", model[n.message_id][n.key_remote]);
    if (!chat || work.late() || ledger.sent.get(id)?.pending) throw new Stop("late");
    const again = remember(id, { pending: true, stored: true, again: true });
    try {
      const sent = resendBy(work, model, chat, failed);
      watch(id, again, Array.isArray(sent) ? sent[sent.length - 1] : sent);
    } catch (error) {
      ledger.sent.delete(id);
      throw error;
    }
    return { ...state(id, { [n.message_ack]: 0 }, who), pending: true };
  }

  function resendBy(work, model, chat, failed) {
    if (failed && callable("resend")) return work.call("resend", model);
    if (failed && typeof model[n.message_resend] === "function") return model[n.message_resend]();
    return work.call("resend_in", chat, Promise.resolve(model));
  }

  // again is existing for a message that is stored, so that nothing that goes wrong
  // means that it was not sent.
  async function again(work, id, row, who) {
    try {
      return { state: await existing(work, id, row, who) };
    } catch (error) {
      throw new Stop("unknown", { name: isTypeError(error) ? work.last : error.name });
    }
  }

  // store makes the page store and send what was built. Afterwards nothing is certain but
  // what the table says.
  async function store(work, id, chat, who, data, key) {
    const entry = remember(id, { pending: true, stored: false });
    let failure;
    try {
      const made = work.call("send", chat, data);
      const [stored, sent] = Array.isArray(made) ? made : [made, undefined];
      watch(id, entry, sent);
      settle(entry, stored);
      const model = await work.wait(stored);
      entry.stored = true;
      return { state: state(id, model && model[n.message_ack] ? model : { [n.message_ack]: 0 }, who) };
    } catch (error) {
      if (error instanceof Stop && error.code === "late") throw new Stop("unknown", { name: "send" });
      failure = error;
    }
    ledger.sent.delete(id);
    const doubt = task(QUICK); // however late it is
    const row = await find(doubt, id, [chat[n.chat_id]]);
    if (row) return again(doubt, id, row, who);
    const untouched = isTypeError(failure) && !doubt.model("messages", key);
    throw new Stop(untouched ? "page_path_gone" : "unknown", { name: "send" });
  }

  // send stores and sends a message that has no row yet. It makes the page's call only
  // in time, so that what was reported as late is never sent afterwards.
  async function send(work, m) {
    const asked = await identify(work, m.to);
    const before = await find(work, m.id, addresses(asked));
    if (before) return again(work, m.id, before, asked);
    const lacks = missing();
    if (lacks) throw gone(lacks);
    if (ledger.sent.get(m.id)?.pending) throw new Stop("unknown", { name: "send" });
    if (resolve("offline_ended").value === false) throw new Stop("not_ready");
    const { chat, who } = await destination(work, asked);
    const known = addresses(asked).map(text);
    const others = [...addresses(who), chat[n.chat_id]].filter((wid) => !known.includes(text(wid)));
    const found = await find(work, m.id, others);
    if (found) return again(work, m.id, found, who);
    const made = await options(work, m, chat, who);
    const data = await work.ask("text_data", chat, m.text || "-", made);
    if (!data) throw gone("text_data");
    if (m.media) withFile(work, m, data);
    const key = withKey(work, data, m.id);
    await allowAgain(work, chat, asked);
    const same = work.model("chats", chat[n.chat_id]) === chat && matches(chat, who) && text(data[n.data_to]) === text(chat[n.chat_id]);
    if (!same) throw new Stop("lookup_failed", { name: "make_chat" });
    if (work.late()) throw new Stop("late");
    if (ledger.sent.get(m.id)?.pending) throw new Stop("unknown", { name: "send" });
    ledger.files.delete(m.id);
    return store(work, m.id, chat, who, data, key);
  }

  const allowAgain = (work, chat, asked) => (asked.group ? undefined : allow(work, chat));

  async function account() {
    const work = task(QUICK);
    const [ends, cap, challenge] = await Promise.all([locked(), capping(), pref(n.pref_challenge)]);
    return {
      restricted: Boolean(await maybe(work, "timelocked")), restrictedUntil: ends,
      capped: Boolean(await maybe(work, "capped")), used: cap.used, quota: cap.quota, cappedUntil: cap.until,
      challenge: Boolean(challenge[n.challenge_type]), challengePasskey: challenge[n.challenge_type] === n.challenge_passkey,
    };
  }

  // missing is the first function without which nothing can be sent.
  function missing() {
    const lacks = FUNCTIONS.find((name) => !callable(name));
    if (lacks) return lacks;
    if (typeof (resolve("chats").value || {})[n.get] !== "function") return "chats";
    return observable() ? "" : "messages";
  }

  const observable = () => typeof (resolve("messages").value || {})[n.on] === "function";

  const act = acts(n, ledger, { Stop, addresses, callable, gone, identify, isKey, isTypeError, remember, report, resolve, rows, state, task });

  return {
    // input returns an element, in no document, that takes the file of a message.
    input(id) {
      const [oldest] = ledger.files.keys();
      if (ledger.files.size >= MOST_FILES) ledger.files.delete(oldest);
      const input = document.createElement("input");
      input.type = "file";
      ledger.files.set(id, { input });
      return input;
    },

    // upload uploads this file, in no more than ms.
    upload: (m, ms) => carry(ms, (work) => upload(work, m)),

    // send sends a message, or does an act on one, in no more than ms. That of a file was uploaded before.
    send: (m, ms) => carry(ms, (work) => (m.act ? act(work, m) : send(work, m))),

    // lookup finds messages: each has an id, and the addresses that are known of its chat.
    lookup: (refs, ms) =>
      carry(ms, async (work) => {
        const chats = new Map(); // address -> what to look for there
        const whose = [];
        for (const ref of refs) {
          let who = {};
          for (const address of [ref.group, ref.lid, ref.phone].filter(Boolean)) {
            const found = await identify(work, address);
            who = { ...who, ...Object.fromEntries(Object.entries(found).filter(([, wid]) => wid)) };
          }
          whose.push(who);
          for (const wid of addresses(who)) {
            const at = text(wid);
            if (!chats.has(at)) chats.set(at, { wid, ids: new Set() });
            chats.get(at).ids.add(ref.id);
          }
        }
        const found = new Map();
        for (const { wid, ids } of chats.values()) {
          const list = await rows(work, [...ids], wid);
          for (const id of ids) {
            const row = list.find((r) => isKey(r, id, true));
            if (row) found.set(id, row);
          }
        }
        return { states: refs.map(({ id }, i) => (found.has(id) ? state(id, found.get(id), whose[i]) : { id })) };
      }),

    // contact asks the page's server for an account.
    contact: (address, ms) =>
      carry(ms, async (work) => {
        const found = await exists(work, work.call("wid", address));
        if (!found) return { contact: {} };
        const { who, business } = found;
        return { contact: { onWhatsApp: true, business, knownChat: isKnown(chatOf(work, who)), ...named(who) } };
      }),

    // observe returns whether the page can send and what the account may do, in about ms, and listens.
    async observe(ms) {
      const work = task(ms);
      const seen = { missing: missing(), unchecked: ACCOUNT.find((name) => !callable(name)) || "", undoable: ACTS.find((name) => !callable(name)) || "", arriving: resolve("offline_ended").value === false };
      try {
        if (observable()) listen();
      } catch {
        // Nothing is reported: it is looked up.
      }
      try {
        seen.own = await own(work).catch(() => ({}));
        const me = seen.own.phone || seen.own.lid;
        seen.answers = Boolean(!seen.missing && me && (await rows(work, [NOBODY], work.call("wid", me))));
        seen.newChats = await work.wait(account());
      } catch {
        seen.answers = false;
      }
      return seen;
    },

    // take returns the oldest news, and forgets them.
    take() {
      const list = [...ledger.news.values()].slice(0, 100);
      for (const { id } of list) ledger.news.delete(id);
      return { news: list, more: ledger.news.size > 0 };
    },
  };
})
