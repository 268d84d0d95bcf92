// The page's reports to the simulator, and the orders it obeys. It is not part
// of what is imitated.

import { scaled } from './config.js';

/** This load's own name, which the chat socket sends to the server, too. */
export const pageId = crypto.randomUUID();

// Without a window on a screen there are no frames to wait for.
const NO_FRAME = 250;

// Nesting that overflows the stack of the renderer's layout: Chromium 156 dies
// of 3000 levels within a second. chrome://crash can't be reached from a page,
// and running out of memory takes long.
const DEADLY_DEPTH = 5000;

let socket;
let latest = null;
let waitsForFrame = false;
const orders = { reload: () => location.reload(), hang, crash, ask, chatter, hoard, download };

/** Never returns. */
export function hang() {
  for (;;);
}

/** Kills the renderer, a moment later. */
export function crash() {
  let nest = document.createElement('div');
  for (let i = 0; i < DEADLY_DEPTH; i++) {
    const outer = document.createElement('div');
    outer.append(nest);
    nest = outer;
  }
  document.body.append(nest);
  document.body.getBoundingClientRect();
}

/** Blocks every script of the page until somebody answers. */
function ask() {
  confirm('Use this window?');
}

/** Writes more to the console than anybody can keep. */
function chatter() {
  const line = 'x'.repeat(100);
  for (let i = 0; i < 1e5; i++) console.log(i, line);
}

/** Takes 64 MB of memory 20 times a second, and never gives any back. */
function hoard() {
  const kept = [];
  setInterval(() => kept.push(new Uint8Array(1 << 26).fill(1)), 50);
}

/** Downloads 1 MB ten times a second, each time by a click on a link. */
function download() {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([new Uint8Array(1 << 20)]));
  link.download = 'file.bin';
  setInterval(() => link.click(), 100);
}

/** Makes the page obey an order. */
export function obey(name, run) {
  orders[name] = run;
}

export function connectInstrument() {
  const opened = new WebSocket(`${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/sim/page`);
  socket = opened;
  opened.onopen = () => { if (latest) deliver(latest); };
  opened.onmessage = ({ data }) => orders[JSON.parse(data).do]?.();
  opened.onclose = () => setTimeout(connectInstrument, Math.max(100, scaled(1000)));
}

/** Reports what has been drawn, once it is on the screen. */
export function report(screen) {
  latest = { ...screen, page: pageId, at: performance.timeOrigin + performance.now() };
  if (!waitsForFrame) awaitFrame();
}

function deliver(screen) {
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(screen));
}

/** Reports something that isn't on the screen. */
export function note(what) {
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(what));
}

function awaitFrame() {
  waitsForFrame = true;
  let done = false;
  const drawn = () => {
    if (done) return;
    done = true;
    const inFrame = latest;
    setTimeout(() => {
      waitsForFrame = false;
      deliver(inFrame);
      if (latest !== inFrame) awaitFrame();
    });
  };
  setTimeout(drawn, document.visibilityState === 'visible' ? NO_FRAME : 0);
  requestAnimationFrame(drawn);
}
