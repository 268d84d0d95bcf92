// What arrives: messages, receipts, and messages that are loaded from their rows.

import { fault, faultIs, scaled, wait } from './config.js';
import { ACK, Chats, Msgs } from './collections.js';
import { Socket, Stream, StreamMode } from './models.js';
import { fileOf } from './media.js';
import { MsgKey } from './msgkey.js';
import { findOrCreateLatestChat, learn } from './people.js';
import * as tables from './tables.js';
import { createWid, me } from './wid.js';
import { ask } from './wire.js';

// Receipts are taken together for so long.
const BATCH = 1000;

export const isReady = () => Socket.hasSynced === true && Stream.mode === StreamMode.MAIN;

/** Raises the acks of a message; without a model, or while the page starts, its row's alone. */
export async function takeReceipt({ id, from, ack }) {
  if (isReady()) await wait(scaled(BATCH));
  const rows = await byIds([id], createWid(from));
  for (const row of rows) {
    if (isReady()) Msgs.get(row.id)?.updateAck(ack);
    await tables.changeMessage(row.id, (now) => (ack > now.ack ? { ack } : null));
  }
}

/** The rows of the messages with these ids in the chat with somebody, however it is addressed. */
export async function byIds(ids, wid) {
  const chats = Chats.filter((chat) => chat.id.equals(wid) || chat.accountLid?.equals(wid)).map((chat) => chat.id);
  const found = await Promise.all([wid, ...chats].map((chat) => getMsgsByMsgIdsAndChatId(ids, chat)));
  return [...new Map(found.flat().map((row) => [row.id, row])).values()];
}

/** The rows of the messages with these ids in a chat, as that chat is addressed. */
export function getMsgsByMsgIdsAndChatId(ids, chat) {
  return tables.messageTable.startsWithAnyOf(['id'], ids.flatMap((id) => [`true_${chat}_${id}`, `false_${chat}_${id}`]));
}

// Statuses and channels have messages, and no chat.
const hasChat = (stanza) => !/@(broadcast|newsletter)$/.test(stanza.group ?? '');

/** The chat of a stanza, which is made if need be, and what its key has of it. */
export async function placeOf(stanza) {
  const author = createWid(stanza.from);
  const remote = stanza.group ? createWid(stanza.group) : author;
  const chat = hasChat(stanza) ? (await findOrCreateLatestChat(remote)).chat : null;
  const sender = stanza.own ? me.getMaybeMePnUser() : author;
  const id = chat?.id ?? remote;
  return { chat, sender, key: new MsgKey({ fromMe: Boolean(stanza.own), remote: id, id: stanza.id, participant: stanza.group ? sender : undefined }) };
}

/** Takes a message that somebody sent to this account, or that another device of it sent. */
export async function takeMessage(stanza) {
  await learn(stanza.from, stanza.lid, stanza.name);
  const { chat, sender, key } = await placeOf(stanza);
  const data = {
    id: key, from: stanza.own ? sender : key.remote, to: stanza.own ? key.remote : createWid(stanza.to), type: stanza.kind || 'chat',
    t: stanza.t, [stanza.media ? 'caption' : 'body']: stanza.text, ack: ACK.SENT, viewMode: 'VISIBLE', isNewMsg: true, ...fileOf(stanza),
    ...(stanza.own ? {} : { notifyName: stanza.name }), ...(stanza.group ? { author: sender } : {}),
    ...(stanza.quoted ? { quotedStanzaID: stanza.quoted } : {}),
  };
  const cipher = !stanza.own && fault('cipher');
  const first = cipher ? { ...data, type: 'ciphertext', body: undefined } : data;
  try {
    await tables.storeMessages([first]);
  } catch (error) {
    if (error.name === 'DuplicateMessageError') return;
    throw error;
  }
  const received = stanza.own ? {} : { tcToken: 'token' };
  const more = stanza.own ? 0 : 1;
  if (chat) await tables.changeChat(chat.id, (row) => ({ t: stanza.t, unreadCount: (row.unreadCount ?? 0) + more, ...received }));
  if (isReady()) {
    const [model] = Msgs.add({ ...first, recvFresh: true });
    chat?.msgs.add(model);
    chat?.set({ t: stanza.t, unreadCount: chat.unreadCount + more, ...received });
  }
  if (!cipher) return;
  undecrypted.set(String(key), data);
  if (faultIs('cipher', 'late')) wait(Number(cipher.arg)).then(() => reveal(data));
}

const undecrypted = new Map(); // data by key

async function reveal(data) {
  await tables.replaceMessage(data);
  Msgs.get(data.id)?.set({ body: data.body, type: data.type });
}

/** Asks the phone for messages again. */
export async function askPhoneFor(models) {
  for (const { id } of models) {
    await ask('resend', id.id);
    const data = undecrypted.get(String(id));
    if (data && faultIs('cipher', 'asked')) await reveal(data);
  }
}

/** Takes another text of a message, the text of one that was ciphertext, or that it was deleted for everybody. */
export async function changeMessage(stanza) {
  await learn(stanza.from, stanza.lid, stanza.name);
  const { key } = await placeOf(stanza);
  const row = await tables.messageTable.get(key);
  if (!row) return;
  const before = await tables.messageFromDbRow(row);
  let changes = { body: stanza.text, latestEditMsgKey: new MsgKey({ fromMe: key.fromMe, remote: key.remote, id: `${stanza.id}${stanza.n}` }) };
  if (stanza.kind === 'revoked') changes = { type: 'revoked', body: undefined, caption: undefined };
  else if (before.type === 'ciphertext') changes = { type: 'chat', body: stanza.text };
  await tables.replaceMessage({ ...before, ...changes });
  if (isReady()) Msgs.get(key)?.set(changes);
}

/** Loads messages into memory. Own ones that were never acknowledged count as failed from then on. */
export async function getMessagesById(keys) {
  const models = await Promise.all(keys.map(async (key) => {
    const known = Msgs.get(key);
    if (known) return known;
    const row = await tables.messageTable.get(key);
    return row ? load(row) : null;
  }));
  return { messages: models.filter(Boolean) };
}

async function load(row) {
  const { rowId, ...data } = await tables.messageFromDbRow(row);
  const id = MsgKey.fromString(data.id);
  const wids = Object.fromEntries(['from', 'to', 'author'].filter((name) => data[name]).map((name) => [name, createWid(data[name])]));
  const [model] = Msgs.add({ ...data, ...wids, id, rowId, isNewMsg: false });
  if (id.fromMe && model.ack === ACK.CLOCK) model.set({ isSendFailure: true });
  Chats.get(id.remote)?.msgs.add(model);
  return model;
}

/** Takes the old messages of the phone. */
export async function takeOldMessages({ messages = [] }) {
  await tables.storeHistory(messages.map((m) => ({
    id: new MsgKey({ fromMe: false, remote: createWid(m.from), id: m.id }), from: m.from, to: m.to, type: 'chat', t: m.t, body: m.text, ack: ACK.READ,
  })));
}

