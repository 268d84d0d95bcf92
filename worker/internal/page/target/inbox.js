// Makes the object that reads received messages in one document. It runs in the page's
// main world, calls what k.receiving and k.sending name, wraps nothing, and leaves no
// trace on any object of the page but listeners. calls makes the page's functions
// callable. The ledger has the keys of messages that have changed, or to which somebody may have
// reacted, until they are read, and lost, which means that there were too many; and files that
// are downloaded. ping is the name of the DOM event that makes the worker report that there is
// something to read. It has nothing of a message. files is what inboxfiles.js makes.
(function (k, t, calls, ledger, ping, files) {
  "use strict";

  const { Stop, resolve, gone, callable, task, within, carry, text, identify, addresses, named, own } = calls(k, t);
  const r = k.receiving;
  const n = { ...k.sending.names, ...r.names };
  const MOST_ROWS = 500; // of the table at once
  const MOST_MARKS = 16; // of one page
  const SOME_KNOWN = 20; // rows that could be read before
  const MOST_CHANGED = 500;
  const MOST_REACTIONS = 500; // of one answer
  const MOST_WATCHED = 500; // messages whose reactions are in memory
  const LONGEST_REACTION = 64;
  const MOST_TEXT = 200_000; // characters of one answer
  const LONGEST = 65_536; // characters of one text
  const LONGEST_NAME = 256;
  const LONGEST_KEY = 300;
  const PATIENCE = 5000; // ms for what the page does with a message
  const MOST_READING = 20; // that the page has not ended
  const PARTS = [n.reaction_key, n.reaction_sender, n.reaction_text];
  const FUNCTIONS = ["table", "from_row", "wid", "key", "own_phone"];
  const ADDRESS = /^\d{1,24}(-\d{1,24})?@(c\.us|lid|g\.us)$/;

  const notify = () => document.dispatchEvent(new Event(ping));
  const cut = (value, most) => (typeof value === "string" ? value.slice(0, most) : "");
  const number = (value) => (Number.isFinite(Number(value)) ? Number(value) : 0);

  // at is the text of an address without the number of a device.
  const at = (wid) => text(wid).replace(/:\d+@/, "@");

  // isChat reports whether messages of this address are read: those of statuses and
  // channels are not.
  const isChat = (address) => ADDRESS.test(address);

  // sum distinguishes rows whose numbers are the same. It has 53 bits (cyrb53).
  function sum(key) {
    let a = 0xdeadbeef;
    let b = 0x41c6ce57;
    for (let i = 0; i < key.length; i++) {
      const c = key.charCodeAt(i);
      a = Math.imul(a ^ c, 2654435761);
      b = Math.imul(b ^ c, 1597334677);
    }
    a = Math.imul(a ^ (a >>> 16), 2246822507) ^ Math.imul(b ^ (b >>> 13), 3266489909);
    b = Math.imul(b ^ (b >>> 16), 2246822507) ^ Math.imul(a ^ (a >>> 13), 3266489909);
    return (4294967296 * (2097151 & b) + (a >>> 0)).toString(36);
  }

  const keyOf = (row) => String(row[n.message_id]);
  const mark = (row) => ({ row: row[n.row_number], sum: sum(keyOf(row)) });

  // added is called with each message that the page has got.
  function added(message) {
    try {
      if (message[n.is_new]) notify();
    } catch {
      // It is no message.
    }
  }

  // noting returns a listener that adds the keys of messages to a list.
  const noting = (list) => (message) => {
    try {
      if (!isChat(at(message[n.message_id][n.key_remote]))) return;
      list.add(keyOf(message));
      if (list.size > MOST_CHANGED) {
        list.clear();
        ledger.lost = true;
      }
      notify();
    } catch {
      // It is no message.
    }
  };
  const changed = noting(ledger.changed);
  const reacted = noting(ledger.reacted);

  function acked(message) {
    if (message?.[n.message_id]?.[n.key_from_me] === true) changed(message);
  }

  const LISTENERS = [
    [n.add_event, added], [n.type_event, changed], [n.body_event, changed], [n.caption_event, changed], [n.ack_event, acked],
    [n.reaction_event, reacted],
  ];

  function hear(source, listeners) {
    for (const [event, listener] of listeners) {
      source[n.on](event, listener);
      ledger.leaves.push(() => source[n.off](event, listener));
    }
  }

  // watch listens to the reactions to one message.
  function watch(model) {
    const again = () => reacted(model);
    hear(model[n.reactions_list], [[n.add_event, again], [n.remove_event, again], [n.senders_event, again]]);
  }

  // loaded is called with the reactions to each message that the page loads.
  function loaded(model) {
    try {
      reacted(model);
      watch(model);
      ledger.watched.add(model);
      for (const old of ledger.watched) if (ledger.watched.size > MOST_WATCHED) ledger.watched.delete(old);
    } catch {
      // They are not what they should be.
    }
  }

  // listen listens again: the page can lose its listeners.
  function listen() {
    for (const leave of ledger.leaves.splice(0)) {
      try {
        leave();
      } catch {
        // What listened has gone.
      }
    }
    hear(resolve("messages").value, LISTENERS);
    try {
      hear(resolve("reactions").value, [[n.add_event, loaded]]);
      ledger.watched.forEach(watch);
    } catch {
      return false;
    }
    return true;
  }

  async function after(work, table, row, most) {
    work.last = "table";
    const list = await work.wait(table[n.table_after]([n.row_number], row, { [n.limit]: most }));
    if (!Array.isArray(list)) throw gone("table");
    const numbers = list.map((one) => one[n.row_number]);
    if (numbers.some((at, i) => !(at > (i ? numbers[i - 1] : row)))) throw gone("table");
    return list.slice(0, most);
  }

  // start returns the number of the last row that is known, by the newest mark that is
  // still true, and whether there were marks and none is.
  async function start(work, table, marks) {
    for (const one of marks) {
      const [row] = await after(work, table, one.row - 1, 1);
      if (row && row[n.row_number] === one.row && mark(row).sum === one.sum) return { row: one.row, known: true };
    }
    return { row: r.first_row - 1, known: false };
  }

  // reader reads messages, and asks for each address once.
  function reader(work) {
    const people = new Map();
    async function who(wid) {
      const address = at(wid);
      if (!isChat(address)) return {};
      if (!people.has(address)) people.set(address, named(await identify(work, work.call("wid", address))));
      return people.get(address);
    }
    function parsed(id) {
      if (typeof id !== "string") return id;
      const { value } = resolve("key");
      work.last = "key";
      if (typeof value?.[n.key_parse] !== "function") throw gone("key");
      return value[n.key_parse](id);
    }

    // kind is what a message is, "" for what is not reported.
    function kind(data) {
      if (!isChat(at(parsed(data[n.message_id])[n.key_remote]))) return "";
      const word = data[n.message_type];
      return typeof word === "string" && Object.hasOwn(r.types, word) ? r.types[word] : "unknown";
    }

    // describe returns what is reported of a message.
    async function describe(data, type = kind(data)) {
      if (!type) return undefined;
      const key = parsed(data[n.message_id]);
      const chat = await who(key[n.key_remote]);
      const own = key[n.key_from_me] === true;
      let from = chat;
      if (own) from = {};
      else if (chat.group) from = await who(data[n.message_author] ?? key[n.key_participant]);
      const words = { revoked: "", undecrypted: "", text: data[n.message_body] };
      const file = Object.hasOwn(words, type) ? {} : data;
      return {
        key: cut(keyOf(data), LONGEST_KEY), id: cut(String(key[n.key_id]), 64), chat, from, own, type,
        name: cut(data[n.message_name], LONGEST_NAME), text: cut(words[type] ?? data[n.message_caption], LONGEST),
        seconds: number(data[n.message_time]), reply: cut(data[n.message_quoted], 64), ack: number(data[n.message_ack]),
        edit: data[n.message_edit] ? sum(String(data[n.message_edit])) : "",
        media: {
          mime: cut(file[n.media_mime], LONGEST_NAME), name: cut(file[n.media_name], LONGEST_NAME),
          size: number(file[n.media_size]), hash: cut(file[n.media_hash], 64),
        },
      };
    }

    // row reads a row, unless it is too old or of something else.
    async function row(one, since = 0) {
      const old = (data) => number(data[n.message_time] ?? since) < since;
      if (old(one) || (one[n.message_type] !== undefined && !kind(one))) return undefined;
      const data = await work.ask("from_row", one);
      return old(data) ? undefined : describe(data);
    }

    // works reports whether any of these rows can be read.
    async function works(rows) {
      for (const one of rows) {
        try {
          if (await row(one)) return true;
        } catch (error) {
          if (error instanceof Stop) throw error;
        }
      }
      return false;
    }

    return { parsed, who, describe, row, works };
  }

  // gather returns what one() makes of rows in order, at most so many messages, and of how many rows.
  async function gather(rows, limit, one) {
    const messages = [];
    let length = 0;
    let done = 0;
    for (const row of rows) {
      if (messages.length >= limit) break;
      const message = await one(row);
      length += message ? message.text.length : 0;
      if (messages.length > 0 && length > MOST_TEXT) break;
      if (message) messages.push(message);
      done++;
    }
    return { messages, done };
  }

  // read reads rows in order, at most so many messages. One that can't be read though
  // others can is reported without what is in it.
  async function read(work, rows, since, limit, known) {
    const { describe, row, works } = reader(work);
    let failure;
    const found = await gather(rows, limit, async (one) => {
      try {
        return await row(one, since);
      } catch (error) {
        if (error instanceof Stop) throw error;
        failure ??= error;
        return describe({ [n.message_id]: one[n.message_id], [n.message_time]: one[n.message_time] }, "unknown").catch(() => undefined);
      }
    });
    if (failure && !(await works([...rows.slice(0, found.done), ...known]))) throw failure;
    return found;
  }

  // again reads messages of which something is known, from memory where they are: their rows may be
  // late. One that can't be read is passed over.
  function again(work, rows) {
    const { describe, row } = reader(work);
    return gather(rows, rows.length, async (one) => {
      try {
        const model = work.model("messages", keyOf(one));
        return await (model ? describe(model) : row(one));
      } catch (error) {
        if (error instanceof Stop) throw error;
        return undefined;
      }
    });
  }

  // spread returns at most so many of a list, the last one among them.
  function spread(list, most) {
    const step = Math.ceil(list.length / most);
    return list.filter((_, i) => (list.length - 1 - i) % step === 0);
  }

  // news reads the messages that have changed, from memory: their rows may be late.
  async function news(work) {
    const keys = [...ledger.changed].slice(0, 100);
    const { describe } = reader(work);
    const changed = [];
    let { lost } = ledger;
    for (const key of keys) {
      const model = work.model("messages", key);
      const message = model && (await describe(model));
      if (message) changed.push(message);
      lost ||= !model; // It has left the memory.
    }
    for (const key of keys) ledger.changed.delete(key);
    const reacted = [...ledger.reacted].slice(0, 100);
    for (const key of reacted) ledger.reacted.delete(key);
    ledger.lost = false;
    return { changed, reacted, lost, more: ledger.changed.size + ledger.reacted.size > 0 };
  }

  // reactionTable returns the table of reactions.
  function reactionTable(work) {
    const table = work.call("reaction_table");
    if (typeof table?.[n.table_any] !== "function") throw gone("reaction_table");
    return table;
  }

  // spellings returns the keys by which the page may name a message: a chat with somebody has
  // two addresses.
  async function spellings(key, { parsed, who }) {
    try {
      const remote = at(parsed(key)[n.key_remote]);
      const { phone, lid } = await who(remote);
      const others = [phone, lid].filter((address) => address && address !== remote);
      return [key, ...others.map((address) => key.replace(`_${remote}_`, `_${address}_`))];
    } catch (error) {
      if (error instanceof Stop) throw error;
      return [key]; // It is no key any longer.
    }
  }

  // lastReactions returns the rows of the last reactions to each of these messages, as many as
  // one answer has, and how many messages they are to.
  async function lastReactions(work, keys, since, reading) {
    const seconds = (row) => number(row[n.message_time] ?? row[n.reaction_time] / 1000);
    const names = await Promise.all(keys.map((key) => spellings(key, reading)));
    const found = await work.wait(reactionTable(work)[n.table_any]([n.reaction_parent], names.flat()));
    if (!Array.isArray(found)) throw gone("reaction_table");
    const rows = [];
    let done = 0;
    for (const key of keys) {
      const some = found.filter((row) => names[done].includes(row[n.reaction_parent]) && row[n.reaction_orphan] !== 1 && seconds(row) >= since);
      if (done > 0 && rows.length + some.length > MOST_REACTIONS) break;
      some.sort((a, b) => a[n.reaction_time] - b[n.reaction_time]);
      rows.push(...some.slice(-MOST_REACTIONS).map((row) => ({ row, key, seconds: seconds(row) })));
      done++;
    }
    return { rows, done };
  }

  // readReactions reads the last reaction of each person to these messages. One that can't be
  // read though others can is passed over.
  async function readReactions(work, keys, since) {
    const reading = reader(work);
    const { rows, done } = await lastReactions(work, keys, since, reading);
    const { parsed, who } = reading;
    const reactions = [];
    let failure;
    for (const { row, key, seconds } of rows) {
      try {
        if (PARTS.some((part) => typeof row[part] !== "string")) throw new TypeError("not a row");
        const [message, reaction] = [parsed(key), parsed(row[n.reaction_key])];
        const own = reaction[n.key_from_me] === true;
        const chat = await who(message[n.key_remote]);
        const from = own ? {} : await who(row[n.reaction_sender]);
        reactions.push({
          message: key, id: cut(String(message[n.key_id]), 64), reaction: cut(String(reaction[n.key_id]), 64), chat, from, own,
          emoji: cut(row[n.reaction_text], LONGEST_REACTION), seconds,
        });
      } catch (error) {
        if (error instanceof Stop) throw error;
        failure ??= error;
      }
    }
    if (failure && reactions.length === 0) throw failure;
    return { reactions, done };
  }

  // lacksForReactions is what is missing for reading them.
  function lacksForReactions() {
    try {
      reactionTable(task(PATIENCE));
      return "";
    } catch {
      return "reaction_table";
    }
  }

  // tableOf returns the table of messages.
  function tableOf(work) {
    const table = work.call("table");
    if (typeof table?.[n.table_after] !== "function" || typeof table[n.table_get] !== "function") throw gone("table");
    return table;
  }

  // rowsOf returns the rows with these keys that are there.
  async function rowsOf(work, keys) {
    work.last = "table";
    const found = await work.wait(tableOf(work)[n.table_get](keys));
    if (!Array.isArray(found)) throw gone("table");
    return found.slice(0, keys.length).filter(Boolean);
  }

  // online does something while the account is shown as online. The page would wait for that.
  async function online(act) {
    const stream = resolve("presence").value;
    if (ledger.shown === 0 && stream?.[n.available] !== false) return act();
    if (typeof stream[n.mark_available] !== "function" || typeof stream[n.mark_unavailable] !== "function") throw gone("presence");
    ledger.shown++;
    try {
      stream[n.mark_available]();
      return await act();
    } finally {
      ledger.shown--;
      if (ledger.shown === 0) stream[n.mark_unavailable]();
    }
  }

  // chatOf returns the chat that a key is of.
  async function chatOf(work, key) {
    const remote = key[n.key_remote];
    let chat = work.model("chats", remote);
    for (const wid of chat ? [] : addresses(await identify(work, at(remote)))) chat ??= work.model("chats", wid);
    if (!chat) throw new Stop("message_not_found");
    return chat;
  }

  async function markRead(work, [row]) {
    if (!row) throw new Stop("message_not_found");
    if (!callable("mark_read")) throw gone("mark_read");
    const chat = await chatOf(work, reader(work).parsed(keyOf(row)));
    if (ledger.reading >= MOST_READING) throw new Stop("late");
    await online(() => {
      ledger.reading++;
      const marked = Promise.resolve(work.call("mark_read", { [n.asked_chat]: chat })).finally(() => {
        ledger.reading--;
      });
      return within(marked, PATIENCE);
    });
  }

  async function askPhone(work, rows) {
    const loaded = await work.ask("load", rows.map(keyOf));
    const unread = loaded[n.loaded].filter((model) => r.types[model[n.message_type]] === "undecrypted");
    if (unread.length > 0) await work.ask("ask_phone", unread, true);
  }

  // modelOf returns the model of a message.
  async function modelOf(work, key) {
    const [row] = await rowsOf(work, [key]);
    const model = row && (await work.ask("load", [keyOf(row)]))[n.loaded][0];
    if (!model || keyOf(model) !== key) throw new Stop("message_not_found");
    if (!model[n.media_hash] || r.types[model[n.message_type]] === "revoked") throw new Stop("media_gone");
    return model;
  }

  const part = files(n, ledger, { Stop, callable, gone, resolve });

  const ERRANDS = { mark_read: markRead, ask_phone: askPhone };

  return {
    // listen listens to the page's messages, and reports what is missing for reading them, and
    // their reactions. Without unheard those are noticed only when they are read.
    listen() {
      const lacks = FUNCTIONS.find((name) => !callable(name));
      if (lacks) return { missing: lacks };
      const messages = resolve("messages").value;
      if (typeof messages?.[n.on] !== "function" || typeof messages[n.off] !== "function") return { missing: "messages" };
      return { missing: "", unread: lacksForReactions(), unheard: listen() ? "" : "reactions" };
    },

    // receive reads at most so many messages after the newest mark that is still true, and
    // those that have changed. Without a mark it begins with the first one. What is older
    // than since, in seconds, is passed over.
    receive: ({ marks, since, limit }, ms) =>
      carry(ms, async (work) => {
        const account = await own(work);
        const table = tableOf(work);
        const from = await start(work, table, marks);
        const rows = await after(work, table, from.row, MOST_ROWS);
        const known = from.known ? await after(work, table, from.row - SOME_KNOWN, SOME_KNOWN) : [];
        const { messages, done } = await read(work, rows, since, limit, known);
        const more = done < rows.length || rows.length >= MOST_ROWS;
        const other = more ? { changed: [], reacted: [], lost: false, more: true } : await news(work);
        const marked = spread(rows.slice(0, done).map(mark), MOST_MARKS).reverse();
        return { account, known: from.known, marks: marked, messages, ...other };
      }),

    // fetch returns a part of the file of the message with this key, in base64, once it is downloaded.
    fetch: (file, ms) => carry(ms, async (work) => part(work, file, () => modelOf(work, file.key))),

    // reread reads the messages with these keys, as far as they are there, after an errand.
    reread: ({ keys, errand, since }, ms) =>
      carry(ms, async (work) => {
        if (errand === "read_reactions") {
          const { reactions, done } = await readReactions(work, keys, since);
          return { reactions, more: done < keys.length };
        }
        if (errand) await ERRANDS[errand](work, await rowsOf(work, keys));
        const rows = await rowsOf(work, keys);
        const { messages, done } = await again(work, rows);
        return { messages, more: done < rows.length };
      }),
  };
})
