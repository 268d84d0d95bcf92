// The session's state, and what can be done about it.

const reasonText = (code, message, action) => texts.Reasons[code] || { Message: message, Action: action };

let state = { status: document.body.dataset.state, reason: {} };
let progress = { phase: { name: "" }, progress_percent: null };
let retryAt = null;
let heardAt = Date.now(); // from the service
let locked = false; // a key is needed, and was not entered
let returning = false; // the QR, after a request for a code that failed

const headline = () => texts.Headlines[state.reason.code] || texts.States[state.status] || state.status;

const render = () => {
  const text = reasonText(state.reason.code, state.reason.message, state.reason.action);
  document.body.dataset.state = state.status;
  document.body.toggleAttribute("data-lost", !online);
  document.body.toggleAttribute("data-locked", locked);
  el("locked").hidden = !locked;
  el("code").textContent = online ? state.status : ui.offline;
  if (locked) {
    el("headline").textContent = ui.keyTitle;
    show("message", texts.Problems.key_required);
    show("action", "");
  } else if (online) {
    const failed = returning && state.reason.code === "pairing_requested";
    const coded = state.reason.code === "pairing_code_shown"; // what it is, and what to do with it, is next to it
    el("headline").textContent = failed ? ui.qrReturning : headline();
    show("message", failed || coded ? "" : text.Message || (state.status === "READY" ? ui.readyMessage : ""));
    show("action", coded ? "" : text.Action);
  } else {
    el("headline").textContent = ui.lost;
    show("message", state.status && fill(ui.lastKnown, { state: headline(), time: moment(heardAt) }));
    show("action", ui.reconnecting);
  }
  // A countdown says it better.
  const counted = state.reason.code === "passkey_required" || (state.reason.code === "conflict" && left(retryAt));
  show("detail", online && !locked && !counted ? state.reason.detail : "");
  document.title = el("headline").textContent + " – " + ui.title;
  const known = online && !locked;
  el("service").hidden = el("reportsSection").hidden = locked || !state.status;
  el("danger").hidden = locked || !["AUTHENTICATED", "READY", "DISCONNECTED"].includes(state.status);
  renderProgress(known);
  renderRetry();
  enable();
};

const renderProgress = (known) => {
  const percent = progress.progress_percent;
  const name = progress.phase.name;
  const working = !["page", "blocked", "backoff", ""].includes(name) || ["INIT", "AUTHENTICATED"].includes(state.status);
  el("progress").hidden = !known || (percent === null && !working) || name === "backoff" || name === "blocked";
  el("phase").textContent = percent !== null ? fill(ui.progress, { n: percent }) : name === "page" ? ui.working : texts.Phases[name] || name;
  el("bar").hidden = percent === null;
  el("spinner").hidden = percent !== null;
  if (percent !== null) el("bar").value = percent;
};

// A session that was opened elsewhere can be taken back, and what waits for its next start can be
// started.
const renderRetry = () => {
  const conflict = state.reason.code === "conflict";
  const time = left(retryAt);
  el("retry").hidden = !online || locked || !(conflict || time);
  el("retryIn").textContent = time ? fill(conflict ? ui.takeBackIn : ui.retryIn, { time }) : "";
  el("tryNow").textContent = conflict ? ui.takeOver : ui.tryNow;
};
on("tick", renderRetry);

on("state", (s) => {
  state = s;
  render();
});
on("progress", (p) => {
  progress = p;
  render();
});
on("worker", (w) => {
  retryAt = w.retry_at;
  render();
});
on("connection", render);

on("warnings", (w) => {
  document.body.toggleAttribute("data-warned", w.warnings.length > 0);
  el("warnings").hidden = !w.warnings.length;
  el("warnings").replaceChildren(...w.warnings.map((warning) => {
    const text = reasonText(warning.code, warning.message, warning.action);
    return make("p", make("strong", text.Message), " ", make("span", text.Action || ""), " ", make("small", warning.detail || ""));
  }));
});

// act has a button send a command, once its question is answered with yes.
const act = (id, path, done, question) =>
  el(id).addEventListener("click", async () => {
    if (question && !(await ask(...question))) return;
    outcome("");
    try {
      await during(id, () => command(path));
      outcome(done);
    } catch (error) {
      outcome(fill(ui.failed, { why: problemOf(error) }), true);
    }
  });
act("tryNow", "session/restart?now=true", ui.restartDone);
act("restart", "session/restart", ui.restartDone, [ui.restartQuestion, ui.restartConsequence, ui.restart]);
act("logout", "session/logout", ui.logoutDone, [ui.logoutQuestion, ui.logoutConsequence, ui.logout, true]);
