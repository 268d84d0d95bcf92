// Makes the object that finds what a person uses to write in a chat, and looks at the chat that is open.
// Pressing is done from outside. k is the selectors, t are the tools, calls those of
// the page's functions.
(function (k, t, calls) {
  "use strict";

  const { all, visible, place } = t;
  const { resolve, task, text, addresses, identify, rows, isKey } = calls(k, t);
  const n = k.sending.names;
  const y = k.typing;
  const MOST_ROWS = 50;
  const EARLY = 5; // seconds by which clocks may differ

  const first = (name, within) => {
    for (const selector of y[name]) {
      const found = all(selector, within).find(visible);
      if (found) return found;
    }
    return undefined;
  };
  const plain = (words) => words.replace(/\u00a0/g, " ").replace(/\r/g, "").trim();
  const content = () => (first("composer") ? plain(first("composer").innerText) : "");

  // idOf is the id of a message in what a row is named by: the id, or the whole key.
  function idOf(name) {
    if (!name.includes("_")) return name;
    try {
      return String(resolve("key").value[n.key_parse](name)[n.key_id]);
    } catch {
      return name.split("_")[2] || "";
    }
  }

  // list has the last rows of the chat, of which own ones show a state.
  function list() {
    return all(y.row[0]).slice(-MOST_ROWS).map((row) => {
      const words = y.row_text.map((selector) => all(selector, row)[0]).find(Boolean);
      const level = ["read", "delivered", "sent", "pending"].find((name) => y[name].some((selector) => all(selector, row).length > 0));
      return { name: row.getAttribute(y.row_id[0]) || "", words: words ? plain(words.innerText) : "", own: Boolean(level), level };
    });
  }

  // isOpen reports whether the chat that is open is surely this one.
  async function isOpen(to) {
    if (!first("chat")) return false;
    const work = task(2000);
    try {
      const { value } = resolve("chats");
      const chat = value[n.chat_active]();
      const who = addresses(await identify(work, to)).map(text);
      return Boolean(chat) && [chat[n.chat_id], chat[n.chat_lid]].some((wid) => wid && who.includes(text(wid)));
    } catch {
      return list().some(({ name }) => name.includes(`_${to}_`)); // The modules have gone.
    }
  }

  async function until(look, ms) {
    for (const end = performance.now() + ms; ; ) {
      const value = await look();
      if (value || performance.now() >= end) return value || null;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }

  const dialog = () => first("dialog");
  const find = { close: () => first("close", dialog()), new_chat: () => first("new_chat"), search: () => first("search"), composer: () => first("composer"), send: () => first("send") };

  // dated reports whether a message was sent at a time or later, in seconds, as far as its row shows.
  async function dated(id, to, since) {
    const work = task(2000);
    for (const wid of addresses(await identify(work, to))) {
      const row = (await rows(work, [id], wid)).find((r) => isKey(r, id, true));
      if (row) return Number(row[n.message_time]) >= since - EARLY;
    }
    return false;
  }

  const answer = (row) => ({ id: idOf(row.name), level: row.level });

  return {
    where: (name) => place(find[name]()),
    appears: async (name, ms) => Boolean(await until(() => find[name](), ms)),

    // desk is what is on the screen.
    desk: async (to) => ({ open: await isOpen(to), dialog: Boolean(dialog()), composer: Boolean(first("composer")), words: content(), busy: Boolean(first("recording")) }),

    // opened waits for the chat, or a dialog instead.
    opened: (to, ms) => until(async () => ((await isOpen(to)) && "open") || (dialog() && "dialog"), ms),

    // write replaces what a field holds, as a person does, and returns what it holds then.
    write(name, words) {
      const field = find[name]();
      if (!field) return null;
      field.focus();
      if (document.activeElement !== field) return null;
      const range = document.createRange();
      range.selectNodeContents(field);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      if (plain(field.innerText) !== "") document.execCommand("delete");
      words.split("\n").forEach((line, i) => {
        if (i > 0) document.execCommand("insertLineBreak"); // Enter alone would send it
        if (line) document.execCommand("insertText", false, line);
      });
      return plain(field.innerText);
    },

    // last is the name of the last own row.
    last: () => (list().filter(({ own }) => own).pop() || { name: "" }).name,

    // sent waits for an own row with these words below the row that was the last one.
    async sent(words, last, ms) {
      const look = () => {
        const own = list().filter((r) => r.own);
        return own.slice(own.findIndex((r) => r.name === last) + 1).find((r) => r.words === plain(words));
      };
      const row = (await until(() => (look() && look().level !== "pending" ? look() : null), ms)) || look();
      return row ? answer(row) : null;
    },

    // earlier finds an own row with these words that was sent at a time, in seconds, or later.
    async earlier(to, words, since, ms) {
      return until(async () => {
        for (const row of list().reverse()) {
          if (row.own && row.words === plain(words) && (await dated(idOf(row.name), to, since))) return answer(row);
        }
        return null;
      }, ms);
    },
  };
})
