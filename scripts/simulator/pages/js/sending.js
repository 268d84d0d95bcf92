// From a text to the server's acknowledgement.

import { fault, faultIs, scaled, wait } from './config.js';
import { ACK, Blocklist, Msgs } from './collections.js';
import { crash } from './instrument.js';
import { described } from './media.js';
import { MsgKey } from './msgkey.js';
import { now } from './people.js';
import { changeMessage, storeMessages } from './tables.js';
import { asUser, isMe, me } from './wid.js';
import { cast, untilOfflineDelivered } from './wire.js';

// How long a message waits for what came while the page was away.
const OFFLINE_LIMIT = 300_000;

// How old messages are under acts=late, in seconds.
const LONG_AGO = 3 * 24 * 60 * 60;

const capped = { code: 475, errorCode: 'UserReachedMaxMonthlyLimitForNewMessages' };

// A reload or a crash in mid-send, once for each message.
export async function strike(stage, id) {
  for (const kind of ['reload', 'crash']) {
    if (!faultIs(kind, 'in-send') || fault(kind).arg !== stage) continue;
    const mark = `sim-${kind}-${stage}-${id}`;
    if (localStorage.getItem(mark)) continue;
    localStorage.setItem(mark, '1');
    if (kind === 'crash') crash();
    else location.reload();
    await new Promise(() => {});
  }
}

/** The own address in a chat: the one of the same kind as the chat's. */
export function sender(chat) {
  const lid = chat.id.isGroup() ? chat.groupMetadata?.isLidAddressingMode : chat.id.isLid();
  return lid ? me.getMeLidUserOrThrow() : me.getMePnUserOrThrow();
}

export const getEphemeralFields = (chat) => (chat.ephemeralDuration ? { ephemeralDuration: chat.ephemeralDuration } : {});

export async function genOutgoingMsgData(chat, type = 'chat') {
  const from = sender(chat);
  const participant = chat.id.isGroup() ? asUser(from) : undefined;
  const id = new MsgKey({ from, to: chat.id, id: await MsgKey.newId(), participant, selfDir: 'out' });
  return {
    id, from, to: chat.id, type, t: faultIs('acts', 'late') ? now() - LONG_AGO : now(), viewMode: 'VISIBLE', isNewMsg: true, local: true, ack: ACK.CLOCK, bizBotType: null,
    ...(participant ? { author: participant } : {}),
  };
}

export async function createTextMsgData(chat, text, options = {}) {
  const body = text.trim();
  if (body === '') return null;
  return {
    ...await genOutgoingMsgData(chat), ...getEphemeralFields(chat), body, self: 'out',
    messageSecret: crypto.getRandomValues(new Uint8Array(32)),
    ...(options.mentionedJidList?.length ? { mentionedJidList: options.mentionedJidList } : {}),
    ...(options.quotedMsg ? options.quotedMsg.msgContextInfo(chat.id) : {}),
  };
}

/** Returns a promise that the message is stored, and one that the server has it. */
export function addAndSendMsgToChat(chat, dataOrPromise, beforeSend) {
  const stored = store(chat, dataOrPromise);
  const sent = send(chat, stored, beforeSend);
  sent.catch(() => {}); // Nobody has to wait for it.
  return [stored, sent];
}

async function store(chat, dataOrPromise) {
  const data = await dataOrPromise;
  const id = MsgKey.from(data.id);
  await strike('built', id);
  const [model] = Msgs.add({ ...data, id });
  await storeMessages([{ ...data, id, ack: model.ack }], { ...chatRow(chat), t: data.t });
  chat.set({ t: data.t });
  chat.msgs.add(model);
  await strike('stored', id);
  return model;
}

function chatRow(chat) {
  const { id, accountLid, unreadCount, name, tcToken, groupMetadata } = chat;
  return {
    id: String(id), accountLid: accountLid && String(accountLid), unreadCount, name, tcToken,
    group: groupMetadata && { id: String(id), subject: groupMetadata.subject, lidMode: groupMetadata.isLidAddressingMode, readOnly: groupMetadata.announce },
  };
}

async function send(chat, stored, beforeSend) {
  let ack;
  const written = chat.queue.then(async () => {
    const model = await stored;
    await beforeSend?.(model);
    ack = await record(chat, model);
    return model;
  });
  // The next message waits for this one to be written, not for its acknowledgement.
  chat.queue = written.catch(() => {});
  const model = await written;
  return finish(model, await ack.promise);
}

async function record(chat, model) {
  await Promise.race([untilOfflineDelivered(), wait(scaled(OFFLINE_LIMIT))]);
  if (Blocklist.get(chat.id)) throw new Error('the contact is blocked');
  const to = chat.accountLid && chat.id.isUser() ? chat.accountLid : chat.id;
  const promise = cast({
    type: 'message', id: model.id.id, to: String(to), from: String(model.from), text: model.type === 'chat' ? model.body : model.caption,
    media: described(model), quoted: model.quotedStanzaID, mentions: model.mentionedJidList?.map(String),
  });
  await strike('written', model.id);
  return { promise };
}

async function finish(model, { error, t }) {
  await strike('acked', model.id);
  if (error) {
    const why = error === capped.code ? { errorCode: capped.errorCode } : {};
    model.updateAck(ACK.FAILED);
    model.set({ isSendFailure: true, ...why });
    await changeMessage(model.id, () => ({ ack: ACK.FAILED, isSendFailure: true, ...why }));
    return { messageSendResult: 'ERROR_UNKNOWN', ackErrorCode: error, t };
  }
  const ack = isMe(model.id.remote) ? ACK.READ : ACK.SENT;
  model.updateAck(ack);
  if (model.isSendFailure) model.set({ isSendFailure: false });
  await changeMessage(model.id, (row) => ({ ack: Math.max(row.ack, ack), isSendFailure: false }));
  return { messageSendResult: 'OK', t, count: null };
}

/** Sends a stored message again, under the same key. */
export function resendMsgToChat(chat, modelPromise) {
  return send(chat, Promise.resolve(modelPromise).then(async (model) => {
    model.set({ ack: ACK.CLOCK, isSendFailure: false });
    await changeMessage(model.id, () => ({ ack: ACK.CLOCK, isSendFailure: false }));
    return model;
  }));
}

export const failed = (model) => model.ack < ACK.CLOCK || model.isSendFailure === true;

