// What is known of the login and of the service, and the reports of crashes.

const orNever = (at) => (at ? moment(at) : ui.never);

on("session", (s) => {
  const login = s.login;
  el("linked").textContent = orNever(login.linked_at);
  el("saved").textContent = orNever(login.persisted_at);
  el("backup").textContent = !login.backup_at ? ui.noBackup
    : fill(Date.parse(login.backup_verified_at) >= Date.parse(login.backup_at) ? ui.verified : ui.notVerified, { when: moment(login.backup_at) });
  el("since").textContent = moment(s.since);
  el("pageVersion").textContent = s.page.version || "–";
  el("version").textContent = s.version;
  el("host").textContent = s.host || "–";
  el("instance").textContent = s.instance;
  el("where").textContent = [s.host, s.instance].filter(Boolean).join(" · ");
});

on("worker", (w) => {
  const worker = w.worker;
  el("worker").textContent = worker.pid
    ? fill(ui.running, { n: worker.generation, when: moment(worker.started_at) })
    : ui.notRunning;
  el("browser").textContent = w.browser ? w.browser.product.replace("/", " ") + (w.browser.sandbox ? "" : " – " + ui.noSandbox) : "–";
  el("crashes").textContent = worker.abnormal_exits || "";
  const exit = w.last_exit;
  el("lastExit").textContent = exit
    ? moment(exit.at) + ": " + reasonText(exit.reason, exit.reason).Message + " " + lived(exit)
    : ui.none;
  if (exit?.detail) el("lastExit").append(make("small", exit.detail));
});

// How long an instance had been running, and how its processes ended.
const lived = (exit) =>
  [exit.uptime_ms ? fill(ui.afterUptime, { time: duration(exit.uptime_ms) }) : "", exit.worker_exit && ui.worker + ": " + exit.worker_exit + ".",
    exit.chrome_exit && "Chrome: " + exit.chrome_exit + "."].filter(Boolean).join(" ");

// --- reports ---

const showFile = async (at, report, name) => {
  try {
    const file = await (await api("crashes/" + report.id + "/" + name)).blob();
    if (name.endsWith(".png")) {
      const image = make("img");
      image.src = URL.createObjectURL(file);
      image.alt = name;
      at.replaceChildren(image);
    } else {
      at.replaceChildren(make("pre", await file.text()));
    }
  } catch (error) {
    at.replaceChildren(problemOf(error));
  }
};

const stepClock = new Intl.DateTimeFormat(texts.Language, { timeStyle: "medium" });
const fillReport = async (at, report) => {
  const shown = make("div");
  shown.className = "steps";
  shown.tabIndex = 0; // it scrolls
  const files = report.files.map((name) => {
    const button = make("button", name);
    button.type = "button";
    button.className = "plain";
    button.addEventListener("click", () => showFile(shown, report, name));
    return button;
  });
  const buttons = make("p", ...files);
  buttons.className = "buttons";
  const versions = report.versions;
  at.replaceChildren(
    make("p", lived(report)),
    ...(report.detail ? [make("p", report.detail)] : []),
    make("p", [versions.service, versions.browser, versions.page && "WhatsApp " + versions.page].filter(Boolean).join(" · ")),
    buttons,
    shown);
  try {
    const steps = (await (await api("crashes/" + report.id)).json()).timeline;
    shown.replaceChildren(make("ol", ...steps.map((step) => make("li", make("time", stepClock.format(new Date(step.at))), " ", make("code", step.event), " ", step.text || ""))));
    shown.firstChild.className = "times";
  } catch {
    // The report is gone, as newer ones took its place.
  }
};

// Reports are kept as they are on the page, so that an open one stays open.
const known = new Map();
const showReports = (list) => {
  el("noReports").hidden = list.length > 0;
  for (const report of list) {
    if (known.has(report.id)) continue;
    const body = make("div");
    const item = make("details", make("summary",
      make("time", moment(report.at)), " ", make("span", reasonText(report.reason, report.message).Message)), body);
    item.addEventListener("toggle", () => item.open && fillReport(body, report));
    known.set(report.id, item);
  }
  const ids = list.map((report) => report.id);
  for (const id of known.keys()) if (!ids.includes(id)) known.delete(id);
  const items = ids.map((id) => known.get(id));
  if (items.some((item, i) => item !== el("reports").children[i]) || items.length !== el("reports").children.length) {
    el("reports").replaceChildren(...items);
  }
};

// --- the session, whole ---

let due;
const refresh = () => {
  clearTimeout(due);
  due = setTimeout(async () => {
    if (!online || locked) return;
    try {
      happen("session", await (await api("session")).json());
      showReports((await (await api("crashes")).json()).crashes);
      show("reportsError", "");
    } catch (error) {
      if (error instanceof Refused) show("reportsError", problemOf(error));
    }
  }, 200);
};
["state", "worker", "warnings"].forEach((type) => on(type, refresh));
setInterval(() => document.hidden || refresh(), 60000);
