// Waiting for a phone: the list of refs and its clock, the ADV secret, and
// linking by code.

import { after, faultIs, faultOn, scaled } from './config.js';
import { Conn, Socket, SOCKET_STATE, Ui, NetworkStatus } from './models.js';
import { newAdvSecret, renewAdvSecret } from './keys.js';
import { qrPayload } from './payload.js';

// A list has so many refs, or is ignored. The first one lives for a minute.
const FULL_LIST = 6;
const FIRST = 60_000;
const FURTHER = 20_000;
const CODE_LIFE = 180_000;

let refs = [];
let timer;
let codeTimer;

/** A list of refs has come. Every list brings a new ADV secret. */
export function beginPairing(list) {
  if (list.length !== FULL_LIST) return;
  stopPairing();
  Ui.set({ alive: true });
  refs = [...list];
  renewAdvSecret();
  showNext();
  if (faultOn('idle')) expirePairing();
}

/** Stops the clock; what is on the screen stays. */
export function stopPairing() {
  clearTimeout(timer);
  timer = null;
}

/** The list has run out: the last ref stays in place, dead. */
export function expirePairing() {
  stopPairing();
  refs = [];
  Socket.set({ state: SOCKET_STATE.UNPAIRED_IDLE });
}

function showNext() {
  if (refs.length === 0) {
    expirePairing();
    return;
  }
  const life = refs.length === FULL_LIST ? FIRST : FURTHER;
  Conn.set({ ref: refs.shift(), refTTL: scaled(life) });
  Socket.set({ state: SOCKET_STATE.UNPAIRED });
  if (faultIs('offline', 'now')) {
    NetworkStatus.set({ online: false });
    return;
  }
  timer = after(life, tick);
}

// The life of a ref is over. Nobody stops the clock when the connection closes, but
// it does not outlive a moment without a network.
function tick() {
  if (NetworkStatus.online) showNext();
  else Ui.set({ alive: false });
}

/** Ends the life of the ref now, if the clock runs. */
export function showSuccessor() {
  if (!timer) return;
  stopPairing();
  tick();
}

/** The server wants a new ADV secret under the same ref. */
export function rotateAdvSecret() {
  renewAdvSecret();
}

/** Whether what the phone has is what this page offers. */
export function offers({ payload, code }) {
  return code ? code === Ui.code && !Ui.codeExpired : payload === qrPayload();
}

// Linking by code.

let ask = () => {};

/** Sends a phone number to the server through the open socket. */
export function onAltLink(send) {
  ask = send;
}

let answer = null;

// How this page means to be linked: QR_CODE, ALT_DEVICE_LINKING, SHORTCAKE_PASSKEY.
let pairingType = 'QR_CODE';

export const getPairingType = () => pairingType;

export function setPairingType(type) {
  pairingType = type;
}

/** Starts over: a code that was given out before is dead from now on. */
export function initializeAltDeviceLinking() {
  clearTimeout(codeTimer);
  pairingType = 'ALT_DEVICE_LINKING';
  renewAdvSecret(null);
  Ui.set({ code: '', codeExpired: false });
}

export function initializeQRLinking() {
  clearTimeout(codeTimer);
  pairingType = 'QR_CODE';
  renewAdvSecret(newAdvSecret());
  Ui.set({ code: '', codeExpired: false, phoneError: false, view: 'qr' });
}

// The server's refusals that the page's modules know: name and text, by code.
const REFUSALS = {
  400: ['IQErrorBadRequest', 'bad-request'],
  403: ['IQErrorForbidden', 'forbidden'],
  429: ['IQErrorRateOverlimit', 'rate-overlimit'],
  452: ['IQErrorFeatureNotAvailable', 'feature-not-available'],
  500: ['IQErrorInternalServerError', 'internal-server-error'],
};

class CompanionHelloError extends Error {
  constructor(name, value) {
    super(`companion hello: ${name}`);
    this.name = 'CompanionHelloError';
    this.type = { name, value };
  }
}

// What the modules throw for an answer that they don't know. Its message lists all
// that they do know.
class SmaxParsingFailure extends Error {
  constructor() {
    super(`no parser accepts the answer: ${JSON.stringify(REFUSALS)}`);
    this.name = 'SmaxParsingFailure';
  }
}

function refusal(code) {
  if (!REFUSALS[code]) return new SmaxParsingFailure();
  const [name, text] = REFUSALS[code];
  return new CompanionHelloError(name, { text, code });
}

/** Whether the server can be asked for a code. */
export function canAsk() {
  return Socket.state === SOCKET_STATE.UNPAIRED || Socket.state === SOCKET_STATE.UNPAIRED_IDLE;
}

/** Resolves with the code, or rejects with the reason. */
export function startAltLinkingFlow(phone) {
  if (!canAsk()) {
    return Promise.reject(new Error('invariant: socket is not open for linking'));
  }
  return new Promise((resolve, reject) => {
    answer = { resolve, reject };
    ask(String(phone).replace(/\D/g, ''));
  });
}

// The dialogs that refusals open. They stay until they are closed.
const MODALS = { 429: 'tooMany', 452: 'limited' };

export function altLinkAnswer({ code, reason }) {
  if (code) {
    codeTimer = after(CODE_LIFE, () => Ui.set({ codeExpired: true }));
    Ui.set({ code, codeExpired: false, view: 'code' });
    answer?.resolve(code);
  } else {
    Ui.set({ modal: MODALS[reason] ?? 'general', view: Ui.view === 'code' ? 'phone' : Ui.view });
    answer?.reject(refusal(Number(reason)));
  }
  answer = null;
}
