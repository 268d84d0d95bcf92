"use strict";
// What every part of the page uses.

const texts = JSON.parse(document.getElementById("texts").textContent);
const ui = texts.UI;
const el = (id) => document.getElementById(id);
const show = (id, text) => {
  el(id).textContent = text || "";
  el(id).hidden = !text;
};
const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
const make = (tag, ...content) => {
  const made = document.createElement(tag);
  made.append(...content);
  return made;
};

// --- events: those of the service by their types, and "session", "connection" and "tick" ---

const handlers = {};
const on = (type, handle) => (handlers[type] ||= []).push(handle);
const happen = (type, body) => handlers[type]?.forEach((handle) => handle(body));

// --- time ---

// The server's clock when this page began, in milliseconds. What has passed since then is measured by a
// clock that nobody sets. Each answer has the time, in whole seconds, and the server's clock may be set.
let origin = Date.now() - performance.now();
const now = () => origin + performance.now();
const setClock = (answer) => {
  const behind = Date.parse(answer.headers.get("Date")) + 500 - now();
  if (Math.abs(behind) > 1500) origin += behind;
};
setInterval(() => happen("tick"), 250);

const longClock = new Intl.DateTimeFormat(texts.Language, { dateStyle: "medium", timeStyle: "short" });
const shortClock = new Intl.DateTimeFormat(texts.Language, { timeStyle: "short" });
// Of a day other than today it has the date as well.
const moment = (at) => {
  const date = new Date(at);
  return (date.toDateString() === new Date().toDateString() ? shortClock : longClock).format(date);
};
const duration = (ms) => {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 60) return fill(ui.seconds, { n: s });
  if (s < 3600) return fill(ui.minutes, { n: Math.round(s / 60) });
  return fill(ui.hours, { n: Math.round(s / 3600) });
};
// What is left until then, such as 2:05; empty once it is over.
const left = (at) => {
  const s = Math.ceil((Date.parse(at) - now()) / 1000);
  if (!(s > 0)) return "";
  return s < 3600 ? Math.floor(s / 60) + ":" + String(s % 60).padStart(2, "0") : duration(s * 1000);
};

// --- buttons ---

let online = true;
const busy = new Set();
const enable = () => {
  for (const button of document.querySelectorAll("main > section button")) {
    button.disabled = !online || busy.has(button.id);
    button.setAttribute("aria-busy", busy.has(button.id));
  }
};
// While work is going on, the button shows it and can't be pressed.
const during = async (id, work) => {
  const focused = document.activeElement === el(id);
  busy.add(id);
  enable();
  try {
    return await work();
  } finally {
    busy.delete(id);
    enable();
    if (focused && document.activeElement === document.body) el(id).focus();
  }
};

let vanish;
const outcome = (text, stays) => {
  el("outcome").textContent = text;
  el("toast").hidden = !text;
  clearTimeout(vanish);
  if (!stays) vanish = setTimeout(() => (el("toast").hidden = true), 10000);
};
el("close").addEventListener("click", () => (el("toast").hidden = true));

// --- questions ---

// The answer is not left to the close event, which waits for the next frame: a
// tab nobody looks at draws none, and the question may be open again by then.
const answerOf = (dialog) =>
  new Promise((answer) => {
    dialog.onsubmit = () => answer(true);
    dialog.onclose = () => dialog.open || answer(false); // by Escape
    dialog.showModal();
  });

const ask = async (question, consequence, yes, dangerous) => {
  el("question").textContent = question;
  el("consequence").textContent = consequence;
  el("yes").textContent = yes;
  el("yes").classList.toggle("dangerous", Boolean(dangerous));
  let pressed = "no";
  el("yes").onclick = () => (pressed = "yes");
  return (await answerOf(el("confirm"))) && pressed === "yes";
};

// --- requests ---

// What is kept as long as this tab is, unless the browser stores nothing for pages.
const kept = (name) => {
  try {
    return JSON.parse(sessionStorage.getItem(name));
  } catch {
    return null;
  }
};
const keep = (name, value) => {
  try {
    sessionStorage.setItem(name, JSON.stringify(value));
  } catch {
    // The page does without.
  }
  return value;
};

let keys = kept("keys") || []; // that were entered
const remember = (all) => (keys = keep("keys", all));

let asked = null; // the open question for a key, as several requests may need one
const askForKey = (code) => {
  el("keyWhy").textContent = texts.Problems[code];
  el("key").value = "";
  asked ||= answerOf(el("keyDialog")).finally(() => (asked = null));
  return asked;
};
el("keyCancel").addEventListener("click", () => el("keyDialog").close());
el("keyForm").addEventListener("submit", () => {
  const key = el("key").value.trim();
  // No other characters fit into a header.
  if (/^[\x21-\x7e]+$/.test(key)) remember([key, ...keys.filter((other) => other !== key)]);
});

// Refused is an answer that is a problem.
class Refused extends Error {
  constructor(body, answer) {
    const known = texts.Problems[body.code];
    const later = Number(answer.headers.get("Retry-After"));
    super([known || body.detail || fill(ui.unexpected, { status: answer.status }), known ? "" : body.hint,
      later > 1 ? fill(ui.later, { time: duration(later * 1000) }) : ""].filter(Boolean).join(" "));
    this.code = body.code;
  }
}
const problemOf = (error) => (error instanceof Refused ? error.message : ui.lost);

const keyProblems = ["key_required", "key_unknown", "scope_missing"];

// try once with each key, and without one. The header keeps browsers from asking for a password.
const attempt = async (path, options) => {
  let refused;
  for (const key of [...keys, ""]) {
    if (refused && key === "") break;
    const answer = await fetch(path, { cache: "no-store", ...options, headers: { ...options.headers, "X-API-Key": key } });
    setClock(answer);
    if (answer.ok) return answer;
    refused = new Refused(await answer.json().catch(() => ({})), answer);
    if (!keyProblems.includes(refused.code)) break;
    if (refused.code === "key_unknown") remember(keys.filter((other) => other !== key));
  }
  throw refused;
};

// api returns a good answer, or throws a Refused, or what fetch throws without a connection. It
// asks for a key where one is needed.
const api = async (path, options = {}) => {
  for (;;) {
    const before = keys.length;
    try {
      return await attempt(path, options);
    } catch (error) {
      if (!keyProblems.includes(error.code) || (keys.length <= before && !(await askForKey(error.code)))) throw error;
    }
  }
};

const command = async (path, body, method = "POST", headers = {}) => {
  const answer = await api(path, {
    method,
    headers: body ? { ...headers, "Content-Type": "application/json" } : {},
    body: body && JSON.stringify(body),
  });
  return answer.json();
};
