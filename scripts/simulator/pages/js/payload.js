// The string that the code encodes.

import { profile } from './config.js';
import { Conn } from './models.js';
import { encodeB64, keys, platform } from './keys.js';

const PREFIX = 'https://wa.me/settings/linked_devices#';
const HELP = 'https://faq.whatsapp.com/r/ld';

/** The whole string, or '' as long as a part of it is missing. */
export function qrPayload() {
  if (!Conn.ref || Conn.connected || !keys.noise || !keys.registration) return '';
  const noise = encodeB64(keys.noise.staticKeyPair.pubKey);
  if (profile.payload.fields === 3) return [Conn.ref, noise, encodeB64(keys.noise.recoveryToken)].join(',');
  if (!keys.advSecret) return '';
  const identity = encodeB64(keys.registration.identityKeyPair.pubKey);
  const fields = [Conn.ref, noise, identity, keys.advSecret, platform(), HELP, 'later'].slice(0, profile.payload.fields);
  return (profile.payload.prefix ? PREFIX : '') + fields.join(',');
}
