// The connection to the server: opening, backing off, and what arrives on it.

import { after, build, faultIs, scaled, wait } from './config.js';
import { Connection } from './connection.js';
import {
  BackendEventBus, Cmd, Conn, NetworkStatus, Socket, SOCKET_STATE, SOCKET_STREAM, Stream, StreamInfo, StreamMode, Ui,
} from './models.js';
import { encodeB64, keys } from './keys.js';
import * as storage from './storage.js';
import * as messaging from './messaging.js';
import * as pairing from './pairing.js';
import * as session from './session.js';
import * as shortcake from './shortcake.js';
import { pageId } from './instrument.js';
import * as wire from './wire.js';

// Seconds between attempts; the last one repeats.
const BACK_OFF = [1, 1, 2, 3, 5, 8, 10];
const CONNECT_LIMIT = 20_000;
const HEALTH_CHECK = 15_000;
const DEAD_SOCKET = 20_000;
const PROBE_LIMIT = 10_000;
// However fast the clock runs, a busy machine must not look like a dead network.
const PATIENCE = 3000;
// A socket that is refused so often while the probe blames a proxy is blocked.
const PROXY_ATTEMPTS = 3;

// Observed: how often a refused login is tried again, and how often a page that is
// too old loads itself.
const REFUSED = 1000;
const RELOAD_LINKED = 2500;
const RELOAD_UNLINKED = 10_000;

let socket = null;
let wanted = false;
let attempts = 0;
let heard = 0;
let retryTimer;

/** Opens the connection, and keeps it open until stop. */
export function start() {
  wanted = true;
  attempts = 0;
  connect();
}

export function stop() {
  wanted = false;
  pairing.stopPairing();
  clearTimeout(retryTimer);
  Ui.set({ alive: false });
  const old = socket;
  socket = null;
  wire.lost();
  old?.close();
}

/** Restarts the communication, which brings fresh refs. */
export function refreshQR() {
  stop();
  Conn.set({ ref: undefined, refTTL: undefined });
  start();
}

/** Ends a conflict in favour of this page. */
export function takeover() {
  stop();
  start();
}

export function send(message) {
  socket?.send(JSON.stringify(message));
}

function connect() {
  clearTimeout(retryTimer);
  if (!wanted) return;
  if (Stream.mode !== StreamMode.PROXYBLOCK) Socket.set({ state: SOCKET_STATE.OPENING });
  if (Stream.mode === StreamMode.MAIN) Stream.set({ info: StreamInfo.OPENING });
  const opened = new Connection();
  socket = opened;
  const tooLong = setTimeout(() => opened.close(), Math.max(PATIENCE, scaled(CONNECT_LIMIT)));
  opened.onopen = () => {
    clearTimeout(tooLong);
    heard = Date.now();
    hello();
  };
  // One message after the other, though some take their time.
  let work = Promise.resolve();
  opened.onmessage = ({ data }) => {
    heard = Date.now();
    work = work.then(() => (socket === opened ? handle(JSON.parse(data)) : null)).catch(console.error);
  };
  opened.onclose = () => {
    clearTimeout(tooLong);
    if (socket === opened) lost();
  };
}

// A registered page calls itself connected before the server has accepted its login:
// only the stream shows it.
async function hello() {
  const registered = storage.lastWid() !== null;
  Socket.set({ state: registered ? SOCKET_STATE.CONNECTED : SOCKET_STATE.PAIRING });
  BackendEventBus.trigger('open_socket_stream');
  send({
    type: 'hello', page: pageId, registered, noise: encodeB64(keys.noise.staticKeyPair.pubKey), build,
    synced: registered && (await storage.get('wawc', 'synced')) === true,
  });
}

// The socket has closed. The probe finds out whether there is a network at
// all: without one a code stays on the screen. Either way the clock of the codes
// keeps running, and draws codes of a list that nobody can link with.
async function lost() {
  socket = null;
  wire.lost();
  Ui.set({ alive: false });
  Socket.set({ stream: SOCKET_STREAM.DISCONNECTED });
  BackendEventBus.trigger('socket_stream_disconnected');
  if (!wanted) return;
  const status = await probe();
  if (!wanted || socket) return;
  NetworkStatus.set({ online: status !== null });
  if (status !== null && Stream.mode !== StreamMode.PROXYBLOCK) {
    Socket.set({ state: SOCKET_STATE.OPENING });
  }
  if (status?.proxy && attempts >= PROXY_ATTEMPTS) {
    Socket.set({ state: SOCKET_STATE.PROXYBLOCK });
    Stream.set({ mode: StreamMode.PROXYBLOCK });
  }
  if (status === null && !Conn.connected && !Conn.ref) Stream.set({ mode: StreamMode.OFFLINE });
  if (status === null && Conn.connected) {
    Socket.set({ state: SOCKET_STATE.OPENING });
    Stream.set({ info: StreamInfo.OFFLINE, displayInfo: StreamInfo.OFFLINE });
  }
  retryTimer = setTimeout(status === null ? lost : connect, backOff());
}

// A close would wait for the other side, which is silent.
function giveUp() {
  const dead = socket;
  dead.onclose = () => {};
  dead.close();
  lost();
}

function backOff() {
  const seconds = BACK_OFF[Math.min(attempts, BACK_OFF.length - 1)];
  attempts++;
  return Math.max(10, scaled(seconds * 1000));
}

/** The answer of the status probe, null when there is no network. */
async function probe() {
  try {
    const response = await fetch('/status.json', { signal: AbortSignal.timeout(Math.max(PATIENCE, scaled(PROBE_LIMIT))) });
    return response.ok ? await response.json() : null;
  } catch {
    return null;
  }
}

/** Checks the network regularly; nothing else notices that it is gone while a socket stays open. */
export async function watchNetwork() {
  for (;;) {
    await wait(scaled(HEALTH_CHECK));
    if (!socket || faultIs('offline', 'now')) continue;
    send({ type: 'ping' });
    const status = await probe();
    if (socket) NetworkStatus.set({ online: status !== null });
    if (socket?.open && Date.now() - heard > Math.max(PATIENCE, scaled(DEAD_SOCKET))) giveUp();
  }
}

async function handle(message) {
  attempts = 0;
  switch (message.type) {
    case 'pair-device':
      NetworkStatus.set({ online: true });
      Stream.set({ mode: StreamMode.QR, info: StreamInfo.NORMAL, displayInfo: StreamInfo.CONNECTING });
      pairing.beginPairing(message.refs);
      break;
    case 'companion-reg-refresh': pairing.rotateAdvSecret(); break;
    case 'pair-success': await paired(message); break;
    case 'passkey-request': await shortcake.passkeyRequested(message); break;
    case 'passkey-options': shortcake.optionsArrived(message); break;
    case 'passkey-code': shortcake.codeReady(message); break;
    case 'passkey-error': shortcake.passkeyFailed(message); break;
    case 'alt-code': case 'alt-error': pairing.altLinkAnswer(message); break;
    case 'success':
      NetworkStatus.set({ online: true });
      await session.loggedIn();
      await messaging.loggedIn();
      break;
    case 'sync': session.syncProgress(message.progress ?? 0); break;
    case 'sync-done':
      await messaging.synced();
      await session.syncDone();
      break;
    case 'stream-error': streamError(message.reason); break;
    case 'failure': failure(message.reason); break;
    case 'pong': break;
    default: if (!(await messaging.handle(message, send))) console.error('unknown message', message.type);
  }
}

// Observed: a refused login is tried again about once a second, and until then the
// page stays as it was.
function tryAgain() {
  wanted = true;
  retryTimer = after(REFUSED, connect);
}

// A page that is refused as too old loads itself again, as often as observed.
function loadAgain() {
  const every = scaled(storage.lastWid() === null ? RELOAD_UNLINKED : RELOAD_LINKED);
  setTimeout(() => location.reload(), Math.max(0, every - performance.now()));
}

async function paired(message) {
  const ok = shortcake.isConfirmed() || pairing.offers(message);
  if (ok) {
    shortcake.endShortcake();
    pairing.stopPairing();
    await session.rememberPairing(message);
    Conn.set({ ref: undefined, refTTL: undefined });
    Socket.set({ state: SOCKET_STATE.PAIRING });
  }
  send({ type: 'pair-answer', ok });
}

function streamError(reason) {
  switch (reason) {
    case '515':
      // The server closes now, and the next connection is a linked device's.
      if (faultIs('reload', 'canonical')) {
        stop();
        location.reload();
        break;
      }
      socket.onclose = () => {};
      socket = null;
      connect();
      break;
    case 'device_removed': stop(); session.logOut(); break;
    case 'conflict':
      stop();
      session.conflict();
      break;
    case 'replaced': // Observed: the page stops its communication, and looks alive.
      stop();
      Socket.set({ stream: SOCKET_STREAM.DISCONNECTED });
      break;
    default: console.error('unknown stream error', reason);
  }
}

function failure(reason) {
  stop();
  Socket.set({ stream: SOCKET_STREAM.DISCONNECTED });
  switch (reason) {
    case '401': case '406': session.logOut(); break;
    case '402': // Observed: it tries again under the ban's screen.
      Cmd.trigger('account_temporarily_banned_from_bridge');
      Ui.set({ special: 'TEMP_BAN' });
      tryAgain();
      break;
    case '405': case '409': loadAgain(); break;
    case '500': tryAgain(); break;
    case 'outdated': Ui.set({ special: 'UPDATE' }); break;
    case '503':
      Cmd.trigger('service_unavailable_503_from_bridge');
      Ui.set({ special: 'SERVICE_UNAVAILABLE' });
      break;
    case 'tos':
      Socket.set({ state: SOCKET_STATE.TOS_BLOCK });
      Stream.set({ mode: StreamMode.TOS_BLOCK });
      break;
    default: console.error('unknown failure', reason);
  }
}

wire.onWrite(send);
pairing.onAltLink((phone) => send({ type: 'alt-link', phone }));
shortcake.onShortcake(send, refreshQR);
