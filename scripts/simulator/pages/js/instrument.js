// The page's reports to the simulator, and the orders it takes. It is no part
// of what is imitated.

import { scaled } from './config.js';

/** This load's own name, which the chat socket tells the server too. */
export const pageId = crypto.randomUUID();

// Without a window on a screen there are no frames to wait for.
const NO_FRAME = 250;

let socket;
let latest = null;
const orders = {
  reload: () => location.reload(),
  hang: () => { for (;;); },
};

/** Makes the page obey an order. */
export function obey(name, run) {
  orders[name] = run;
}

export function connectInstrument() {
  const opened = new WebSocket(`${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/sim/page`);
  socket = opened;
  opened.onopen = () => { if (latest) deliver(); };
  opened.onmessage = ({ data }) => orders[JSON.parse(data).do]?.();
  opened.onclose = () => setTimeout(connectInstrument, Math.max(100, scaled(1000)));
}

/** Tells what has been drawn, once it is on the screen. */
export function report(screen) {
  latest = { ...screen, page: pageId, at: performance.timeOrigin + performance.now() };
  const mine = latest;
  painted(() => { if (latest === mine) deliver(); });
}

function deliver() {
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(latest));
}

function painted(run) {
  let done = false;
  const once = () => {
    if (done) return;
    done = true;
    run();
  };
  setTimeout(once, document.visibilityState === 'visible' ? NO_FRAME : 0);
  requestAnimationFrame(() => setTimeout(once));
}
