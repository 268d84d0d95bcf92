// Hints to the worker when it is worth observing. It runs in an isolated world, so
// that the page can neither see it nor call send, and it decides nothing: each
// hint only makes an observation come early.
(function (k, ping, pings, binding) {
  "use strict";

  const send = globalThis[binding];
  const soon = 10; // ms between checks of what may be the code
  const calmly = 1000; // the same while there are chats, where much moves
  const seldom = 250; // ms between hints of anything else
  const together = 50; // ms in which news about messages are reported together
  const burst = 20; // prompt hints in a second, after which they come seldom

  let before = "";
  let checked = -Infinity;
  let sent = -Infinity;
  let timer = 0;
  let second = 0;
  let inSecond = 0;

  // all finds nothing by a selector that this Chrome doesn't understand.
  const all = (selector, within) => {
    try {
      return (within || document).querySelectorAll(selector);
    } catch {
      return [];
    }
  };
  const there = (selector) => all(selector).length > 0;

  // signature changes with everything that decides about the code, and with what
  // distinguishes the screens.
  function signature() {
    const code = all(k.code)[0];
    const image = code && all(k.image, code)[0];
    return JSON.stringify([
      code && (code.getAttribute(k.attribute) || "").slice(0, 4096),
      code && all(k.overlay, code).length,
      image && image.style.opacity,
      k.selectors.map(there),
    ]);
  }

  function check() {
    timer = 0;
    checked = performance.now();
    const now = signature();
    if (now !== before && (inBurst() || checked - sent >= seldom)) {
      before = now;
      sent = checked;
      send("code");
    } else if (checked - sent >= seldom) {
      sent = checked;
      send("page");
    } else {
      later(seldom - (checked - sent));
    }
  }

  // inBurst counts the hints of this second, and returns whether one more is allowed.
  function inBurst() {
    if (checked - second >= 1000) {
      second = checked;
      inSecond = 0;
    }
    return ++inSecond <= burst;
  }

  function later(ms) {
    if (!timer) timer = setTimeout(check, ms);
  }

  // The first of a burst is checked at once, the rest together.
  function changed() {
    const wait = (k.calm.some(there) ? calmly : soon) - (performance.now() - checked);
    if (wait > 0) later(wait);
    else if (timer) {
      clearTimeout(timer);
      check();
    } else check();
  }

  new MutationObserver(changed).observe(document, {
    subtree: true,
    childList: true,
    attributes: true,
    attributeFilter: [k.attribute, "style", "class", "hidden", "open"],
  });
  // What else is worth an observation, as long as it doesn't come all the time.
  const hint = (what) => () => {
    checked = performance.now();
    if (inBurst()) send(what);
    else later(seldom);
  };
  for (const type of ["online", "offline"]) addEventListener(type, hint("network"));
  document.addEventListener("visibilitychange", hint("visibility"));
  document.addEventListener(ping, hint("module"));
  // What message.js and inbox.js have for the worker is fetched soon, however often that
  // is reported.
  for (const [name, what] of Object.entries(pings)) {
    let fetching = 0;
    document.addEventListener(name, () => {
      fetching ||= setTimeout(() => {
        fetching = 0;
        send(what);
      }, together);
    });
  }
  check();
})
