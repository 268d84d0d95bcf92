// The key of a message.

import { fault, profile } from './config.js';
import { asUser, createWid, isMe, me, Wid } from './wid.js';

/** Whether keys keep their text in a property with a name, as until July 2026. */
const serialized = (fault('key')?.value ?? (profile.era === '2026-08' ? 'minified' : 'serialized')) === 'serialized';

function check(wid, name) {
  if (!(wid instanceof Wid)) throw new TypeError(`MsgKey error: ${name} is not a Wid`);
  return wid;
}

function keyText({ fromMe, remote, id, self, participant }) {
  return [fromMe, remote, id, self, participant].filter((part) => part !== undefined && part !== null).map(String).join('_');
}

/** The key, whose source and whose property others look at. */
export class MsgKey {
  constructor(from) {
    if (!from) throw new Error('MsgKey error: obj is null/undefined');
    if (!from.id) throw new Error('MsgKey error: id is missing');
    if (from.remote) {
      this.fromMe = Boolean(from.fromMe);
      this.remote = check(from.remote, 'remote');
      if (from.self) this.self = from.self;
    } else {
      if (!me.getMaybeMePnUser()) throw new Error('MsgKey error: the own account is not known');
      const [sender, to] = [check(from.from, 'from'), check(from.to, 'to')];
      this.fromMe = isMe(sender);
      this.remote = this.fromMe ? to : sender;
      if (isMe(sender) && isMe(to)) this.self = from.selfDir;
    }
    this.id = from.id;
    if (from.participant) this.participant = asUser(check(from.participant, 'participant'));
    this[serialized ? '_serialized' : '$1'] = keyText(this);
  }

  equals(other) {
    return other !== null && other !== undefined && String(other) === this.toString();
  }

  clone() {
    return new this.constructor(this);
  }

  toLogString() {
    return this.id;
  }

  static from(value) {
    if (value instanceof MsgKey) return value;
    return typeof value === 'string' ? this.fromString(value) : new this(value);
  }

  static fromString(text) {
    const [fromMe, remote, id, ...rest] = String(text).split('_');
    if (!/^(true|false)$/.test(fromMe) || !id) throw new Error('MsgKey error: fromString() received an invalid text');
    const self = /^(in|out)$/.test(rest[0]) ? rest.shift() : undefined;
    return new this({
      fromMe: fromMe === 'true', remote: createWid(remote), id, self, participant: rest.length > 0 ? createWid(rest.join('_')) : undefined,
    });
  }

  static newId_DEPRECATED() {
    return newId();
  }

  static async newId() {
    return newId();
  }

  static displayName() {
    return 'MsgKey';
  }
}

function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(9));
  return '3EB0' + Array.from(bytes, (b) => b.toString(16).padStart(2, '0')).join('').toUpperCase();
}

MsgKey.prototype.toString = serialized
  ? function toString() { return this._serialized; }
  : function toString() { return this.$1; };
