// Linking a phone: the QR, and the code that is typed instead.

let qr = { available: false };
// The code that this page asked for. A phone may drop the page while its owner types the code.
let pairing = kept("pairing");
const setPairing = (code) => (pairing = keep("pairing", code));
let othersUntil = null; // when the code expires that somebody asked for
let offered = Boolean(pairing); // the page of WhatsApp shows a code

const renderLink = () => {
  const unlinked = online && !locked && state.status === "QR_REQUIRED";
  const coded = unlinked && Boolean(pairing || offered);
  el("coded").hidden = !coded;
  el("link").hidden = !unlinked || coded;
  el("codeTitle").textContent = pairing ? ui.codeTitle : ui.codeOthersTitle;
  el("pairCode").textContent = coded && pairing ? pairing.code.slice(0, 4) + "-" + pairing.code.slice(4) : "";
  el("pairCode").hidden = el("copy").hidden = el("codeSteps").hidden = !pairing;
  el("codeOthers").hidden = Boolean(pairing);
  el("noqr").textContent = returning ? ui.qrReturning : ui.waitingForCode;
};
on("connection", renderLink);

on("state", (s) => {
  const before = offered;
  offered = s.reason.code === "pairing_code_shown";
  // A code is of no use once the page no longer offers it.
  if (s.status !== "QR_REQUIRED" || (before && !offered)) setPairing(null);
  renderLink();
});
on("session", (s) => (othersUntil = s.pairing?.expires_at));

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
el("qr").addEventListener("load", () => el("scan").classList.toggle("dense", el("qr").naturalWidth > 640));
const showQR = async (q) => {
  qr = q;
  const turn = ++wanted;
  if (!q.available) {
    dropImage();
    return;
  }
  for (let tries = 0; tries < 5 && turn === wanted; tries++) {
    try {
      const image = await (await api("qr.png")).blob();
      if (turn !== wanted) return;
      dropImage();
      el("qr").src = URL.createObjectURL(image);
      el("qr").hidden = false;
      el("noqr").hidden = true;
      returning = false;
      return;
    } catch {
      // The connection is gone; try again, unless an event comes first.
    }
    await new Promise((done) => setTimeout(done, 1000));
  }
};
on("qr", showQR);
on("connection", (connected) => connected || showQR({ available: false }));

on("tick", () => {
  const rest = qr.available ? Date.parse(qr.qr.expires_at) - now() : 0;
  if (qr.available && rest <= 0) showQR({ available: false });
  el("countdown").textContent = rest > 0 ? fill(ui.newCodeIn, { n: Math.ceil(rest / 1000) }) : "";
  const life = qr.available ? Date.parse(qr.qr.expires_at) - Date.parse(qr.qr.issued_at) : 1;
  el("life").style.width = Math.max(0, Math.min(100, (100 * rest) / life)) + "%";
  const time = left(pairing ? pairing.expires_at : othersUntil);
  el("codeLeft").textContent = time ? fill(ui.codeLeft, { time }) : "";
  if (pairing && !time) {
    setPairing(null);
    renderLink();
  }
});

// A phone can't scan its own screen.
const narrow = matchMedia("(max-width: 40rem)");
const fold = () => (el("scan").open = !narrow.matches);
narrow.addEventListener("change", fold);
fold();

el("pair").addEventListener("submit", async (event) => {
  event.preventDefault();
  show("pairError", "");
  el("phone").removeAttribute("aria-invalid");
  try {
    setPairing(await during("pairButton", () => command("session/pair", { phone: el("phone").value })));
    renderLink();
    el("copy").focus();
  } catch (error) {
    show("pairError", problemOf(error));
    el("phone").setAttribute("aria-invalid", "true");
    el("phone").focus();
    returning = !qr.available;
    render();
    renderLink();
  }
});

el("copy").addEventListener("click", async () => {
  const code = el("pairCode").textContent;
  try {
    await navigator.clipboard.writeText(code);
  } catch {
    // Without TLS, or without the permission, there is only the older way.
    getSelection().selectAllChildren(el("pairCode"));
    document.execCommand("copy");
  }
  outcome(ui.copied);
});

// A page of WhatsApp that starts again shows its QR.
el("showQR").addEventListener("click", async () => {
  if (!pairing && !(await ask(ui.showQRQuestion, ui.showQRConsequence, ui.showQR))) return;
  show("codeError", "");
  returning = true;
  try {
    await during("showQR", () => command("session/restart?now=true"));
    outcome(ui.qrReturning);
  } catch (error) {
    show("codeError", problemOf(error));
  }
});
