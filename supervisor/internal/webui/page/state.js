// The session's state, and what can be done about it.

let state = { status: document.body.dataset.state };
let typing = false; // a pairing code is offered
let qr = { available: false };
let retryAt = 0;

const showState = (s) => {
  state = s;
  document.body.dataset.state = s.status;
  const text = reasonText(s.reason.code, s.reason.message, s.reason.action);
  el("code").textContent = s.status;
  el("headline").textContent = texts.States[s.status] || s.status;
  show("message", text.Message || (s.status === "READY" ? ui.readyMessage : ""));
  show("action", text.Action);
  show("detail", s.reason.detail);
  el("since").textContent = moment(s.since);
  document.title = (texts.States[s.status] || s.status) + " – " + ui.title;
  el("link").hidden = s.status !== "QR_REQUIRED";
  const typed = typing;
  typing = s.reason.code === "pairing_code_shown";
  el("scan").hidden = typing;
  el("steps").hidden = typing;
  el("logout").hidden = !["AUTHENTICATED", "READY", "DISCONNECTED"].includes(s.status);
  // A pairing code is of no use once the page no longer offers it.
  if (el("link").hidden || (typed && !typing)) el("pairCode").textContent = "";
};

const showProgress = (p) => {
  const percent = p.progress_percent;
  const busy = percent !== null || !["page", "blocked", "backoff"].includes(p.phase.name);
  el("progress").hidden = !busy;
  el("phase").textContent =
    p.phase.name === "page" && percent !== null
      ? fill(ui.progress, { n: percent })
      : texts.Phases[p.phase.name] || p.phase.name;
  if (percent === null) el("bar").removeAttribute("value");
  else el("bar").value = percent;
};

const showWarnings = (w) => {
  document.body.toggleAttribute("data-warned", w.warnings.length > 0);
  el("warnings").hidden = !w.warnings.length;
  el("warnings").replaceChildren(...w.warnings.map((warning) => {
    const text = reasonText(warning.code, warning.message, warning.action);
    const line = document.createElement("p");
    for (const [kind, content] of [["strong", text.Message], ["span", text.Action], ["small", warning.detail]]) {
      const part = document.createElement(kind);
      part.textContent = content || "";
      line.append(part, " ");
    }
    return line;
  }));
};

const showWorker = (w) => {
  const worker = w.worker;
  el("worker").textContent = worker.pid
    ? fill(ui.running, { n: worker.generation, when: moment(worker.started_at) })
    : ui.notRunning;
  el("browser").textContent = w.browser ? w.browser.product + (w.browser.sandbox ? "" : " – " + ui.noSandbox) : "–";
  el("crashes").textContent = worker.abnormal_exits;
  const exit = w.last_exit;
  el("lastExit").textContent = exit
    ? moment(exit.at) + ": " + reasonText(exit.reason, exit.reason).Message + " " +
      fill(ui.afterUptime, { time: duration(exit.uptime_ms) }) +
      [[ui.worker, exit.worker_exit], ["Chrome", exit.chrome_exit]].map(([name, how]) => (how ? " " + name + ": " + how + "." : "")).join("") +
      (exit.detail ? " " + exit.detail : "")
    : ui.none;
  retryAt = w.retry_at ? Date.parse(w.retry_at) : 0;
};

// The image is fetched, not named by its URL, so that an old one can never be
// shown for a new one.
let wanted = 0;
const dropImage = () => {
  URL.revokeObjectURL(el("qr").src);
  el("qr").removeAttribute("src");
  el("qr").hidden = true;
  el("noqr").hidden = false;
};
// A dense code needs the width of the page to be scanned from a screen.
el("qr").addEventListener("load", () => el("link").classList.toggle("dense", el("qr").naturalWidth > 640));
const showQR = async (q) => {
  qr = q;
  const turn = ++wanted;
  if (!q.available) {
    dropImage();
    return;
  }
  for (let attempt = 0; attempt < 5 && turn === wanted; attempt++) {
    try {
      const answer = await fetch("qr.png", { cache: "no-store" });
      if (answer.ok) {
        const image = await answer.blob();
        if (turn !== wanted) return;
        dropImage();
        el("qr").src = URL.createObjectURL(image);
        el("qr").hidden = false;
        el("noqr").hidden = true;
        return;
      }
    } catch {
      // The connection is gone; try again, unless an event comes first.
    }
    await new Promise((done) => setTimeout(done, 1000));
  }
};

const tick = () => {
  const left = qr.available ? Date.parse(qr.qr.expires_at) - now() : 0;
  if (qr.available && left <= 0) showQR({ available: false });
  el("countdown").textContent = left > 0 ? fill(ui.newCodeIn, { n: Math.ceil(left / 1000) }) : "";
  const life = qr.available ? Date.parse(qr.qr.expires_at) - Date.parse(qr.qr.issued_at) : 1;
  el("life").style.width = Math.max(0, Math.min(100, (100 * left) / life)) + "%";
  const wait = retryAt - now();
  show("retry", retryAt && wait > 0 ? fill(ui.retryIn, { time: duration(wait) }) : "");
};
setInterval(tick, 250);

const listen = () => {
  const source = new EventSource("events");
  const on = (type, handle) =>
    source.addEventListener(type, (event) => {
      handle(JSON.parse(event.data));
      tick();
    });
  on("state", showState);
  on("progress", showProgress);
  on("warnings", showWarnings);
  on("worker", showWorker);
  on("qr", showQR);
  on("passkey", showPasskey);
  source.onopen = () => {
    el("offline").hidden = true;
    setClock().catch(() => {});
  };
  source.onerror = () => {
    el("offline").hidden = false;
    showQR({ available: false });
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, 3000);
  };
};

const button = (id, question, consequence, yes, path, done) => {
  el(id).addEventListener("click", async () => {
    if (!(await ask(question, consequence, yes))) return;
    el(id).disabled = true;
    el("outcome").textContent = "";
    try {
      await command(path);
      el("outcome").textContent = done;
    } catch (error) {
      el("outcome").textContent = fill(ui.failed, { why: error.message });
    }
    el(id).disabled = false;
  });
};
button("restart", ui.restartQuestion, ui.restartConsequence, ui.restart, "session/restart", ui.restartDone);
button("logout", ui.logoutQuestion, ui.logoutConsequence, ui.logout, "session/logout", ui.logoutDone);

el("pair").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    const result = await command("session/pair", { phone: el("phone").value });
    el("pairCode").textContent = result.code.slice(0, 4) + "-" + result.code.slice(4);
  } catch (error) {
    el("pairCode").textContent = fill(ui.failed, { why: error.message });
  }
});

listen();
