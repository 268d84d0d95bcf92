// The address book: which number belongs to which LID, the chats, and who is on WhatsApp.

import { fault, faultIs } from './config.js';
import { Blocklist, Chats, Contacts } from './collections.js';
import * as tables from './tables.js';
import { asUser, createWid, Wid } from './wid.js';
import { ask } from './wire.js';

const lids = new Map(); // of numbers
const numbers = new Map(); // of LIDs

/** Whether 1:1 chats have LIDs. */
export const isLidMigrated = () => !faultIs('lid', 'off');

/** Remembers that a number and a LID are one person. */
export async function learn(phone, lid, name) {
  if (!phone || !lid || lids.get(phone) === lid) return;
  lids.set(phone, lid);
  numbers.set(lid, phone);
  for (const id of [phone, lid]) Contacts.add({ id })[0].set(name ? { name } : {});
  await tables.put('contact', { id: phone, lid, name });
}

const known = (map, wid) => {
  const text = map.get(asUser(wid).toString());
  return text ? createWid(text) : null;
};

export const getCurrentLid = (pn) => (faultIs('lid', 'missing') ? null : known(lids, pn));
export const getPhoneNumber = (lid) => known(numbers, lid);

export async function queryWidExists(wid) {
  const found = await ask('exists', asUser(wid).toString());
  if (!found) return null;
  await learn(found.phone, found.lid, found.name);
  return {
    wid: createWid(faultIs('exists', 'lid') ? found.lid : found.phone), biz: found.business === true,
    ...(found.business ? { bizInfo: {} } : {}),
  };
}

export const queryPhoneExists = (phone) => queryWidExists(createWid(`${phone.replace(/\D/g, '')}@c.us`));

/** Asks for the LIDs of numbers. */
export async function syncContactListJob(wids) {
  const found = await Promise.all(wids.map((wid) => ask('contact', asUser(wid).toString())));
  for (const person of found) if (person) await learn(person.phone, person.lid, person.name);
  return { list: found };
}

// The address that a new chat would have, and the LID that makes it the same as another.
async function chatAddress(wid) {
  if (!wid.isUser() || !isLidMigrated()) return { id: wid, accountLid: undefined };
  let lid = wid.isLid() ? asUser(wid) : getCurrentLid(wid);
  if (!lid && !faultIs('lid', 'missing')) {
    await syncContactListJob([wid]);
    lid = getCurrentLid(wid);
  }
  if (!lid) throw new Error('No LID for user');
  return { id: lid, accountLid: lid };
}

/** The chat with somebody, which is made if need be. */
export async function findOrCreateLatestChat(wid) {
  if (!(wid instanceof Wid)) throw new TypeError('findOrCreateLatestChat: not a Wid');
  const { id, accountLid } = await chatAddress(asUser(wid));
  const same = (chat) => accountLid && chat.accountLid?.equals(accountLid);
  const chat = Chats.get(id) ?? Chats.getModelsArray().find(same);
  if (chat) return { chat, created: false };
  if (id.isGroup()) throw new Error('findOrCreateLatestChat: the group is not known');
  const row = { id: id.toString(), accountLid: accountLid?.toString(), t: now(), unreadCount: 0 };
  await tables.put('chat', row);
  return { chat: addChat(row), created: true };
}

export const now = () => Math.floor(Date.now() / 1000);

/** Adds a chat to memory as its row describes it, or changes the one that is there. */
export function addChat({ id, accountLid, group, ...rest }) {
  const wid = createWid(id);
  const attributes = {
    ...rest, id: wid, accountLid: accountLid ? createWid(accountLid) : undefined,
    isReadOnly: Boolean(group) && (faultIs('chat', 'readonly') || group.readOnly === true),
  };
  if (group) {
    attributes.groupMetadata = {
      id: wid, isLidAddressingMode: group.lidMode === true, subject: group.subject, announce: attributes.isReadOnly,
    };
  }
  const known = Chats.get(wid);
  if (!known && faultIs('chat', 'blocked') && wid.isUser()) Blocklist.add({ id: wid });
  return known ? known.set(attributes) : Chats.add(attributes)[0];
}

/** Loads what the tables have, and all the chats that a switch asks for. */
export async function loadPeople() {
  for (const { id, lid, name } of await tables.contactTable.all()) await learn(id, lid, name);
  for (const row of await tables.chatTable.all()) addChat(row);
  if (fault('chats')) {
    for (let i = 0; i < Number(fault('chats').value); i++) {
      const number = String(15_000_000_000 + i);
      addChat({ id: `${number}@c.us`, accountLid: `7${number}@lid`, t: 1, name: `Chat ${i}` });
    }
  }
}

/** Takes the chats that the phone has. */
export async function takeHistory({ chats }) {
  for (const { phone, lid, group, name, t } of chats) {
    if (phone) await learn(phone, lid, name);
    await tables.put('chat', { id: group ? group.id : phone, accountLid: group ? undefined : lid, name, t, unreadCount: 0, group, tcToken: phone ? 'token' : undefined });
  }
}
