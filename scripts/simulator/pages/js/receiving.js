// What arrives: messages, receipts, and messages that are loaded from their rows.

import { fault, faultIs, scaled, wait } from './config.js';
import { ACK, Chats, Msgs } from './collections.js';
import { Socket, Stream, StreamMode } from './models.js';
import { MsgKey } from './msgkey.js';
import { findOrCreateLatestChat, learn } from './people.js';
import * as tables from './tables.js';
import { createWid } from './wid.js';

// Receipts are taken together for so long.
const BATCH = 1000;

const isReady = () => Socket.hasSynced === true && Stream.mode === StreamMode.MAIN;

/** Raises the acks of a message; without a model, or while the page starts, its row's alone. */
export async function takeReceipt({ id, from, ack }) {
  if (isReady()) await wait(scaled(BATCH));
  const rows = await byIds([id], createWid(from));
  for (const row of rows) {
    if (isReady()) Msgs.get(row.id)?.updateAck(ack);
    await tables.changeMessage(row.id, (now) => (ack > now.ack ? { ack } : null));
  }
}

async function byIds(ids, wid) {
  const chats = Chats.filter((chat) => chat.id.equals(wid) || chat.accountLid?.equals(wid)).map((chat) => chat.id);
  const found = await Promise.all([wid, ...chats].map((chat) => getMsgsByMsgIdsAndChatId(ids, chat)));
  return [...new Map(found.flat().map((row) => [row.id, row])).values()];
}

/** The rows of the messages with these ids in a chat, as that chat is addressed. */
export function getMsgsByMsgIdsAndChatId(ids, chat) {
  return tables.messageTable.startsWithAnyOf(['id'], ids.flatMap((id) => [`true_${chat}_${id}`, `false_${chat}_${id}`]));
}

/** Takes a message that somebody sent to this account. */
export async function takeMessage(stanza) {
  await learn(stanza.from, stanza.lid, stanza.name);
  const author = createWid(stanza.from);
  const { chat } = await findOrCreateLatestChat(stanza.group ? createWid(stanza.group) : author);
  const data = {
    id: new MsgKey({ fromMe: false, remote: chat.id, id: stanza.id, participant: stanza.group ? author : undefined }),
    from: chat.id, to: createWid(stanza.to), type: 'chat', t: stanza.t, body: stanza.text, ack: ACK.SENT, viewMode: 'VISIBLE', isNewMsg: true,
    notifyName: stanza.name, ...(stanza.group ? { author } : {}),
  };
  const cipher = fault('cipher');
  const first = cipher ? { ...data, type: 'ciphertext', body: undefined } : data;
  try {
    await tables.storeMessages([first]);
  } catch (error) {
    if (error.name === 'DuplicateMessageError') return;
    throw error;
  }
  await tables.changeChat(chat.id, (row) => ({ t: stanza.t, unreadCount: (row.unreadCount ?? 0) + 1, tcToken: 'token' }));
  if (isReady()) {
    const [model] = Msgs.add({ ...first, recvFresh: true });
    chat.msgs.add(model);
    chat.set({ t: stanza.t, unreadCount: chat.unreadCount + 1, tcToken: 'token' });
  }
  if (faultIs('cipher', 'late')) {
    wait(Number(cipher.arg)).then(async () => {
      await tables.replaceMessage(data);
      Msgs.get(data.id)?.set({ body: data.body, type: data.type });
    });
  }
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

