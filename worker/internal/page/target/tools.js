// What observe.js and act.js have in common: access to the page's modules and
// elements. It runs in the page's main world and leaves no trace on any object
// of the page. Everything that it looks for comes in k, the selectors.
(function (k) {
  "use strict";

  const loaded = new Map(); // name -> module
  const missing = new Map(); // name -> when to ask again, without a registry

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

  // Bounds, so that a document of any size is read in time.
  const MOST_ELEMENTS = 500;
  const MOST_TEXTS = 3000;
  const LONGEST = 4096;

  const cut = (text) => (typeof text === "string" ? text.slice(0, LONGEST) : "");

  const visible = (element) => element.getClientRects().length > 0;

  // all finds nothing by a selector that this Chrome doesn't understand.
  function all(selector, within) {
    try {
      const found = (within || document).querySelectorAll(selector);
      return Array.prototype.slice.call(found, 0, MOST_ELEMENTS);
    } catch {
      return [];
    }
  }

  const shown = (selector) => all(selector).some(visible);

  // wordsOf is the beginning of the text that is drawn below an element. Unlike
  // innerText it doesn't need the layout of all of it.
  function wordsOf(element, length) {
    const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
    let words = "";
    let node = walker.nextNode();
    for (let n = 0; node && n < MOST_TEXTS && words.length < length; n++, node = walker.nextNode()) {
      const text = node.nodeValue.slice(0, length);
      if (text.trim() !== "" && visible(node.parentElement)) words += " " + text;
    }
    return words.slice(0, length);
  }

  const lower = (text) => (text || "").toLowerCase().replace(/[\u2018\u2019]/g, "'").replace(/\s+/g, " ");
  const mentions = (text, texts) => Object.values(texts || {}).some((list) => list.some((t) => text.includes(t)));

  // container is the element that carries the code, or would.
  function container() {
    const found = all(k.dom.code);
    const full = found.filter((e) => e.getAttribute(k.dom.code_attribute));
    return full.find(visible) || full[0] || found[0];
  }

  // overlay returns the innermost things that cover the code.
  function overlay(code) {
    const isButton = (e) => e.matches("button, [role=button]");
    const found = all(k.dom.overlay, code).filter((e) => visible(e) && (isButton(e) || wordsOf(e, 10).trim() !== ""));
    return found
      .filter((e) => !found.some((other) => other !== e && e.contains(other)))
      .map((element) => {
        const text = lower(wordsOf(element, 200) + " " + (element.getAttribute("aria-label") || ""));
        if (mentions(text, k.buttons.offline.texts)) return { element, kind: "offline" };
        return { element, kind: mentions(text, k.buttons.reload.texts) ? "reload" : "other" };
      });
  }

  return { registry, start, follow, cut, visible, all, shown, wordsOf, lower, mentions, container, overlay };
})
