// Signing with a passkey, in the browser that shows this page.

let passkey = { status: "none" };

const passkeyShown = (request) => {
  el("passkeySteps").hidden = !request;
  el("passkeyBegin").classList.toggle("outlined", Boolean(request)); // it asks for another one
  el("passkeyScript").value = "";
  el("passkeyPage").removeAttribute("href");
  el("passkeySign").removeAttribute("href");
  if (!request) return;
  const words = { sign: ui.passkeySignButton, take: ui.passkeyTake, copied: ui.passkeyCopied, failed: ui.passkeyNotSigned };
  const signing = JSON.parse(el("passkeySource").textContent);
  el("passkeyScript").value = "(" + signing + ")(\n" + JSON.stringify(request.options, null, 2) + ",\n" + JSON.stringify(words, null, 2) + "\n);";
  el("passkeyPage").href = request.url;
  el("passkeyPage").textContent = request.url;
  const bytes = new TextEncoder().encode(JSON.stringify(request.options));
  el("passkeySign").href = request.url + "#passkey=" + btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
};

// passkeyTried carries out what was asked for, and shows why not.
const passkeyTried = async (run) => {
  el("passkeyOutcome").textContent = "";
  try {
    await run();
  } catch (error) {
    el("passkeyOutcome").textContent = fill(ui.failed, { why: error instanceof TypeError || error instanceof Refused ? problemOf(error) : error.message });
  }
};

const passkeyLook = () =>
  passkeyTried(async () => {
    const request = await command("session/passkey", undefined, "GET");
    passkeyShown(request.options && request);
    el("passkeyCode").textContent = request.code ? request.code.slice(0, 4) + "-" + request.code.slice(4) : "";
  });

on("passkey", (p) => {
  const before = passkey;
  passkey = p;
  const why = { timeout: ui.passkeyTimeout, server_error: ui.passkeyServerError, restarted: ui.passkeyRestarted }[p.reason];
  const now = { needed: p.purpose === "challenge" ? ui.passkeyChallenged : ui.passkeyNeeded, sent: ui.passkeySent, confirm: ui.passkeyConfirm, failed: why || ui.passkeyFailed };
  el("passkey").hidden = p.status === "none";
  el("passkeyNow").textContent = now[p.status] || "";
  el("passkeyBegin").hidden = p.status !== "needed" && (p.status !== "failed" || p.reason === "restarted");
  el("passkeyCompare").hidden = el("passkeyConfirm").hidden = p.status !== "confirm";
  el("passkeyCancel").hidden = p.reason === "restarted";
  if (p.status !== "needed") {
    passkeyShown(null);
    el("passkeyResult").value = "";
  }
  if (p.status !== before.status) el("passkeyOutcome").textContent = "";
  if (p.status === "confirm") passkeyLook();
  else el("passkeyCode").textContent = "";
});

on("tick", () => {
  const left = (iso) => Math.max(0, Math.ceil((Date.parse(iso) - now()) / 1000));
  const clocks = [];
  if (passkey.expires_at) clocks.push(fill(ui.passkeyExpires, { n: left(passkey.expires_at) }));
  if (passkey.handoff_expires_at && left(passkey.handoff_expires_at)) clocks.push(fill(ui.passkeyHandoff, { n: left(passkey.handoff_expires_at) }));
  el("passkeyClocks").textContent = clocks.join(" ");
});

el("passkeyBegin").addEventListener("click", passkeyLook);
el("passkeyCopy").addEventListener("click", () => passkeyTried(() => {
  el("passkeyScript").select();
  return navigator.clipboard.writeText(el("passkeyScript").value);
}));
el("passkeyAnswer").addEventListener("submit", (event) => {
  event.preventDefault();
  passkeyTried(async () => {
    let answer;
    try {
      answer = JSON.parse(el("passkeyResult").value);
    } catch {
      throw new Error(ui.passkeyNoResult);
    }
    await command("session/passkey", answer);
    el("passkeyResult").value = "";
    passkeyShown(null);
  });
});
el("passkeyConfirm").addEventListener("click", () => passkeyTried(() => command("session/passkey/confirm")));
el("passkeyCancel").addEventListener("click", () => passkeyTried(async () => {
  await command("session/passkey", undefined, "DELETE");
  passkeyShown(null);
}));
