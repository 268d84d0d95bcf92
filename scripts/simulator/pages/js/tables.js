// The tables of messages, chats and contacts. What is in a message can be read only with
// a key that can't leave the browser.

import * as storage from './storage.js';
import { faultIs } from './config.js';

const DATABASE = 'model-storage';
// What came live or while the page was away is numbered upwards from here, and older
// messages downwards.
const FIRST_ROW = 1e9;
const CONTENT = ['body', 'caption', 'mentionedJidList', 'quotedMsg', 'quotedStanzaID', 'quotedParticipant', 'messageSecret'];
const HISTORY = 'history';

function database() {
  const db = storage.database(DATABASE);
  if (!db) {
    const error = new Error('Storage must be initialized before accessing a table!');
    error.name = 'NotInitializedError';
    throw error;
  }
  return db;
}

const settled = storage.settled;

function finished(work) {
  return new Promise((resolve, reject) => {
    work.oncomplete = () => resolve();
    work.onabort = () => reject(work.error);
  });
}

let secret = null;

async function key() {
  secret ??= await storage.get('wawc_db_enc', 'key');
  return secret;
}

/** A row of the message table for a message's data, whose parts must be plain by now. */
export async function rowOf(data) {
  const row = {};
  const content = {};
  for (const [name, value] of Object.entries(data)) {
    if (value === undefined || typeof value === 'function') continue;
    (CONTENT.includes(name) ? content : row)[name] = plain(value);
  }
  const iv = crypto.getRandomValues(new Uint8Array(12));
  const bytes = new TextEncoder().encode(JSON.stringify(content));
  row.msgRowOpaqueData = { iv, _data: await crypto.subtle.encrypt({ name: 'AES-GCM', iv }, await key(), bytes) };
  return row;
}

function plain(value) {
  if (value === null || typeof value !== 'object') return value;
  if (ArrayBuffer.isView(value)) return Array.from(value);
  if (Array.isArray(value)) return value.map(plain);
  // Keys and addresses are their texts.
  if (Object.getPrototypeOf(value) !== Object.prototype) return String(value);
  return Object.fromEntries(Object.entries(value).map(([name, v]) => [name, plain(v)]));
}

/** What a row of the message table stands for. */
export async function messageFromDbRow(row) {
  const { msgRowOpaqueData: { iv, _data: data }, ...rest } = row;
  const bytes = await crypto.subtle.decrypt({ name: 'AES-GCM', iv }, await key(), data);
  return { ...rest, ...JSON.parse(new TextDecoder().decode(bytes)) };
}

function duplicate() {
  const error = new Error('the message exists already');
  error.name = 'DuplicateMessageError';
  return error;
}

/** Stores new messages and what changes in their chat, at once or not at all. */
export async function storeMessages(messages, chat) {
  if (faultIs('store', 'fail')) throw new DOMException('no space is left', 'QuotaExceededError');
  await store(await Promise.all(messages.map(rowOf)), chat);
  if (faultIs('store', 'duplicate') && messages.some((m) => String(m.id).startsWith('true'))) throw duplicate();
}

async function store(rows, chat, direction) {
  const work = database().transaction(['message', 'chat'], 'readwrite');
  const done = finished(work);
  const table = work.objectStore('message');
  try {
    for (const row of rows) {
      row.rowId = await nextRow(table, direction);
      await settled(table.add(row));
    }
    if (chat) work.objectStore('chat').put(chat);
  } catch (error) {
    abort(work);
    await done.catch(() => {});
    throw error?.name === 'ConstraintError' ? duplicate() : error;
  }
  await done;
}

function abort(work) {
  try {
    work.abort();
  } catch {
    // Its own error has ended it.
  }
}

async function nextRow(table, direction) {
  if (direction === HISTORY) {
    const first = await settled(table.index('rowId').openCursor(null, 'next'));
    return Math.min(FIRST_ROW, first?.key ?? FIRST_ROW) - 1;
  }
  const last = await settled(table.index('rowId').openCursor(null, 'prev'));
  return Math.max(FIRST_ROW, last?.key ?? FIRST_ROW) + 1;
}

/** Stores what the phone had before; messages that are known already are skipped. */
export async function storeHistory(messages) {
  for (const message of messages) {
    await store([await rowOf(message)], null, HISTORY).catch((error) => {
      if (error.name !== 'DuplicateMessageError') throw error;
    });
  }
}

/** Changes columns of a message, if its row is there and change allows it. */
export async function changeMessage(id, change) {
  const work = database().transaction('message', 'readwrite');
  const done = finished(work);
  const table = work.objectStore('message');
  const row = await settled(table.get(String(id)));
  const changes = row && change(row);
  if (changes) table.put({ ...row, ...changes });
  await done;
}

/** Removes a message's row, if it is there. */
export function removeMessage(id) {
  const work = database().transaction('message', 'readwrite');
  work.objectStore('message').delete(String(id));
  return finished(work);
}

/** Replaces the content of a message's row. */
export async function replaceMessage(data) {
  const row = await rowOf(data);
  await changeMessage(data.id, (old) => ({ ...row, rowId: old.rowId }));
}

export function put(name, row) {
  const work = database().transaction(name, 'readwrite');
  work.objectStore(name).put(row);
  return finished(work);
}

export function changeChat(id, change) {
  const work = database().transaction('chat', 'readwrite');
  const done = finished(work);
  const table = work.objectStore('chat');
  const request = table.get(String(id));
  request.onsuccess = () => table.put({ id: String(id), ...request.result, ...change(request.result ?? {}) });
  return done;
}

/** One table, as the page's own modules offer it. */
export class Table {
  #name;

  constructor(name) {
    this.#name = name;
  }

  #store() { return database().transaction(this.#name).objectStore(this.#name); }

  // An index of several columns is the table's own key.
  #source(index) {
    return index.length > 1 || index[0] === 'id' ? this.#store() : this.#store().index(index[0]);
  }

  async get(id) { return settled(this.#store().get(String(id))); }

  async bulkGet(ids) {
    const table = this.#store();
    return Promise.all(ids.map((id) => settled(table.get(String(id)))));
  }

  async all() { return settled(this.#store().getAll()); }

  async count() { return settled(this.#store().count()); }

  async greaterThan(index, value, { limit } = {}) {
    return settled(this.#source([index].flat()).getAll(IDBKeyRange.lowerBound(value, true), limit));
  }

  async between(index, lower, upper, { limit, lowerInclusive = true, upperInclusive = true } = {}) {
    return settled(this.#source([index].flat()).getAll(IDBKeyRange.bound(lower, upper, !lowerInclusive, !upperInclusive), limit));
  }

  async anyOf(index, values, { limit } = {}) {
    const source = this.#source([index].flat());
    const found = await Promise.all(values.map((value) => settled(source.getAll(IDBKeyRange.only(value), limit))));
    return found.flat().slice(0, limit);
  }

  async equals(index, value, options) { return this.anyOf(index, [value], options); }

  async bulkCreateOrReplace(rows) {
    const work = database().transaction(this.#name, 'readwrite');
    for (const row of rows) work.objectStore(this.#name).put(row);
    await finished(work);
  }

  async startsWithAnyOf(index, prefixes) {
    const source = this.#source([index].flat());
    const found = await Promise.all(prefixes.map((p) => settled(source.getAll(IDBKeyRange.bound(p, `${p}\uffff`)))));
    return found.flat();
  }
}

export const messageTable = new Table('message');
export const chatTable = new Table('chat');
export const reactionTable = new Table('reactions');
export const contactTable = new Table('contact');
