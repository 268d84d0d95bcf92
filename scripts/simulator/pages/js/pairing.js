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

export function initializeAltDeviceLinking() {
  pairingType = 'ALT_DEVICE_LINKING';
  renewAdvSecret(null);
}

export function initializeQRLinking() {
  clearTimeout(codeTimer);
  pairingType = 'QR_CODE';
  renewAdvSecret(newAdvSecret());
  Ui.set({ code: '', codeExpired: false, phoneError: '', view: 'qr' });
}

// What the server's refusals are called by the page's modules.
const REFUSALS = {
  rate: { name: 'IQErrorRateOverlimit', value: { code: 429, text: 'rate-overlimit' } },
  unavailable: { name: 'IQErrorFeatureNotAvailable', value: { code: 403, text: 'feature-not-available' } },
  'bad-request': { name: 'IQErrorBadRequest', value: { code: 400, text: 'bad-request' } },
};

class CompanionHelloError extends Error {
  constructor(reason) {
    super('companion hello failed');
    this.name = 'CompanionHelloError';
    this.type = REFUSALS[reason];
  }
}

/** Resolves with the code, or rejects with the reason. */
export function startAltLinkingFlow(phone) {
  if (Socket.state !== SOCKET_STATE.UNPAIRED && Socket.state !== SOCKET_STATE.UNPAIRED_IDLE) {
    return Promise.reject(new Error('invariant: socket is not open for linking'));
  }
  return new Promise((resolve, reject) => {
    answer = { resolve, reject };
    ask(String(phone).replace(/\D/g, ''));
  });
}

export function altLinkAnswer({ code, reason }) {
  if (code) {
    clearTimeout(codeTimer);
    codeTimer = after(CODE_LIFE, () => Ui.set({ codeExpired: true }));
    Ui.set({ code, codeExpired: false, phoneError: '', view: 'code' });
    answer?.resolve(code);
  } else {
    Ui.set({ phoneError: reason });
    answer?.reject(new CompanionHelloError(reason));
  }
  answer = null;
}
