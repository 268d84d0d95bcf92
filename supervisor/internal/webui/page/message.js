// A test message, and how far it has come.

const marks = { queued: "◷", sending: "◷", unknown: "◷", sent: "✓", delivered: "✓✓", read: "✓✓", played: "✓✓" };
const ends = ["read", "played", "failed", "cancelled", "expired"];

let message = null; // the last one that was sent from here
let attemptKey = null; // the Idempotency-Key of a request whose answer is not known

const renderSend = () => {
  el("send").hidden = locked || !["AUTHENTICATED", "READY", "DISCONNECTED"].includes(state.status);
};
on("state", renderSend);
on("connection", renderSend);
on("session", (s) => show("cannotSend", s.status === "READY" && s.sending && !s.sending.possible ? fill(ui.cannotSend, { why: s.sending.why || "" }) : ""));

const renderMessage = () => {
  el("sent").hidden = !message;
  el("sent").dataset.status = message.status;
  el("ticks").textContent = marks[message.status] || "✕";
  el("sentStatus").textContent = texts.Statuses[message.status] || message.status;
  el("sentTo").textContent = message.to.phone || message.to.lid || message.to.group || "";
  const why = message.error;
  show("sentWhy", why && [texts.SendCodes[why.code] || why.code, why.until && fill(ui.until, { time: moment(why.until) }),
    why.whatsapp_code && "(" + why.whatsapp_code + ")"].filter(Boolean).join(" "));
  el("sentTimes").replaceChildren(...Object.entries(message.times)
    .sort((a, b) => Date.parse(a[1]) - Date.parse(b[1]))
    .map(([status, at]) => make("li", (texts.Statuses[status] || status) + " ", make("time", moment(at)))));
  el("cancelRow").hidden = message.status !== "queued";
};

// follow shows what becomes of a message, until it is read, or another one is sent.
const follow = async (id) => {
  while (message.id === id && !ends.includes(message.status)) {
    try {
      const next = await (await api("messages/" + id + "?wait=25s")).json();
      if (message.id !== id) return;
      message = next;
      renderMessage();
    } catch (error) {
      if (error.code === "no_such_message" || keyProblems.includes(error.code)) return;
      await new Promise((done) => setTimeout(done, 2000));
    }
  }
};

el("sendForm").addEventListener("submit", async (event) => {
  event.preventDefault();
  show("sendError", el("text").value.trim() ? "" : ui.textMissing);
  if (!el("sendError").hidden) return;
  // A request whose answer was lost is repeated, and not another message.
  const body = { to: el("to").value, type: "text", text: { body: el("text").value } };
  if (attemptKey?.body !== JSON.stringify(body)) {
    attemptKey = { body: JSON.stringify(body), value: Array.from(crypto.getRandomValues(new Uint32Array(4)), (n) => n.toString(36)).join("-") };
  }
  try {
    message = await during("sendButton", () => command("messages", body, "POST", { "Idempotency-Key": attemptKey.value }));
    attemptKey = null;
    el("text").value = "";
    renderMessage();
    follow(message.id);
  } catch (error) {
    if (error instanceof Refused) attemptKey = null;
    show("sendError", problemOf(error));
  }
});

el("cancelMessage").addEventListener("click", async () => {
  try {
    message = await during("cancelMessage", () => command("messages/" + message.id, undefined, "DELETE"));
    renderMessage();
  } catch (error) {
    outcome(fill(ui.failed, { why: problemOf(error) }), true);
  }
});
