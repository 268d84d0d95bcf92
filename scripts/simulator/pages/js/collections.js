// The collections of chats, contacts and messages that are in memory.

import { Emitter, Model } from './emitter.js';
import { MsgKey } from './msgkey.js';
import { createWid, isMe } from './wid.js';

export const ACK = {
  MD_DOWNGRADE: -7, INACTIVE: -6, CONTENT_UNUPLOADABLE: -5, CONTENT_TOO_BIG: -4, CONTENT_GONE: -3, EXPIRED: -2, FAILED: -1,
  CLOCK: 0, SENT: 1, RECEIVED: 2, READ: 3, PLAYED: 4, PEER: 5,
};

/** Models by their ids. What a model triggers its collection triggers, too. */
export class Collection extends Emitter {
  #models = new Map();

  constructor(modelClass) {
    super();
    this.modelClass = modelClass;
  }

  get length() { return this.#models.size; }

  get(id) {
    // A model has an object as its id, whereas that of a key is a part of its text.
    return id === null || id === undefined ? undefined : this.#models.get(String(typeof id.id === 'object' ? id.id : id));
  }

  /** Adds what is new and returns the models; one that exists already is kept. */
  add(items) {
    return [items].flat().map((item) => {
      const known = this.get(item.id);
      if (known) return known;
      const model = item instanceof this.modelClass ? item : new this.modelClass(item);
      this.#models.set(String(model.id), model);
      model.collection ??= this; // A chat's collection comes second.
      this.trigger('add', model, this);
      return model;
    });
  }

  remove(item) {
    const model = this.get(item);
    if (!model) return;
    this.#models.delete(String(model.id));
    this.trigger('remove', model, this);
  }

  async find(id) {
    const known = this.get(id);
    if (!known) throw new Error('the model is not found');
    return known;
  }

  assertGet(id) {
    const known = this.get(id);
    if (!known) throw new Error('the model is not found');
    return known;
  }

  getModelsArray() { return [...this.#models.values()]; }

  toArray() { return this.getModelsArray(); }

  map(f) { return this.getModelsArray().map(f); }

  filter(f) { return this.getModelsArray().filter(f); }

  forEach(f) { this.getModelsArray().forEach(f); }

  some(f) { return this.getModelsArray().some(f); }

  head() { return this.getModelsArray()[0]; }

  last() { return this.getModelsArray().at(-1); }

  serialize() { return this.map((model) => model.serialize()); }

  reset() { this.#models.clear(); }
}

/** A model that belongs to a collection, whose attributes are all that serialize shows. */
export class Stored extends Model {
  constructor(attributes) {
    super(attributes);
    for (const hidden of ['collection', 'names']) Object.defineProperty(this, hidden, { value: undefined, writable: true, enumerable: false });
    this.names = new Set(Object.keys(attributes));
  }

  set(attributes) {
    for (const name of Object.keys(attributes)) this.names.add(name);
    return super.set(attributes);
  }

  trigger(name, ...args) {
    super.trigger(name, ...args);
    this.collection?.trigger(name, ...args);
    return this;
  }

  serialize() {
    return Object.fromEntries([...this.names].map((name) => [name, this[name]]));
  }

  unsafe() { return this; }

  hide(name, value) {
    Object.defineProperty(this, name, { value, writable: true, enumerable: false });
  }
}

/** A message in memory. */
export class Msg extends Stored {
  constructor(attributes) {
    super({ ...attributes, id: MsgKey.from(attributes.id), ack: attributes.ack ?? ACK.CLOCK });
    if (this.directPath) this.hide('mediaData', new Model({ type: this.type, mediaStage: 'INIT', mediaBlob: null }));
  }

  get isSentByMe() { return this.id.fromMe; }

  /** Raises the ack; a failure replaces it only while nothing has arrived. */
  updateAck(ack) {
    if (ack > this.ack || (ack < 0 && this.ack <= 0)) this.set({ ack });
  }

  /** What a message that quotes this one has of it; chat is the quoting chat's Wid. */
  msgContextInfo(chat) {
    const remote = chat?.equals?.(this.id.remote) ? {} : { quotedRemoteJid: this.id.remote };
    return {
      quotedMsg: { type: this.type, body: this.body }, quotedStanzaID: this.id.id,
      quotedParticipant: this.author ?? this.from, ...remote,
    };
  }

  canReply() { return this.ack >= ACK.SENT || !this.id.fromMe; }
}
Msg.prototype.proxyName = 'msg';

export class Chat extends Stored {
  constructor(attributes) {
    super({ unreadCount: 0, isReadOnly: false, archive: false, ...attributes, id: createWid(String(attributes.id)) });
    this.hide('msgs', new MsgCollection());
    this.hide('contact', ContactCollection.of(this.id));
    // queue ends with the last message of this chat that was given to the connection.
    this.hide('queue', Promise.resolve());
  }

  get isGroup() { return this.id.isGroup(); }

  get isUser() { return this.id.isUser(); }

  get formattedTitle() { return this.name ?? this.id.user; }

  get title() { return this.formattedTitle; }

  get lastReceivedKey() { return this.msgs.filter((m) => !m.id.fromMe).at(-1)?.id; }

  canSend() { return !this.isReadOnly; }
}
Chat.prototype.proxyName = 'chat';

export class Contact extends Stored {
  constructor(attributes) {
    super({ ...attributes, id: createWid(String(attributes.id)) });
  }

  get isMe() { return isMe(this.id); }

  get isUser() { return this.id.isUser(); }

  get formattedName() { return this.name ?? this.id.user; }

  get isContactBlocked() { return Blocklist.get(this.id) !== undefined; }
}
Contact.prototype.proxyName = 'contact';

class MsgCollection extends Collection {
  constructor() { super(Msg); }

  hasUnsentMessages() {
    return this.some((m) => m.id.fromMe && m.ack === ACK.CLOCK && !m.isSendFailure);
  }

  byChat(chat) { return this.filter((m) => m.id.remote.equals(chat.id ?? chat)); }
}

class ChatCollection extends Collection {
  constructor() { super(Chat); }

  getActive() { return this.getModelsArray().find((chat) => chat.active); }
}

class ContactCollection extends Collection {
  constructor() { super(Contact); }

  static of(id) { return Contacts.get(id) ?? Contacts.add({ id })[0]; }

  async find(id) { return ContactCollection.of(id); }
}

class BlocklistCollection extends Collection {
  constructor() { super(Contact); }
}

export const Contacts = new ContactCollection();
export const Blocklist = new BlocklistCollection();
export const Chats = new ChatCollection();
export const Msgs = new MsgCollection();
export { BlocklistCollection, ChatCollection, ContactCollection, MsgCollection };
