// What is done to messages that exist: edits, deletions for everybody, and reactions.

import { faultIs } from './config.js';
import { ACK, Chats, Msgs } from './collections.js';
import { MsgKey } from './msgkey.js';
import { now } from './people.js';
import { reactionOf, store } from './reactions.js';
import { getMessagesById } from './receiving.js';
import { sender, strike } from './sending.js';
import * as tables from './tables.js';
import { asUser } from './wid.js';
import { cast, untilOfflineDelivered } from './wire.js';

// For how long an own message can be edited, and deleted for everybody, in seconds.
const EDIT_WINDOW = 20 * 60;
const REVOKE_WINDOW = 2.5 * 24 * 60 * 60;

const allowed = (msg, life) => msg.id.fromMe && msg.type === 'chat' && msg.ack >= ACK.SENT && now() - msg.t <= life && !faultIs('acts', 'forbidden');

export const capability = {
  canEditText: (msg) => allowed(msg, EDIT_WINDOW),
  canEditCaption: () => false,
  canSenderRevokeMsg: (msg) => allowed(msg, REVOKE_WINDOW),
  canAdminRevokeMsg: () => false,
};

async function newKey(chat) {
  const from = sender(chat);
  const participant = chat.id.isGroup() ? asUser(from) : undefined;
  return { from, key: new MsgKey({ from, to: chat.id, id: await MsgKey.newId(), participant, selfDir: 'out' }) };
}

// Sends an act, and waits for the server as long as it takes. It returns the server's error.
async function transmit(chat, from, key, msg, act) {
  await untilOfflineDelivered();
  const to = chat.accountLid && chat.id.isUser() ? chat.accountLid : chat.id;
  const promise = cast({ type: 'message', id: key.id, to: String(to), from: String(from), target: msg.id.id, ...act });
  await strike('written', key);
  const { error } = await promise;
  await strike('acked', key);
  return error;
}

/** Edits a message; what it gives says nothing of the server's answer. */
export function sendMessageEdit(msg, text, options) {
  if (!capability.canEditText(msg) && !capability.canEditCaption(msg)) return Promise.reject(new Error('Cannot edit message'));
  if (options === undefined) return Promise.reject(new TypeError("Cannot read properties of undefined (reading 'linkPreview')"));
  return edit(msg, text.trim());
}

async function edit(msg, body) {
  const chat = Chats.get(msg.id.remote);
  const { from, key } = await newKey(chat);
  await strike('built', key);
  if (msg.latestEditMsgKey) await tables.removeMessage(msg.latestEditMsgKey);
  await tables.storeMessages([{
    id: key, from, to: msg.id.remote, type: 'protocol', subtype: 'message_edit', protocolMessageKey: msg.id, t: now(), ack: ACK.CLOCK, body,
  }]);
  // The page shows the edit before the server has it.
  const row = await tables.messageFromDbRow(await tables.messageTable.get(msg.id));
  await tables.replaceMessage({ ...row, body, latestEditMsgKey: key });
  msg.set({ body, latestEditMsgKey: key });
  await strike('stored', key);
  await sendEdit(msg, chat, from, key, body);
}

async function sendEdit(msg, chat, from, key, text) {
  const error = await transmit(chat, from, key, msg, { act: 'edit', text });
  msg.set({ isSendFailure: Boolean(error) });
  await tables.changeMessage(key, () => ({ ack: error ? ACK.FAILED : ACK.SENT }));
}

/** Sends the latest edit again, under its own key. */
export async function resendLatestEdit(msg) {
  const row = msg.latestEditMsgKey && await tables.messageTable.get(msg.latestEditMsgKey);
  if (!row || !capability.canEditText(msg)) return;
  const { body } = await tables.messageFromDbRow(row);
  await sendEdit(msg, Chats.get(msg.id.remote), sender(Chats.get(msg.id.remote)), MsgKey.fromString(row.id), body);
}

const revoking = new Map(); // by chat

/** Deletes messages for everybody. While it does so in a chat, further calls get the same promise. */
export function sendRevokeMsgs(chat, { type, list }, clearMedia) {
  if (type !== 'message') throw new TypeError('sendRevokeMsgs: not messages');
  if (!revoking.has(chat)) {
    revoking.set(chat, Promise.all(list.map((msg) => revoke(chat, msg, clearMedia))).finally(() => revoking.delete(chat)));
  }
  return revoking.get(chat);
}

async function revoke(chat, msg) {
  const { from, key } = await newKey(chat);
  await strike('built', key);
  const row = { id: key, from, to: msg.id.remote, type: 'protocol', subtype: 'sender_revoke', protocolMessageKey: msg.id, t: now(), ack: ACK.CLOCK };
  await tables.storeMessages([row]);
  await strike('stored', key);
  if (await transmit(chat, from, key, msg, { act: 'revoke' })) return { messageSendResult: 'ERROR_UNKNOWN' };
  // From now on the message has the key of its deletion.
  await tables.removeMessage(msg.id);
  await tables.replaceMessage({ ...row, type: 'revoked', subtype: 'sender', ack: ACK.SENT });
  Msgs.remove(msg);
  msg.set({ id: key, type: 'revoked', body: undefined, protocolMessageKey: msg.id });
  Msgs.add(msg);
  return { messageSendResult: 'OK' };
}

/** Reacts to a message. */
export async function sendReactionToMsg(msg, reaction) {
  if (typeof reaction !== 'string') throw new TypeError('reaction.codePointAt is not a function');
  const [known] = (await getMessagesById([String(msg.id)])).messages;
  const chat = Chats.get(known.id.remote);
  const { from, key } = await newKey(chat);
  await strike('built', key);
  await store(reactionOf(key, from, known.id, reaction, Date.now()));
  if (await transmit(chat, from, key, known, { act: 'reaction', text: reaction })) throw new Error('Reaction send error');
}
