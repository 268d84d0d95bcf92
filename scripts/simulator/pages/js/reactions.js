// Reactions: a table that has the last one of each person to each message, and what of it is in
// memory.

import { ACK, Collection, Msgs, Stored } from './collections.js';
import { MsgKey } from './msgkey.js';
import { learn } from './people.js';
import { byIds, getMessagesById, isReady, placeOf } from './receiving.js';
import * as tables from './tables.js';
import { createWid, isMe } from './wid.js';

// What is left of a reaction that was taken back.
const NONE = '';

const isMine = ({ senderUserJid }) => isMe(createWid(senderUserJid));
const isShown = ({ reactionText, orphan }) => reactionText !== NONE && orphan !== 1;

class Sender extends Stored {}

/** The reactions with one emoji. */
class Group extends Stored {
  constructor(emoji) {
    super({ id: emoji, aggregateEmoji: emoji, hasReactionByMe: false, senders: new Collection(Sender) });
  }

  serialize() { return { ...super.serialize(), senders: this.senders.serialize() }; }
}

/** All reactions to one message. */
class Reactions extends Stored {
  constructor({ id, rows }) {
    super({ id, reactionByMe: null, reactions: new Collection(Group) });
    for (const row of rows) this.put(row);
  }

  put(row) {
    const mine = isMine(row);
    if (mine) this.set({ reactionByMe: row });
    const [group] = this.reactions.add(this.reactions.get(row.reactionText) ?? new Group(row.reactionText));
    if (mine) group.set({ hasReactionByMe: true });
    group.senders.add({ ...row, id: MsgKey.fromString(row.msgKey) });
    group.trigger('change:senders');
  }

  last(row) {
    for (const group of this.reactions.toArray()) {
      const sender = group.senders.toArray().find(({ senderUserJid }) => senderUserJid === row.senderUserJid);
      if (sender) return { group, sender };
    }
    return {};
  }

  drop({ group, sender }) {
    if (isMine(sender)) group.set({ hasReactionByMe: false });
    group.senders.remove(sender.id);
    if (group.senders.length === 0) this.reactions.remove(group.id);
    group.trigger('change:senders');
    sender.trigger('revoked');
  }
}
Reactions.prototype.proxyName = 'reactions';

class ReactionsCollection extends Collection {
  constructor() { super(Reactions); }

  async find(id) {
    const key = String(id);
    const [message] = (await getMessagesById([key])).messages;
    if (!message) throw new Error('the message is not found');
    const rows = await tables.reactionTable.equals(['parentMsgKey'], key);
    return this.get(key) ?? this.add({ id: message.id, rows: rows.filter(isShown) })[0];
  }

  addOrUpdateReaction(row) {
    const model = this.get(row.parentMsgKey);
    if (!model) return;
    const last = model.last(row);
    if (last.sender?.msgKey === row.msgKey || last.sender?.timestamp >= row.timestamp) return;
    if (row.reactionText !== NONE) model.put(row);
    else if (isMine(row)) model.set({ reactionByMe: null });
    if (last.sender) model.drop(last);
  }
}

export const AllReactions = new ReactionsCollection();
export { ReactionsCollection };

/** The table, as others wrap it. */
export const reactionTableMode = {
  async bulkUpsert(all) {
    await tables.reactionTable.bulkCreateOrReplace(all.map(rowOf));
  },
};

function rowOf({ id, reactionParentKey, author, from, reactionText, reactionTimestamp, t, ack, read }) {
  return {
    msgKey: String(id), parentMsgKey: String(reactionParentKey), senderUserJid: String(author ?? from), reactionText, timestamp: reactionTimestamp,
    t, ack, orphan: 0, read,
  };
}

/** Stores a reaction, unless there is a later one. */
export async function store(data) {
  const row = rowOf(data);
  const [before] = await tables.reactionTable.anyOf(['parentMsgKey', 'senderUserJid'], [[row.parentMsgKey, row.senderUserJid]]);
  if (before?.timestamp >= row.timestamp) return;
  await reactionTableMode.bulkUpsert([data]);
  if (row.reactionText !== NONE) await mark(row.parentMsgKey, true);
  if (!isReady()) return;
  // Only what the page would notify of is loaded.
  const shows = row.reactionText !== NONE && data.reactionParentKey.fromMe && !isMine(row);
  const model = shows ? await AllReactions.find(row.parentMsgKey) : AllReactions.get(row.parentMsgKey);
  AllReactions.addOrUpdateReaction(row);
  if (model) await mark(row.parentMsgKey, model.reactions.length > 0);
}

async function mark(key, hasReaction) {
  await tables.changeMessage(key, () => ({ hasReaction }));
  if (isReady()) Msgs.get(key)?.set({ hasReaction });
}

/** Takes a reaction of somebody, or of the account's phone. */
export async function takeReaction(stanza) {
  await learn(stanza.from, stanza.lid, stanza.name);
  const { sender, key } = await placeOf(stanza);
  const [row] = await byIds([stanza.target], key.remote);
  if (row) await store(reactionOf(key, sender, MsgKey.fromString(row.id), stanza.text ?? NONE, stanza.ms));
}

/** What a reaction consists of. */
export function reactionOf(id, from, reactionParentKey, reactionText, reactionTimestamp) {
  return {
    id, from, author: id.participant, to: id.remote, type: 'reaction', kind: 'reactionDecrypted', viewMode: 'VISIBLE', reactionParentKey, reactionText,
    reactionTimestamp, t: Math.floor(reactionTimestamp / 1000), ack: ACK.CLOCK, read: id.fromMe,
  };
}
