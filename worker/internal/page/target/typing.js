// Makes the object that finds what a person uses to write in a chat, and looks at the chat that is open.
// Pressing is done from outside. k is the selectors, t are the tools, calls those of
// the page's functions.
(function (k, t, calls) {
  "use strict";

  const { all, visible, place, wordsOf } = t;
  const { resolve, task, text, addresses, identify, rows, isKey } = calls(k, t);
  const n = k.sending.names;
  const y = k.typing;
  const MOST_ROWS = 50;
  const EARLY = 5; // seconds by which clocks may differ
  const DRAWN = 1000; // ms that a chat takes to draw its rows

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

  // list has the last rows of the chat, of which own ones show a state, or say so by their key.
  function list() {
    return all(y.row[0]).slice(-MOST_ROWS).map((row) => {
      const words = y.row_text.map((selector) => all(selector, row)[0]).find(Boolean);
      const level = ["read", "delivered", "sent", "pending"].find((state) => y[state].some((selector) => all(selector, row).length > 0));
      const name = row.getAttribute(y.row_id[0]) || "";
      return { name, words: words ? plain(words.innerText) : "", own: Boolean(level) || name.startsWith("true_"), level };
    });
  }

  const active = () => resolve("chats").value[n.chat_active]();
  // isOpen reports whether the chat that is open is surely this one.
  async function isOpen(to) {
    if (!first("chat")) return false;
    const work = task(2000);
    try {
      const chat = active();
      const who = addresses(await identify(work, to)).map(text);
      return Boolean(chat) && [chat[n.chat_id], chat[n.chat_lid]].some((wid) => wid && who.includes(text(wid)));
    } catch {
      return list().some(({ name }) => name.includes(`_${to}_`)); // The modules have gone.
    }
  }

  const pause = (ms) => new Promise((done) => setTimeout(done, ms));

  async function until(look, ms) {
    for (const end = performance.now() + ms; ; ) {
      const value = await look();
      if (value || performance.now() >= end) return value || null;
      await pause(100);
    }
  }

  const dialog = () => first("dialog");
  const digits = (words) => words.replace(/\D/g, "");
  let refusal; // the dialog that names the number which could not be written to
  const find = { close: () => refusal && first("close", refusal), new_chat: () => first("new_chat"), search: () => first("search"), composer: () => first("composer"), send: () => first("send") };
  const named = (to) => y.dialog.flatMap((selector) => all(selector)).find((d) => visible(d) && digits(wordsOf(d, 1000)).includes(digits(to)));

  // dated is when a message was sent, in seconds, or undefined where its row can't be read.
  async function dated(id, to) {
    const work = task(2000);
    try {
      for (const wid of addresses(await identify(work, to))) {
        const row = (await rows(work, [id], wid)).find((r) => isKey(r, id, true));
        if (row) return Number(row[n.message_time]);
      }
    } catch {
      // The page's functions for it have gone.
    }
    return undefined;
  }

  const answer = (row) => ({ id: idOf(row.name), level: row.level });

  const mayPress = async (to, words) => (await isOpen(to)) && !dialog() && !first("recording") && content() === words;

  return {
    // where to press; for what sends, only while it would send these words in this chat.
    where: async (name, to, words) => (name !== "send" || (await mayPress(to, words)) ? place(find[name]()) : null),
    appears: async (name, ms) => Boolean(await until(() => find[name](), ms)),

    // desk is what is on the screen.
    desk: async (to) => ({ open: await isOpen(to), dialog: Boolean(dialog()), composer: Boolean(first("composer")), words: content(), busy: Boolean(first("recording")) }),

    // opened waits for the chat, or for the dialog that refuses the number.
    opened: async (to, ms) => (await until(async () => ((await isOpen(to)) && "open") || ((refusal = named(to)) && "refused"), ms)) || (first("chat") ? "other" : ""),

    // focus gives a field the keyboard, selects what it holds, and returns that.
    focus(name) {
      const field = find[name]();
      if (!field) return null;
      const range = document.createRange();
      field.focus();
      range.selectNodeContents(field);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      return document.activeElement === field ? plain(field.innerText) : null;
    },

    // holds waits until a field holds these words.
    holds: async (name, words) => Boolean(await until(() => find[name]() && plain(find[name]().innerText) === words, 1000)),

    // left reports whether the field for messages holds something of these words or, in this chat, anything.
    left: async (to, words, anything) => content() !== "" && (words.includes(content()) || (anything && isOpen(to))),

    // last is the name of the last own row, once the chat has drawn its rows, if there are any.
    async last() {
      await until(() => list().length > 0, DRAWN);
      return (list().filter(({ own }) => own).pop() || { name: "" }).name;
    },

    // sent waits for an own row with these words below the row that was the last one, younger than a time in seconds.
    async sent(to, words, last, since, ms) {
      const look = () => {
        const own = list().filter((r) => r.own);
        const at = own.findIndex((r) => r.name === last);
        return last && at < 0 ? undefined : own.slice(at + 1).reverse().find((r) => r.words === words);
      };
      await until(() => look() && look().level !== "pending", ms);
      if (!last) await pause(DRAWN); // the first one may be of a history that is drawn late
      const row = look();
      const at = row && (await dated(idOf(row.name), to));
      return row && !(at < since - EARLY) ? answer(row) : null;
    },

    // earlier finds the first own row with these words that was sent at a time, in seconds, or later.
    async earlier(to, words, since, ms) {
      return until(async () => {
        for (const row of list()) {
          if (row.own && row.words === words && (await dated(idOf(row.name), to)) >= since - EARLY) return answer(row);
        }
        return null;
      }, ms);
    },
  };
})
