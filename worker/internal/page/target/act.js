// Makes the object that acts in one document. It finds where to press and type,
// waits for what follows, and calls those functions of the page that a person's
// command stands for. Pressing itself is done from outside, with the mouse or the
// keyboard. k is the selectors, t are the tools.
(function (k, t) {
  "use strict";

  const { registry, start, cut, visible, all, wordsOf, lower, mentions, container, overlay, place } = t;

  const PRESSABLE = "button, [role=button], [role=menuitem], [role=link], a[href], [tabindex]";
  const CODE = /^[1-9A-Z]{8}$/;

  const enabled = (e) => !e.disabled && e.getAttribute("aria-disabled") !== "true";
  const innermost = (list) => list.filter((e) => !list.some((other) => other !== e && e.contains(other)));
  const labelled = (e) => [wordsOf(e, 200), e.getAttribute("aria-label"), e.getAttribute("title")].map((s) => lower(s).trim());

  // named returns a button of the selectors: by a selector, by its whole text, or
  // by a text that it contains.
  function named(name, within) {
    const button = k.buttons[name];
    const texts = Object.values(button.texts || {}).flat();
    const usable = (list) => innermost(list.filter((e) => visible(e) && enabled(e)));
    for (const selector of button.selectors || []) {
      const found = usable(all(selector, within))[0];
      if (found) return found;
    }
    const list = usable(all(PRESSABLE, within));
    const by = (matches) => list.find((e) => labelled(e).some((label) => texts.some((text) => matches(label, text))));
    return by((label, text) => label === text) || by((label, text) => text.length >= 5 && label.includes(text));
  }

  // reload is the button over a code whose list is used up.
  function reload() {
    const code = container();
    const found = code ? overlay(code) : [];
    if (found.some((b) => b.kind === "offline")) return undefined;
    return (found.find((b) => b.kind === "reload") || found[0] || {}).element;
  }

  // inDialog is a button in a dialog.
  function inDialog(name) {
    for (const dialog of all(k.dom.dialog).filter(visible)) {
      const found = named(name, dialog);
      if (found) return found;
    }
    return undefined;
  }

  // logOut is the button that logs out: in a dialog if there is one.
  const logOut = () => inDialog("log_out") || named("log_out");

  const input = () => all(k.pairing.input).find(visible);

  // codes are all texts that look like a code, those of their own element first.
  function codes() {
    const found = all(k.pairing.code).filter(visible).map((e) => e.getAttribute(k.pairing.code_attribute) || wordsOf(e, 40));
    return found.map((text) => text.replace(/[\s,\u2010-\u2015-]/g, "")).filter((text) => CODE.test(text));
  }

  // refusal names the refusal that matches accepts, or returns "".
  const refusal = (matches) => (Object.entries(k.pairing.refusals).find(([, r]) => matches(r)) || [""])[0];

  const explained = (elements) => {
    const text = lower(elements.filter(visible).map((e) => wordsOf(e, 500)).join(" "));
    return refusal((r) => mentions(text, r.texts));
  };

  // thrown is the refusal that an error of the modules stands for. The error is the
  // page's: reading it may throw, or give anything.
  function thrown(error) {
    const read = (look) => {
      try {
        return look();
      } catch {
        return undefined;
      }
    };
    const type = read(() => error.type);
    const [name, own, code] = [read(() => type.name), read(() => error.name), read(() => type.value.code)];
    const known = (list, value) => (list || []).includes(value);
    return refusal((r) => known(r.names, name)) || refusal((r) => known(r.codes, code)) || refusal((r) => known(r.names, own));
  }

  // dismiss is the button of the uppermost dialog that explains a refusal.
  function dismiss() {
    const dialogs = all(k.dom.dialog).filter((d) => visible(d) && explained([d]));
    for (const dialog of dialogs.reverse()) {
      const found = named("dismiss", dialog);
      if (found) return found;
    }
    return undefined;
  }

  // until resolves with the first truthy value of look, or with null after ms.
  function until(look, ms) {
    return new Promise((resolve) => {
      let timer = 0;
      const end = performance.now() + ms;
      const observer = new MutationObserver(check);
      function check() {
        const value = look();
        if (!value && performance.now() < end) return;
        observer.disconnect();
        clearInterval(timer);
        resolve(value || null);
      }
      observer.observe(document, { subtree: true, childList: true, attributes: true, characterData: true });
      timer = setInterval(check, 100); // What layout alone changes.
      check();
    });
  }

  const find = { reload, input, log_out: logOut, dismiss, challenge_continue: () => inDialog("challenge_continue") };
  const lookFor = (name) => (find[name] ? find[name]() : named(name));
  let latest; // what was looked for last, to be pressed

  return {
    // where returns the place of what is to be pressed, or null.
    where(name) {
      latest = lookFor(name);
      return place(latest);
    },

    // appears waits until it can be pressed, and returns whether it can.
    async appears(name, ms) {
      return Boolean(await until(() => lookFor(name), ms));
    },

    // leaves waits until what was to be pressed last has gone, and returns whether it has.
    async leaves(ms) {
      return Boolean(await until(() => !latest || !visible(latest), ms));
    },

    // enter replaces what a field holds, as typing does, and returns whether it could.
    // Nothing else runs meanwhile but the page's own listeners.
    enter(name, text) {
      const field = find[name] ? find[name]() : named(name);
      if (!field) return false;
      field.focus();
      if (document.activeElement !== field) return false;
      field.select();
      return document.execCommand("insertText", false, text);
    },

    // typed are the digits in the input.
    typed() {
      const field = input();
      return field ? field.value.replace(/\D/g, "") : "";
    },

    // codes are those on the screen.
    codes,

    // outcome waits for a code that was not there before, or for a refusal.
    async outcome(before, ms) {
      const fresh = () => codes().find((code) => !before.includes(code));
      const seen = await until(() => fresh() || explained(all(k.pairing.refusal)), ms);
      return { code: fresh() || "", refusal: fresh() ? "" : seen || "" };
    },

    // invoke makes calls, and returns what the last one did. What is missing has
    // not been called, nor has anything after it.
    async invoke(calls, phone, ms) {
      const list = registry();
      const targets = calls.map((call) => ({ call, on: start(call, list) }));
      if (targets.some(({ on }) => on === undefined)) return { missing: true };
      const late = new Promise((resolve) => setTimeout(resolve, ms, { late: true }));
      try {
        let value;
        for (const { call, on } of targets) {
          const steps = call.path.split(".");
          const method = steps.pop();
          const owner = steps.reduce((object, step) => (object ? object[step] : undefined), on);
          if (!owner || typeof owner[method] !== "function") return { missing: true };
          const made = Promise.resolve(owner[method](...(call.arguments || []).map((a) => (a === "$phone" ? phone : a))));
          made.catch(() => {}); // Nobody handles it when it is late.
          const ended = await Promise.race([made.then((result) => ({ result })), late]);
          if (ended.late) return { late: true };
          value = ended.result;
        }
        return { value: cut(value) };
      } catch (error) {
        return { failed: true, refusal: thrown(error) };
      }
    },
  };
})
