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

// The difference between the server's clock and this one, in milliseconds. The
// Date header has whole seconds, so half a second is added.
let skew = 0;
const now = () => Date.now() + skew;
const setClock = async () => {
  const answer = await fetch("healthz", { cache: "no-store" });
  const date = Date.parse(answer.headers.get("Date"));
  if (!Number.isNaN(date)) skew = date + 500 - Date.now();
};

const clock = new Intl.DateTimeFormat(texts.Language, { dateStyle: "medium", timeStyle: "medium" });
const moment = (iso) => clock.format(new Date(iso));
const duration = (ms) => {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 60) return fill(ui.seconds, { n: s });
  if (s < 3600) return fill(ui.minutes, { n: Math.round(s / 60) });
  return fill(ui.hours, { n: Math.round(s / 3600) });
};
const reasonText = (code, message, action) => texts.Reasons[code] || { Message: message, Action: action };

const dialog = el("confirm");
let settle = () => {}; // gives the open question its answer
// The answer is not left to the close event, which waits for the next frame: a
// tab nobody looks at draws none, and the question may be open again by then.
dialog.addEventListener("submit", (event) => settle(event.submitter?.value === "yes"));
dialog.addEventListener("close", () => {
  if (!dialog.open) settle(false); // by Escape
});

const ask = (question, consequence, yes) => {
  el("question").textContent = question;
  el("consequence").textContent = consequence;
  el("yes").textContent = yes;
  dialog.showModal();
  return new Promise((answer) => (settle = answer));
};

const command = async (path, body, method = "POST") => {
  const answer = await fetch(path, {
    method,
    headers: body ? { "Content-Type": "application/json" } : {},
    body: body && JSON.stringify(body),
  });
  const result = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(result.detail || answer.statusText);
  return result;
};
