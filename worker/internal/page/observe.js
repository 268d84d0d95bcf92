// Makes the observer of one document. It runs in the page's main world, since
// only that can reach the page's modules, and is passive: it reads, listens,
// and leaves no trace on any object of the page. Everything that it looks for
// comes in k, the knowledge; ping is the name of the DOM event by which it
// tells the isolated world that a listener was called.
(function (k, ping) {
  "use strict";

  const loaded = new Map(); // name -> module
  const missing = new Map(); // name -> when to ask again, without a registry
  const listening = new Set(); // indexes of k.events

  // registry returns the loader's list of modules, if it gives one. Asking for
  // a module that is not in it would be reported by the page as an error.
  function registry() {
    try {
      return window[k.loader.require](k.loader.registry_module)[k.loader.registry];
    } catch {
      return undefined;
    }
  }

  function load(name, known) {
    if (loaded.has(name)) return loaded.get(name);
    if (known ? !(name in known) : performance.now() < missing.get(name)) return undefined;
    for (const loader of [k.loader.namespace, k.loader.require]) {
      try {
        const module = window[loader](name);
        if (module !== undefined && module !== null) {
          loaded.set(name, module);
          return module;
        }
      } catch {
        // Not loaded yet.
      }
    }
    missing.set(name, performance.now() + 1000);
    return undefined;
  }

  // start is the object on which a path begins: the global object, a module, or
  // a module's default export.
  function start(source, known) {
    if (!source.module) return window;
    const module = load(source.module, known);
    if (module === undefined) return undefined;
    const first = source.path.split(".")[0].replace("()", "");
    return first in Object(module) || module.default === undefined || module.default === null ? module : module.default;
  }

  // follow walks a path. With calls, what they return is awaited.
  async function follow(source, known) {
    let value = start(source, known);
    for (const step of source.path.split(".")) {
      if (value === undefined || value === null) return undefined;
      value = step.endsWith("()") ? await value[step.slice(0, -2)]() : value[step];
    }
    return value;
  }

  // peek walks a path without calls, at once.
  function peek(name, known) {
    for (const source of k.facts[name].from) {
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
    for (const source of k.facts[name].from) {
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

  // answerable tells whether anything that could give the fact is there.
  function answerable(name, known) {
    return k.facts[name].from.some((source) => start(source, known) !== undefined);
  }

  function base64(key) {
    if (typeof key === "string") return key;
    const bytes = ArrayBuffer.isView(key) ? new Uint8Array(key.buffer, key.byteOffset, key.byteLength) : new Uint8Array(key);
    return btoa(String.fromCharCode(...bytes));
  }

  // assemble puts the login string together as the page does, or returns "".
  // The reference is read last, when everything that takes time is there.
  async function assemble(known) {
    const names = ["noise_key", "identity_key", "adv_secret", "platform", "prefixed"];
    const [noise, identity, secret, platform, prefixed] = await Promise.all(names.map((n) => ask(n, known, 400)));
    return () => {
      const ref = peek("ref", known);
      if (!ref || !noise || !identity || !secret) return "";
      const fields = [ref, base64(noise), base64(identity), base64(secret)];
      if (platform !== undefined) fields.push(String(platform));
      return (prefixed && k.login.prefixes.length ? k.login.prefixes[0] : "") + fields.join(",");
    };
  }

  function listen(known) {
    k.events.forEach((event, i) => {
      if (listening.has(i)) return;
      try {
        let target = start({ module: event.module, path: event.path || "on" }, known);
        if (event.path) for (const step of event.path.split(".")) target = target[step];
        target.on(event.event, () => document.dispatchEvent(new Event(ping)));
        listening.add(i);
      } catch {
        // Not loaded yet.
      }
    });
  }

  const visible = (element) => element.getClientRects().length > 0;

  // all finds nothing by a selector that this Chrome doesn't understand.
  function all(selector, within) {
    try {
      return Array.from((within || document).querySelectorAll(selector));
    } catch {
      return [];
    }
  }

  const shown = (selector) => all(selector).some(visible);

  const lower = (text) => (text || "").toLowerCase().replace(/[\u2018\u2019]/g, "'").replace(/\s+/g, " ");
  const mentions = (text, texts) => Object.values(texts).some((list) => list.some((t) => text.includes(t)));

  // wording is the text that may tell a screen: of the dialogs only, once there
  // are chats, for people write anything.
  function wording(main) {
    const parts = all(k.dom.dialog).filter(visible).map((d) => d.innerText);
    if (!main && document.body) parts.push(document.body.innerText.slice(0, 2000));
    return lower(parts.join(" ").slice(0, 3000));
  }

  // container is the element that carries the code, or would.
  function container() {
    const found = all(k.dom.code);
    const full = found.filter((e) => e.getAttribute(k.dom.code_attribute));
    return full.find(visible) || full[0] || found[0];
  }

  // overlay returns the innermost things that lie over the code.
  function overlay(code) {
    const isButton = (e) => e.matches("button, [role=button]");
    const found = all(k.dom.overlay, code).filter((e) => visible(e) && (isButton(e) || e.innerText.trim() !== ""));
    return found
      .filter((e) => !found.some((other) => other !== e && e.contains(other)))
      .map((element) => {
        const text = lower(element.innerText + " " + (element.getAttribute("aria-label") || ""));
        if (mentions(text, k.buttons.offline.texts)) return { element, kind: "offline" };
        return { element, kind: mentions(text, k.buttons.reload.texts) ? "reload" : "other" };
      });
  }

  function opacity(code) {
    const picture = all(k.dom.picture, code)[0];
    let product = 1;
    for (let e = picture; e && e !== code.parentElement; e = e.parentElement) {
      product *= Number(getComputedStyle(e).opacity);
    }
    return product;
  }

  function registered() {
    try {
      return k.storage.registered.every((key) => localStorage.getItem(key) !== null);
    } catch {
      return null;
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

  function screens(text) {
    const found = [];
    for (const screen of k.screens) {
      const sure = screen.selectors.some(shown);
      if (sure || mentions(text, screen.texts)) found.push({ name: screen.name, text: !sure });
    }
    return found;
  }

  function status() {
    const entry = performance.getEntriesByType("navigation")[0];
    return (entry && entry.responseStatus) || 0;
  }

  // page reads what the document shows.
  function page() {
    const main = k.screens.some((s) => s.name === "main" && s.selectors.some(shown));
    const text = wording(main);
    const code = container();
    return {
      url: location.href,
      status: status(),
      splash: shown(k.dom.splash),
      mount: all(k.dom.mount).length > 0,
      visible: document.visibilityState === "visible",
      online: navigator.onLine,
      registered: registered(),
      shown: code ? code.getAttribute(k.dom.code_attribute) || "" : "",
      buttons: code ? overlay(code).map((b) => b.kind) : [],
      opacity: code ? opacity(code) : 1,
      autoLogoutFrame: shown(k.dom.auto_logout_frame),
      screens: screens(text),
      progress: progress(text, main),
    };
  }

  const word = (value) => (typeof value === "string" ? value : "");

  // modules reads what they tell at once.
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
    // look returns the whole record. It never throws for what the page lacks.
    async look() {
      const known = registry();
      listen(known);
      const before = k.socket_states[word(peek("socket_state", known))];
      const unpaired = before === "unpaired" || before === "idle";
      const finish = unpaired ? await assemble(known) : () => "";
      const record = Object.assign(page(), modules(known), { assembled: finish() });
      if (record.progress < 0 && before === "connected" && !record.hasSynced) {
        record.progress = Number(await ask("progress", known, 200)) || -1;
      }
      return record;
    },

    // button returns where to press for new codes, or null when there is
    // nothing that may be pressed. When something else lies over it, so that the
    // mouse would miss it, it gets the keyboard's focus if it takes it.
    button() {
      const code = container();
      const found = code ? overlay(code) : [];
      if (found.some((b) => b.kind === "offline")) return null;
      const button = found.find((b) => b.kind === "reload") || found[0];
      if (!button) return null;
      let box = button.element.getBoundingClientRect();
      if (box.top < 0 || box.left < 0 || box.bottom > innerHeight || box.right > innerWidth) {
        button.element.scrollIntoView({ block: "center", inline: "center" });
        box = button.element.getBoundingClientRect();
      }
      const x = box.left + box.width / 2;
      const y = box.top + box.height / 2;
      const top = document.elementFromPoint(x, y);
      const covered = !top || !button.element.contains(top);
      if (covered) button.element.focus();
      const focused = document.activeElement === button.element;
      return covered && !focused ? null : { x, y, covered };
    },
  };
})
