// Makes the observer of one document. It runs in the page's main world, since
// only that can reach the page's modules, and is passive: it reads, listens,
// and leaves no trace on any object of the page. Everything that it looks for
// comes in k, the selectors; t are the tools; ping is the name of the DOM event
// by which the isolated world learns that a listener was called.
(function (k, t, ping) {
  "use strict";

  const { registry, start, follow, cut, visible, all, shown, wordsOf, lower, mentions, container, overlay, picture, hiddenBy, plain, opacity } = t;
  const listening = new Set(); // indexes of k.events
  let passkey = { event: "", word: "", skip: false }; // the last event about linking by one
  const uncaught = []; // the last errors that nobody has caught
  const TURN = 20; // ms, less than there usually are between two observations
  let turned = true; // a timer ran since the last observation

  // No CDP domain reports the page's own errors without the page noticing.
  const keep = (text) => {
    uncaught.push(cut(String(text)).slice(0, 300));
    if (uncaught.length > 10) uncaught.shift();
  };
  window.addEventListener("error", (e) => e.message && keep(e.message + " at line " + e.lineno));
  window.addEventListener("unhandledrejection", (e) => {
    const r = e.reason;
    keep("unhandled rejection: " + (r instanceof Error ? r.name + ": " + r.message : typeof r));
  });

  // peek walks a path without calls, at once.
  function peek(name, known) {
    for (const source of k.facts[name].from || []) {
      try {
        let value = start(source, known);
        for (const step of source.path.split(".")) {
          value = value === undefined || value === null ? undefined : value[step];
        }
        if (value !== undefined && value !== null) return value;
      } catch {
        // The next source may do.
      }
    }
    return undefined;
  }

  // ask walks a path with calls, for no longer than ms.
  async function ask(name, known, ms) {
    for (const source of k.facts[name].from || []) {
      try {
        const late = new Promise((resolve) => setTimeout(resolve, ms));
        const value = await Promise.race([follow(source, known), late]);
        if (value !== undefined && value !== null) return value;
      } catch {
        // Storage may not be open yet, or the next source may do.
      }
    }
    return undefined;
  }

  // answerable returns whether anything that could give the fact is there.
  function answerable(name, known) {
    return (k.facts[name].from || []).some((source) => start(source, known) !== undefined);
  }

  function base64(key) {
    if (typeof key === "string") return key;
    const bytes = ArrayBuffer.isView(key) ? new Uint8Array(key.buffer, key.byteOffset, key.byteLength) : new Uint8Array(key);
    return btoa(String.fromCharCode(...bytes));
  }

  // assemble builds the QR payload as the page does, or returns "".
  // The reference is read last, when everything that takes time is there.
  async function assemble(known) {
    const names = ["noise_key", "identity_key", "adv_secret", "platform", "prefixed"];
    const [noise, identity, secret, platform, prefixed] = await Promise.all(names.map((n) => ask(n, known, 400)));
    return () => {
      const ref = peek("ref", known);
      if (!ref || !noise || !identity || !secret) return "";
      const fields = [ref, base64(noise), base64(identity), base64(secret)];
      if (platform !== undefined) fields.push(String(platform));
      return (prefixed && k.qr_payload.prefixes && k.qr_payload.prefixes.length ? k.qr_payload.prefixes[0] : "") + fields.join(",");
    };
  }

  function listen(known) {
    (k.events || []).forEach((event, i) => {
      if (listening.has(i)) return;
      try {
        let target = start({ module: event.module, path: event.path || "on" }, known);
        if (event.path) for (const step of event.path.split(".")) target = target[step];
        target.on(event.event, (word, skip) => {
          if (event.passkey) passkey = { event: event.passkey, word: cut(word).slice(0, 64), skip: skip === true };
          document.dispatchEvent(new Event(ping));
        });
        listening.add(i);
      } catch {
        // Not loaded yet.
      }
    });
  }

  // dialogs is the text of all dialogs.
  const dialogs = () => lower(all(k.dom.dialog).filter(visible).map((d) => wordsOf(d, 1000)).join(" ").slice(0, 3000));

  // wording is the text by which screens are recognised: once there are chats, that
  // of the dialogs only, since people write anything.
  function wording(inDialogs, main) {
    const body = !main && document.body ? lower(wordsOf(document.body, 2000)) : "";
    return (inDialogs + " " + body).slice(0, 3000);
  }

  const sample = Object.assign(document.createElement("canvas"), { width: 24, height: 24 });
  const brush = sample.getContext("2d", { willReadFrequently: true });

  // look changes with what decides about whether a picture can be scanned, and
  // with the picture. The pixels of those that can't be read are left out.
  function look(image) {
    const box = image.getBoundingClientRect();
    const seen = [plain(image), ...[box.left, box.top, box.width, box.height].map(Math.round), image.localName];
    if (image.localName === "svg") seen.push(image.childElementCount, image.innerHTML.length);
    if (image.localName === "img") seen.push(image.currentSrc.slice(-200), image.currentSrc.length, image.complete);
    if (image.localName === "canvas" && image.width <= 2000 && image.height <= 2000) {
      try {
        brush.drawImage(image, 0, 0, 24, 24);
        seen.push(brush.getImageData(0, 0, 24, 24).data.reduce((sum, byte) => (sum * 31 + byte) | 0, 0));
      } catch {
        // It holds pixels of another site, or none.
      }
    }
    return JSON.stringify(seen);
  }

  // drawn is how the picture of a code is seen. One that can't be looked at is hidden.
  function drawn(code) {
    try {
      const image = picture(code);
      const hidden = hiddenBy(image);
      return { opacity: opacity(image, code), hidden, look: hidden === "" ? look(image) : "" };
    } catch {
      return { opacity: 1, hidden: "it can't be looked at", look: "" };
    }
  }

  function registered() {
    try {
      return k.storage.registered.every((key) => localStorage.getItem(key) !== null);
    } catch {
      return null;
    }
  }

  function remains() {
    try {
      return k.storage.remains.some((key) => localStorage.getItem(key) !== null);
    } catch {
      return false;
    }
  }

  function progress(text, main, known) {
    if (main) return -1;
    const bar = all(k.dom.progress).find(visible);
    if (bar && bar.hasAttribute("value") && bar.max > 0) return (100 * bar.value) / bar.max;
    const western = text.replace(/[\u0660-\u0669]/g, (d) => String(d.charCodeAt(0) - 0x660));
    const match = /(\d{1,3})\s?[%\u066a]/.exec(western);
    return match ? Number(match[1]) : -1;
  }

  function screens(text, inDialogs) {
    const found = [];
    for (const screen of k.screens) {
      const sure = (screen.selectors || []).some(shown);
      if (sure || mentions(screen.in_dialog ? inDialogs : text, screen.texts)) found.push({ name: screen.name, text: !sure });
    }
    return found;
  }

  function status() {
    const entry = performance.getEntriesByType("navigation")[0];
    return (entry && entry.responseStatus) || 0;
  }

  // cards are those of linking by a passkey that are shown.
  function cards() {
    const code = all(k.passkey.code).find(visible);
    return { prompt: shown(k.passkey.prompt), waiting: shown(k.passkey.waiting), code: code ? wordsOf(code, 64).replace(/[\s\u2010-\u2015-]/g, "") : "" };
  }

  // page reads what the document shows.
  function page() {
    const main = k.screens.some((s) => s.name === "main" && (s.selectors || []).some(shown));
    const inDialogs = dialogs();
    const text = wording(inDialogs, main);
    const code = container();
    return {
      url: cut(location.href),
      status: status(),
      splash: shown(k.dom.splash),
      mount: all(k.dom.mount).length > 0,
      visible: document.visibilityState === "visible",
      online: navigator.onLine,
      registered: registered(),
      remains: remains(),
      shown: code ? cut(code.getAttribute(k.dom.code_attribute)) : "",
      buttons: code ? overlay(code).map((b) => b.kind).slice(0, 10) : [],
      ...(code ? drawn(code) : { opacity: 1, hidden: "", look: "" }),
      autoLogoutFrame: shown(k.dom.auto_logout_frame),
      screens: screens(text, inDialogs),
      progress: progress(text, main),
      passkey: { ...passkey, ...cards() },
      uncaught,
    };
  }

  const word = cut;

  // modules reads what they answer at once.
  function modules(known) {
    const online = peek("network_online", known);
    return {
      loader: typeof window[k.loader.require] === "function",
      version: word(peek("version", known)),
      socket: word(peek("socket_state", known)),
      stream: word(peek("socket_stream", known)),
      mode: word(peek("mode", known)),
      hasSynced: answerable("has_synced", known) ? Boolean(peek("has_synced", known)) : null,
      networkOnline: typeof online === "boolean" ? online : null,
      ref: word(peek("ref", known)),
      refTTL: Number(peek("ref_ttl", known)) || 0,
    };
  }

  return {
    // observe never throws for what the page lacks.
    async observe() {
      const repeated = !turned;
      turned = false;
      try {
        setTimeout(() => { turned = true; }, TURN);
      } catch {
        turned = true; // The page has replaced it.
      }
      const known = registry();
      listen(known);
      const before = k.words.socket_states[word(peek("socket_state", known))];
      const unpaired = before === "unpaired" || before === "idle";
      const [finish, method] = await Promise.all([
        unpaired ? assemble(known) : () => "",
        before === "connected" ? "" : ask("link_method", known, 200),
      ]);
      const seen = page();
      const found = Object.assign(modules(known), { linkMethod: word(method), assembled: cut(finish()) });
      if (seen.progress < 0 && before === "connected" && !found.hasSynced) {
        seen.progress = Number(await ask("progress", known, 200)) || -1;
      }
      return { document: seen, modules: found, repeated };
    },
  };
})
