// The keys of this browser: noise and identity key pairs and the ADV secret.

import * as storage from './storage.js';
import { advSecretEventEmitter } from './models.js';

export function encodeB64(buffer) {
  return btoa(String.fromCharCode(...new Uint8Array(buffer)));
}

export function decodeB64(text) {
  return Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;
}

const random = (bytes) => crypto.getRandomValues(new Uint8Array(bytes));

async function newKeyPair() {
  const pair = await crypto.subtle.generateKey({ name: 'X25519' }, true, ['deriveBits']);
  return {
    pubKey: await crypto.subtle.exportKey('raw', pair.publicKey),
    privKey: await crypto.subtle.exportKey('pkcs8', pair.privateKey),
  };
}

export const keys = {
  noise: null, // {staticKeyPair, recoveryToken, certificateChainBuffer}
  registration: null, // {registrationId, identityKeyPair}
  advSecret: null,
};

/** Loads what an earlier load kept. False when it can no longer be decrypted. */
export async function loadKeys() {
  const secret = await storage.get('wawc_db_enc', 'key');
  const text = localStorage.getItem('WANoiseInfo');
  const iv = localStorage.getItem('WANoiseInfoIv');
  const registration = await storage.get('signal-storage', 'registration');
  if (!secret || !text || !iv || !registration || !localStorage.getItem('WAWebEncKeySalt')) return false;
  const plain = await crypto.subtle.decrypt({ name: 'AES-GCM', iv: decodeB64(iv) }, secret, decodeB64(text))
    .catch(() => null);
  if (!plain) return false;
  const { pub, priv } = JSON.parse(new TextDecoder().decode(plain));
  keys.noise = noiseInfo({ pubKey: decodeB64(pub), privKey: decodeB64(priv) });
  keys.registration = registration;
  keys.advSecret = (await storage.get('wawc', 'advSecret')) ?? null;
  return true;
}

/** Makes and keeps new keys. The key that guards the noise info can't be exported. */
export async function createKeys() {
  const [noise, identity] = await Promise.all([newKeyPair(), newKeyPair()]);
  const secret = await crypto.subtle.generateKey({ name: 'AES-GCM', length: 256 }, false, ['encrypt', 'decrypt']);
  const iv = random(12);
  const plain = JSON.stringify({ pub: encodeB64(noise.pubKey), priv: encodeB64(noise.privKey) });
  const cipher = await crypto.subtle.encrypt({ name: 'AES-GCM', iv }, secret, new TextEncoder().encode(plain));
  keys.noise = noiseInfo(noise);
  keys.registration = { registrationId: random(2)[0] + 1, identityKeyPair: identity };
  await storage.put('wawc_db_enc', 'key', secret);
  await storage.put('signal-storage', 'registration', keys.registration);
  localStorage.setItem('WANoiseInfo', encodeB64(cipher));
  localStorage.setItem('WANoiseInfoIv', encodeB64(iv));
  localStorage.setItem('WAWebEncKeySalt', encodeB64(random(16)));
  localStorage.setItem('WebEncKeySalt', encodeB64(random(16)));
  localStorage.setItem('WAUnknownID', encodeB64(random(8)));
}

function noiseInfo(staticKeyPair) {
  return { staticKeyPair, recoveryToken: random(16).buffer, certificateChainBuffer: random(32).buffer };
}

/** Replaces the ADV secret; null drops it. */
export function renewAdvSecret(secret = encodeB64(random(32))) {
  keys.advSecret = secret;
  storage.put('wawc', 'advSecret', secret).catch(() => {}); // The page lives on what is in memory.
  advSecretEventEmitter.trigger('change');
}

export const newAdvSecret = () => encodeB64(random(32));

/** The companion platform by the browser's name in the user agent. */
export function platform() {
  const ua = navigator.userAgent;
  const known = [[/Edg\//, '2'], [/OPR\//, '5'], [/Firefox\//, '3'], [/Chrome\//, '1'], [/Safari\//, '6']];
  return known.find(([pattern]) => pattern.test(ua))?.[1] ?? '0';
}
