// Linking with a passkey, which the page calls shortcake, and the challenge of an account
// that is linked, which makes the same call to the browser.

import { after, fault, faultIs, scaled } from './config.js';
import { Emitter } from './emitter.js';
import { keys, renewAdvSecret } from './keys.js';
import { Ui } from './models.js';
import * as pairing from './pairing.js';

const OPTIONS_LIFE = 600_000;
const HANDOFF_LIFE = 300_000;
const STAGE = 120_000;
const EVENT = 'link_device_events:';

export const LinkDeviceEvents = new Emitter();

let send = () => {};
let leave = () => {};

/** Sets what writes to the server, and what leads back to the QR. */
export function onShortcake(write, back) {
  send = write;
  leave = back;
}

let cached = null; // {text, at}
let handoff = null; // {key, at}
let timer;
let asked = null; // who waits for new options
let confirmed = false;

const young = (kept, life) => kept !== null && performance.now() - kept.at < scaled(life);

const encode = (bytes) => btoa(String.fromCharCode(...new Uint8Array(bytes)))
  .replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
const decode = (text) => Uint8Array.from(atob(text.replaceAll('-', '+').replaceAll('_', '/')), (c) => c.charCodeAt(0));

function show(card, further = {}) {
  clearTimeout(timer);
  Ui.set({ special: 'PASSKEY', passkey: { card, code: '', text: '', ...further } });
}

/** The server wants a passkey before it links. Secret is what the phone was given. */
export async function passkeyRequested({ options, code }) {
  const secret = new TextEncoder().encode(code ?? keys.advSecret ?? '');
  pairing.stopPairing();
  pairing.setPairingType('SHORTCAKE_PASSKEY');
  cached = { text: options, at: performance.now() };
  handoff = { key: await crypto.subtle.importKey('raw', secret, { name: 'HMAC', hash: 'SHA-256' }, false, ['sign']), at: cached.at };
  confirmed = false;
  renewAdvSecret();
  LinkDeviceEvents.trigger(EVENT + 'passkey_prologue_request');
  if (faultIs('passkey', 'unloaded')) {
    Ui.set({ suspended: true });
    return;
  }
  show({ waiting: 'waiting', code: 'code' }[fault('passkey')?.value] ?? 'prompt', { code: 'K7QX2M9P' });
  if (faultIs('passkey', 'eager')) executePasskeyPrologue();
}

/** The options as the cache has them, as bytes. */
export const getRequestOptions = async () => (young(cached, OPTIONS_LIFE) ? new TextEncoder().encode(cached.text) : null);

function freshOptions(purpose) {
  send({ type: 'passkey-options', purpose });
  return new Promise((resolve) => { asked = resolve; });
}

/** The server's answer to that. */
export function optionsArrived({ options }) {
  cached = { text: options, at: performance.now() };
  asked?.(options);
}

async function assert(text) {
  const options = JSON.parse(text);
  options.challenge = decode(options.challenge);
  options.allowCredentials = (options.allowCredentials ?? []).map((c) => ({ ...c, id: decode(c.id) }));
  const first = options.extensions?.prf?.eval?.first;
  if (first) options.extensions.prf.eval.first = decode(first);
  const credential = await self.navigator.credentials.get({ publicKey: options });
  if (!credential || credential.type !== 'public-key') throw new Error('no credential');
  const { clientDataJSON, authenticatorData, signature, userHandle } = credential.response;
  return { credential, assertion: { id: credential.id, rawId: encode(credential.rawId), type: credential.type, response: {
    clientDataJSON: encode(clientDataJSON), authenticatorData: encode(authenticatorData),
    signature: encode(signature), userHandle: userHandle ? encode(userHandle) : null,
  } } };
}

/** Asks the browser for the passkey, and gives the server what it says. */
export async function executePasskeyPrologue() {
  try {
    const text = young(cached, OPTIONS_LIFE) ? cached.text : await freshOptions('link');
    const { credential, assertion } = await assert(text);
    const proof = young(handoff, HANDOFF_LIFE)
      ? encode(await crypto.subtle.sign('HMAC', handoff.key, decode(JSON.parse(text).challenge))) : '';
    const commitment = encode(await crypto.subtle.digest('SHA-256', crypto.getRandomValues(new Uint8Array(32))));
    send({ type: 'passkey-prologue', assertion, credential: credential.id, commitment, proof });
    LinkDeviceEvents.trigger(EVENT + 'shortcake_prologue_sent');
    show('waiting');
    timer = after(STAGE, () => passkeyFailed({ reason: 'timeout' }));
  } catch {
    // A person would press again.
    if (Ui.passkey) show('prompt', { text: 'passkeyFailed' });
  }
}

/** The phone has agreed; skip means that the proof was accepted. */
export function codeReady({ code, skip }) {
  LinkDeviceEvents.trigger(EVENT + 'shortcake_verification_code_ready', code, skip === true);
  if (skip) {
    confirmShortcakeVerificationCode();
    return;
  }
  show('code', { code });
  timer = after(STAGE, () => passkeyFailed({ reason: 'timeout' }));
}

export function confirmShortcakeVerificationCode() {
  confirmed = true;
  show('waiting');
  send({ type: 'passkey-confirm' });
}

export const isConfirmed = () => confirmed;

export function passkeyFailed({ reason }) {
  LinkDeviceEvents.trigger(EVENT + 'shortcake_error', reason);
  if (reason === 'server_error') cached = null; // The challenge is used up.
  show('prompt', { text: 'passkeyFailed' });
}

export function cancelShortcakePasskeyPairing() {
  endShortcake();
  pairing.setPairingType('QR_CODE');
  leave();
}

/** Forgets a request, since another way was taken, or it has succeeded. */
export function endShortcake() {
  clearTimeout(timer);
  cached = handoff = null;
  confirmed = false;
  Ui.set({ special: null, passkey: null });
}

/** Proves with a passkey that the account's owner is there, which ends the challenge. */
export async function performPasskeyAssertion() {
  try {
    const { credential, assertion } = await assert(await freshOptions('challenge'));
    const first = credential.getClientExtensionResults().prf?.results?.first;
    send({ type: 'challenge-answer', assertion, prf: first ? encode(first) : null });
  } catch {
    // The modal stays.
  }
}
