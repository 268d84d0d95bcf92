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

  // safely is for elements whose properties the page has replaced.
  function safely(get, otherwise) {
    try {
      return get();
    } catch {
      return otherwise;
    }
  }

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

  // container is the element that carries the code, or would: of several the first
  // that a person can see.
  function container() {
    const found = all(k.dom.code);
    const full = found.filter((e) => e.getAttribute(k.dom.code_attribute));
    return full.find((e) => safely(() => hiddenBy(picture(e)) === "", false)) || full.find(visible) || full[0] || found[0];
  }

  // picture is what shows the code of a container: the largest of its images, or
  // the container if it has no image.
  function picture(code) {
    const area = (e) => e.clientWidth * e.clientHeight || 0;
    let best = code;
    if (!code.matches(k.dom.image)) {
      for (const e of all(k.dom.image, code).slice(0, 20)) if (best === code || area(e) > area(best)) best = e;
    }
    return best;
  }

  const SMALLEST = 60; // CSS pixels; a code has at least 29 modules
  const DEEPEST = 1000; // elements around an image

  // hiddenBy is why nobody can see an image on the screen, or "".
  function hiddenBy(image) {
    const box = image.getBoundingClientRect();
    if (!image.checkVisibility({ visibilityProperty: true, contentVisibilityAuto: true })) return "it is not rendered";
    if (box.width < SMALLEST || box.height < SMALLEST) return "it is too small";
    const view = image.ownerDocument.defaultView;
    if (box.left < -1 || box.top < -1 || box.right > view.innerWidth + 1 || box.bottom > view.innerHeight + 1) {
      return "it is outside the window";
    }
    return "";
  }

  // Where an image is looked at, in parts of its box: not in its middle, where codes
  // have logos.
  const PARTS = [0.1, 0.3, 0.5, 0.7, 0.9];
  const POINTS = PARTS.flatMap((x) => PARTS.map((y) => [x, y])).filter(([x, y]) => x !== 0.5 || y !== 0.5);

  // What an image's style is while the screen shows just what its bitmap holds, and
  // that of all elements around it.
  const OWN = { objectFit: "fill", objectPosition: "50% 50%", content: "normal" };
  const AROUND = {
    opacity: "1", filter: "none", maskImage: "none", clipPath: "none", mixBlendMode: "normal", rotate: "none", scale: "none",
  };
  // Transforms that only move or enlarge.
  const MOVES = /^(none|matrix\([0-9.]+, 0, 0, [0-9.]+, [^,]+, [^,]+\))$/;
  const has = (style, wanted) => Object.keys(wanted).every((name) => style[name] === undefined || style[name] === wanted[name]);

  // plain reports whether the screen shows an image as it is, as far as that can be
  // said without looking at the screen: nothing lies over it, cuts it off or fades it.
  function plain(image) {
    const box = image.getBoundingClientRect();
    const root = image.getRootNode();
    const uncovered = ([x, y]) => {
      const top = root.elementFromPoint(box.left + x * box.width, box.top + y * box.height);
      return top !== null && image.contains(top);
    };
    if (!has(getComputedStyle(image), OWN) || !POINTS.every(uncovered)) return false;
    let e = image;
    for (let n = 0; e && n < DEEPEST; n++, e = e.assignedSlot || e.parentElement || e.getRootNode().host) {
      const style = getComputedStyle(e);
      if (!has(style, AROUND) || !MOVES.test(style.transform)) return false;
    }
    if (e) return false;
    const frame = image.ownerDocument.defaultView.frameElement;
    return !frame || (hiddenBy(frame) === "" && plain(frame));
  }

  // see returns where an image is in the window and how much of the document lies above
  // and left of that, why nobody can see it, and what it holds if that is what is on
  // the screen.
  async function see(image) {
    const hidden = hiddenBy(image);
    let { left, top, width, height } = image.getBoundingClientRect();
    let view = image.ownerDocument.defaultView;
    for (let frame = view.frameElement; frame; frame = view.frameElement) {
      const box = frame.getBoundingClientRect();
      left += box.left + frame.clientLeft;
      top += box.top + frame.clientTop;
      view = frame.ownerDocument.defaultView;
    }
    const { innerWidth, scrollX, scrollY } = view;
    const seen = { hidden, left, top, width, height, innerWidth, scrollX, scrollY, bitmap: "" };
    if (hidden === "" && plain(image)) {
      try {
        seen.bitmap = (await bitmap(image)) || "";
      } catch {
        // It holds pixels of another site, or what can't be decoded.
      }
    }
    return seen;
  }

  // opacity is that of a code's picture, up to its container.
  function opacity(image, code) {
    let product = 1;
    for (let e = image; e && e !== code.parentElement; e = e.parentElement) product *= Number(getComputedStyle(e).opacity);
    return product;
  }

  // bitmap returns what an image holds as a PNG in a data URL, or null if that can't
  // be read.
  async function bitmap(image) {
    const largest = 2000;
    const doc = image.ownerDocument;
    let source = image;
    let { width, height } = image;
    if (image.localName === "svg") {
      const box = image.getBoundingClientRect();
      const copy = image.cloneNode(true);
      width = Math.round(2 * box.width);
      height = Math.round(2 * box.height);
      copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
      copy.setAttribute("width", width);
      copy.setAttribute("height", height);
      source = new (doc.defaultView.Image)();
      source.src = "data:image/svg+xml;charset=utf-8," + encodeURIComponent(new XMLSerializer().serializeToString(copy));
      await source.decode();
    } else if (image.localName === "img") {
      width = image.naturalWidth;
      height = image.naturalHeight;
    }
    if (!(width > 0 && height > 0 && width <= largest && height <= largest)) return null;
    const sheet = doc.createElement("canvas");
    sheet.width = width;
    sheet.height = height;
    const pen = sheet.getContext("2d");
    pen.fillStyle = "#fff";
    pen.fillRect(0, 0, width, height);
    pen.drawImage(source, 0, 0, width, height);
    return sheet.toDataURL("image/png");
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

  // place returns where to press an element, or null. An element that is covered,
  // so that the mouse would miss it, gets the keyboard's focus if it accepts it.
  function place(element) {
    if (!element) return null;
    let box = element.getBoundingClientRect();
    if (box.top < 0 || box.left < 0 || box.bottom > innerHeight || box.right > innerWidth) {
      element.scrollIntoView({ block: "center", inline: "center" });
      box = element.getBoundingClientRect();
    }
    const x = box.left + box.width / 2;
    const y = box.top + box.height / 2;
    const top = document.elementFromPoint(x, y);
    const covered = !top || !element.contains(top);
    if (covered) element.focus();
    const focused = document.activeElement === element;
    return covered && !focused ? null : { x, y, covered };
  }

  return { place, registry, start, follow, cut, visible, all, shown, wordsOf, lower, mentions, container, overlay, picture, hiddenBy, plain, opacity, see };
})
