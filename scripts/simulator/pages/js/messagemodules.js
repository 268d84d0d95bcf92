// The modules about messages, by the names that the page has for them.

import { faultIs, profile } from './config.js';
import {
  ACK, Blocklist, BlocklistCollection, Chat, ChatCollection, Chats, Collection, Contact, ContactCollection, Contacts, Msg, MsgCollection, Msgs,
} from './collections.js';
import { openChat } from './chatview.js';
import { downloadMedia, mediaModules } from './media.js';
import { Cmd, Stream } from './models.js';
import { MsgKey } from './msgkey.js';
import * as acts from './acts.js';
import * as people from './people.js';
import * as reactions from './reactions.js';
import * as receiving from './receiving.js';
import * as restrictions from './restrictions.js';
import * as sending from './sending.js';
import * as tables from './tables.js';
import { factory, me, Wid } from './wid.js';
import { ask } from './wire.js';

const enumeration = (...names) => Object.freeze(Object.fromEntries(names.map((n) => [n.toUpperCase(), n])));

const MSG_TYPE = enumeration('chat', 'image', 'video', 'audio', 'ptt', 'ptv', 'document', 'sticker', 'location', 'vcard', 'poll_creation',
  'interactive', 'revoked', 'ciphertext', 'album', 'unknown', 'gp2', 'notification', 'notification_template', 'e2e_notification', 'call_log', 'protocol');

const ACK_STRING = { SENDER: 'sender', DELIVERY: 'delivery', READ: 'read', PLAYED: 'played', INACTIVE: 'inactive' };

const SendMsgResult = Object.freeze(Object.fromEntries(
  ['OK', 'ERROR_NETWORK', 'ERROR_EXPIRED', 'ERROR_CANCELLED', 'ERROR_UPLOAD', 'ERROR_UNKNOWN', 'ERROR_RATE_LIMIT'].map((n) => [n, n])));

const LINK = /https?:\/\/\S+/g;

const findLinks = (text) => [...(text ?? '').matchAll(LINK)].map(([href]) => ({ href, url: href, suspiciousCharacters: new Set() }));

async function findByDirection({ anchor, count, direction }) {
  const key = MsgKey.from(anchor);
  const rows = await tables.messageTable.startsWithAnyOf(['id'], [`true_${key.remote}_`, `false_${key.remote}_`]);
  rows.sort((a, b) => a.rowId - b.rowId);
  const at = rows.findIndex((row) => row.id === key.toString());
  const found = direction === 'after' ? rows.slice(at + 1, at + 1 + count) : rows.slice(Math.max(0, at - count), at);
  return { status: 200, messages: await Promise.all(found.map(tables.messageFromDbRow)) };
}

async function sendSeen(what) {
  if (faultIs('seen', 'throws')) throw new TypeError("Cannot read properties of undefined (reading 'markedUnread')");
  const { chat } = what;
  if (faultIs('seen', 'hangs')) await new Promise(() => {});
  while (!Stream.available) await new Promise((resolve) => Stream.once('change:available', resolve));
  await ask('seen', String(chat.id));
  chat.set({ unreadCount: 0 });
  await tables.changeChat(chat.id, () => ({ unreadCount: 0 }));
}

async function sendTextMsgToChat(chat, text, options) {
  const data = await sending.createTextMsgData(chat, text, options);
  return data && Promise.all(sending.addAndSendMsgToChat(chat, data)).then(([, result]) => result);
}

const resend = (model) => (sending.failed(model) ? sending.resendMsgToChat(Chats.get(model.id.remote), model) : undefined);

Msgs.getMessagesById = receiving.getMessagesById;
Msg.prototype.downloadMedia = downloadMedia;
Chats.find = async (wid) => Chats.get(wid) ?? (await people.findOrCreateLatestChat(factory.createWidFromWidLike(wid))).chat;

Stream.on('change:available', (_, available) => ask('presence', available ? 'available' : 'unavailable').catch(() => {}));

Cmd.openChatBottom = async ({ chat }) => {
  openChat(chat);
  await ask('renew', String(chat.id));
  return true;
};

/** The collections, and the models in them. */
export function collectionModules() {
  return {
    WAWebCollections: { Msg: Msgs, Chat: Chats, Contact: Contacts, Blocklist, Reactions: reactions.AllReactions },
    WAWebReactionsCollection: { ReactionsCollection: reactions.AllReactions },
    WAWebMsgCollection: { MsgCollection: Msgs, MsgCollectionImpl: MsgCollection },
    WAWebChatCollection: { ChatCollection: Chats, ChatCollectionImpl: ChatCollection },
    WAWebContactCollection: { ContactCollection: Contacts, ContactCollectionImpl: ContactCollection },
    WAWebBlocklistCollection: { BlocklistCollection: Blocklist, BlocklistCollectionImpl: BlocklistCollection },
    WAWebBaseCollection: { BaseCollection: Collection },
    WAWebMsgModel: { Msg },
    WAWebChatModel: { Chat },
    WAWebContactModel: { Contact },
  };
}

/** All others; stored wraps what can't be read while the page starts. */
export function messageModules(stored) {
  const again = profile.era === '2026-08'
    ? { WAWebResendMsgAction: { resendMsg: async (model) => resend(model) } }
    : {};
  if (profile.era !== '2026-08') Msg.prototype.resend = function () { return resend(this); };
  return {
    ...addresses(stored), ...chats(), ...messages(), ...account(), ...mediaModules(), ...again,
    WAWebSendTextMsgChatAction: {
      createTextMsgData: sending.createTextMsgData, sendTextMsgToChat,
      addAndSendTextMsg: (chat, data) => sending.addAndSendMsgToChat(chat, data),
    },
    WAWebSendMsgChatAction: { addAndSendMsgToChat: sending.addAndSendMsgToChat, resendMsgToChat: sending.resendMsgToChat },
    WAWebMsgActionCapability: acts.capability,
    WAWebSendMessageEditAction: { sendMessageEdit: acts.sendMessageEdit, resendLatestEdit: acts.resendLatestEdit },
    WAWebChatSendMessages: { sendRevokeMsgs: acts.sendRevokeMsgs },
    WAWebSendReactionMsgAction: { sendReactionToMsg: acts.sendReactionToMsg },
    WAWebMsgDataUtils: { genOutgoingMsgData: sending.genOutgoingMsgData },
    WAWebGetEphemeralFieldsMsgActionsUtils: { getEphemeralFields: sending.getEphemeralFields },
  };
}

function addresses(stored) {
  return {
    WAWebWid: { default: Wid },
    WAWebWidFactory: factory,
    WAWebUserPrefsMeUser: Object.fromEntries(Object.entries(me).map(([name, get]) => [name, stored(get)])),
    WAWebLid1X1MigrationGating: { Lid1X1MigrationUtils: { isLidMigrated: people.isLidMigrated } },
    WAWebSyncContactJob: { syncContactListJob: people.syncContactListJob },
    WAWebApiContact: { getCurrentLid: people.getCurrentLid, getPhoneNumber: people.getPhoneNumber },
    WAWebQueryExistsJob: {
      queryWidExists: people.queryWidExists, queryPhoneExists: people.queryPhoneExists, queryUsernameExists: async () => null,
    },
  };
}

function chats() {
  return {
    WAWebFindChatAction: { findOrCreateLatestChat: people.findOrCreateLatestChat, findExistingChat: people.findOrCreateLatestChat },
    WAWebChatGetters: {
      getIsNewsletter: ({ id }) => id.isNewsletter(), getIsBroadcast: ({ id }) => id.isBroadcast(), getIsGroup: ({ id }) => id.isGroup(),
      getIsUser: ({ id }) => id.isUser(),
    },
    WAWebUpdateUnreadChatAction: { sendSeen, async markUnread() {} },
    WAWebGroupQueryJob: { queryAndUpdateGroupMetadataById: ({ id }) => ask('renew', String(id)) },
    WAWebPresenceChatAction: { async markComposing() {}, async markRecording() {}, async markPaused() {} },
  };
}

function messages() {
  return {
    WAWebMsgKey: MsgKey,
    WAWebAck: { ACK, ACK_STRING },
    WAWebMsgType: { MSG_TYPE },
    WAWebMsgReply: { canReplyMsg: (msg) => msg.canReply() },
    WAWebSchemaMessage: { getMessageTable: () => tables.messageTable },
    WAWebSchemaChat: { getChatTable: () => tables.chatTable },
    WAWebDBMessageSerialization: { messageFromDbRow: tables.messageFromDbRow },
    WAWebDBMessageFindLocal: { msgFindByDirection: findByDirection },
    WAWebDBProcessMessage: { storeMessages: (all) => tables.storeMessages(all) },
    WAWebDBMsgUtils: {
      getMsgsByMsgIdsAndChatId: receiving.getMsgsByMsgIdsAndChatId,
      getMsgByMsgKey: async (key) => (await tables.messageTable.get(key)) ?? null,
    },
    WATimeUtils: { unixTime: people.now, unixTimeMs: Date.now },
    WAWebSendMsgResultAction: { SendMsgResult },
    WALinkify: { findLinks, findLink: (text) => findLinks(text)[0] ?? null },
    WAWebLinkPreviewChatAction: { getLinkPreview: async () => null },
    WAWebNonMessageDataRequestPlaceholderMessageResendUtils: { handlePlaceholderMsgsSeen: receiving.askPhoneFor },
    WAWebSyncGatingUtils: { isPlaceholderMessageResendEnabled: () => false },
    WAWebCallCollection: { on() {}, calls: new Map() },
    WAWebSchemaReactions: { getReactionsTable: () => tables.reactionTable },
    WAWebAddonReactionTableMode: { reactionTableMode: reactions.reactionTableMode },
    WAWebAddonPollVoteTableMode: { pollVoteTableMode: { async bulkUpsert() {} } },
    WAWebBackendJobsCommon: { mediaTypeFromProtobuf: () => null },
    WAWebE2EProtoUtils: { typeAttributeFromProtobuf: () => 'text' },
  };
}

function account() {
  return {
    WAWebUserPrefsIndexedDBStorage: { userPrefsIdb: restrictions.userPrefsIdb },
    WAWebUserPrefsTypes: { ReachoutTimelockState: restrictions.ReachoutTimelockState },
    WAWebReachoutTimelockUtils: restrictions.timelock,
    WAWebGetReachoutTimelockJob: { fetchReachoutTimelock: restrictions.fetchReachoutTimelock },
    WAWebIndividualNewChatMessageCappingLimitUtils: restrictions.capping,
  };
}
