// Makes the function that reacts to a message, edits it, or deletes it for everybody. n are the names of
// k.sending, ledger and h the ledger and the tools of message.js.
(function (n, ledger, h) {
  "use strict";

  // For how long WhatsApp allows for it, in seconds. They only name a refusal of the page.
  const EDIT_LIFE = 20 * 60;
  const REVOKE_LIFE = 2.5 * 24 * 60 * 60;
  const PATIENCE = 3000; // ms for the server's answer, which is news afterwards

  const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  const ok = { ok: true };
  const failed = { rejected: true };

  const older = (model, life) => Date.now() / 1000 - Number(model[n.message_time]) > life;
  const may = (work, name, model) => h.callable(name) && Boolean(work.call(name, model));
  const isRevoked = (model) => model[n.message_type] === n.message_revoked;
  const textOf = (model) => String(model[n.message_text] ?? model[n.message_caption] ?? "");

  // targetOf returns the model of the message that is acted on, if the chat has it.
  async function targetOf(work, m, who) {
    for (const wid of h.addresses(who)) {
      const row = (await h.rows(work, [m.target], wid)).find((r) => h.isKey(r, m.target, false));
      if (!row) continue;
      const loaded = await work.ask("load", [String(row[n.message_id])]);
      return loaded[n.loaded][0];
    }
    return undefined;
  }

  // edited returns the row of a message's latest edit.
  async function edited(work, model) {
    let key = model[n.message_edit];
    if (!key) return undefined;
    if (typeof key === "string") key = h.resolve("key").value[n.key_parse](key);
    const id = String(key[n.key_id]);
    return (await h.rows(work, [id], model[n.message_id][n.key_remote])).find((r) => h.isKey(r, id, true));
  }

  const isSent = (row) => Boolean(row) && Number(row[n.message_ack]) > 0;

  // edit returns what promises the outcome. The page shows an edit before its server has
  // it; such a one is sent again under the key that it has.
  async function edit(work, m, model) {
    const before = m.again && textOf(model) === m.text.trim() && (await edited(work, model));
    if (isSent(before)) return async () => ok;
    if (!may(work, "may_edit", model) && !may(work, "may_edit_caption", model)) {
      if (!h.callable("may_edit")) throw h.gone("may_edit");
      throw new h.Stop(model[n.message_id][n.key_from_me] === true && !isRevoked(model) && older(model, EDIT_LIFE) ? "edit_too_late" : "not_editable");
    }
    const again = Boolean(before) && h.callable("edit_again");
    return async () => {
      await (again ? work.call("edit_again", model) : work.call("edit", model, m.text, {}));
      return isSent(await edited(h.task(PATIENCE), model)) ? ok : failed;
    };
  }

  async function revoke(work, m, model, chat) {
    if (isRevoked(model)) return async () => ok;
    if (!may(work, "may_revoke", model) && !may(work, "may_revoke_any", model)) {
      if (!h.callable("may_revoke")) throw h.gone("may_revoke");
      throw new h.Stop(model[n.message_id][n.key_from_me] === true && older(model, REVOKE_LIFE) ? "revoke_too_late" : "not_revocable");
    }
    // The page would give the promise of the other one, and delete nothing.
    if ([...ledger.sent.values()].some((entry) => entry.pending && entry.revokes === chat)) throw new h.Stop("late");
    return async () => {
      const list = { [n.revoke_kind]: n.revoke_messages, [n.revoke_list]: [model] };
      const [answer] = await work.call("revoke", chat, list, false);
      return isRevoked(model) || answer?.[n.result] === n.result_ok ? ok : failed;
    };
  }

  async function react(work, m, model) {
    if (isRevoked(model)) throw new h.Stop("message_not_found");
    if (!h.callable("react")) throw h.gone("react");
    return async () => {
      await work.call("react", model, m.text);
      return ok;
    };
  }

  const kinds = { edit, revoke, reaction: react };

  // conclude notes the outcome, however late.
  async function conclude(id, entry, outcome) {
    try {
      Object.assign(entry, await outcome);
    } catch (error) {
      entry.changed = h.isTypeError(error) || error?.code === "page_path_gone";
      entry.rejected = true;
    }
    entry.pending = false;
    h.report(id, entry.ok ? 1 : -1, 0);
  }

  // act does it unless this document has done it already, or does so now.
  return async function act(work, m) {
    const who = await h.identify(work, m.to);
    const known = ledger.sent.get(m.id);
    const now = () => ({ state: h.state(m.id, {}, who) });
    if (known && (known.pending || known.ok)) return now();
    if (h.resolve("offline_ended").value === false) throw new h.Stop("not_ready");
    const model = await targetOf(work, m, who);
    if (!model) {
      if (m.act !== "revoke" || !m.again) throw new h.Stop("message_not_found");
      h.remember(m.id, ok); // A message that was deleted has another key.
      return now();
    }
    const chat = work.model("chats", model[n.message_id][n.key_remote]);
    if (!chat) throw new h.Stop("message_not_found");
    const begin = await kinds[m.act](work, m, model, chat);
    if (work.late()) throw new h.Stop("late");
    const entry = h.remember(m.id, { pending: true, stored: true, revokes: m.act === "revoke" ? chat : undefined });
    await Promise.race([conclude(m.id, entry, begin()), pause(PATIENCE)]);
    if (entry.changed) {
      ledger.sent.delete(m.id);
      throw h.gone(work.last);
    }
    return now();
  };
})
