// Addresses, and whose account this is.

import * as storage from './storage.js';

const FORM = /^([^:@]*)(?::(\d+))?@(.+)$/;

/** An address: digits and a server, in some places with a device. */
export class Wid {
  constructor(text) {
    const [, user, device, server] = FORM.exec(text) ?? [];
    if (server === undefined) throw new Error('wid error: invalid wid');
    this.server = server === 's.whatsapp.net' ? 'c.us' : server;
    this.user = user;
    if (device !== undefined) this.device = Number(device);
    this._serialized = `${user}${device === undefined ? '' : `:${device}`}@${this.server}`;
  }

  static isXWid(server, id) { return id instanceof Wid && id.server === server; }

  static isWid(id) { return id instanceof Wid || (typeof id === 'string' && FORM.test(id)); }

  static isUser(id) { return Wid.isXWid('c.us', id) || Wid.isXWid('lid', id); }

  static isGroup(id) { return Wid.isXWid('g.us', id); }

  static isLid(id) { return Wid.isXWid('lid', id); }

  isUser() { return Wid.isUser(this); }

  isRegularUser() { return this.isUser(); }

  isRegularUserPn() { return this.server === 'c.us'; }

  isLid() { return this.server === 'lid'; }

  isGroup() { return this.server === 'g.us'; }

  isBroadcast() { return this.server === 'broadcast'; }

  isStatus() { return this._serialized === 'status@broadcast'; }

  isNewsletter() { return this.server === 'newsletter'; }

  isBot() { return this.server === 'bot'; }

  isServer() { return this.user === 'server'; }

  isPSA() { return false; }

  isHosted() { return false; }

  equals(other) { return other instanceof Wid && other._serialized === this._serialized; }

  isSameAccountAndAddressingMode(other) { return asUser(this).equals(asUser(other)); }

  getDeviceId() { return this.device ?? 0; }

  toJid() { return this._serialized.replace('@c.us', '@s.whatsapp.net'); }

  toLogString() { return `${this.user.slice(-4)}@${this.server}`; }

  toString() { return this._serialized; }
}

export function createWid(text) {
  if (text === null || text === undefined) return null;
  if (typeof text !== 'string') throw new TypeError('createWid: invalid argument');
  return new Wid(text);
}

export const isWidlike = (wid) => wid instanceof Wid;

/** The same address without a device. */
export function asUser(wid) {
  return wid.device === undefined ? wid : new Wid(`${wid.user}@${wid.server}`);
}

function asUserOrThrow(wid) {
  if (!(wid instanceof Wid) || !wid.isUser()) throw new Error('asUserWidOrThrow: not a user');
  return asUser(wid);
}

export const factory = {
  createWid,
  createWidFromWidLike: (like) => (like instanceof Wid ? like : createWid(like?._serialized ?? like)),
  createUserWid: (user, server = 'c.us') => createWid(`${user}@${server}`),
  createUserWidOrThrow: (text, server = 'c.us') => asUserOrThrow(createWid(text.includes('@') ? text : `${text}@${server}`)),
  createUserLidOrThrow: (text) => asUserOrThrow(createWid(text.includes('@') ? text : `${text}@lid`)),
  createDeviceWid: createWid,
  createDeviceWidFromUserAndDevice: (user, server, device) => createWid(`${user}:${device}@${server}`),
  asUserWidOrThrow: asUserOrThrow,
  asUserLidOrThrow: asUserOrThrow,
  asChatWid: (wid) => wid,
  toUserWid: asUser,
  toUserWidOrThrow: asUserOrThrow,
  isWidlike,
};

function kept(name) {
  try {
    return createWid(JSON.parse(localStorage.getItem(name)));
  } catch {
    return null; // It is not an address.
  }
}

const user = (wid) => wid && asUser(wid);

/** The own addresses; null, or an error, where nobody is logged in. */
export const me = {
  getMaybeMePnUser: () => user(kept('last-wid-md')) ?? undefined,
  getMaybeMeLidUser: () => user(kept('WALid')) ?? undefined,
  getMaybeMeDevicePn: () => kept('last-wid-md') ?? undefined,
  getMaybeMeDeviceLid: () => kept('WALid') ?? undefined,
  getMaybeMeUser: () => user(kept('last-wid-md')) ?? undefined,
  getMeUser: () => orThrow(user(kept('last-wid-md'))),
  getMePnUserOrThrow: () => orThrow(user(kept('last-wid-md'))),
  getMeLidUserOrThrow: () => orThrow(user(kept('WALid'))),
  getMePNUserOrThrow: () => orThrow(user(kept('last-wid-md'))),
  getMeDevicePnOrThrow: () => orThrow(kept('last-wid-md')),
  isMeAccount: (wid) => wid instanceof Wid && isMe(wid),
  isMePrimary: (wid) => wid instanceof Wid && isMe(wid) && !wid.device,
  isMeDevice: (wid) => wid instanceof Wid && isMe(wid) && wid.device !== undefined,
  isSerializedWidMe: (text) => isMe(createWid(text)),
};

function orThrow(wid) {
  if (!wid) throw new Error('the own account is not known');
  return wid;
}

export function isMe(wid) {
  return [me.getMaybeMePnUser(), me.getMaybeMeLidUser()].some((own) => own?.equals(asUser(wid)));
}

export const isLoggedIn = () => storage.lastWid() !== null;
