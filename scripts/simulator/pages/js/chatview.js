// The chat that is open, and the way to one by a phone number, as a person sees and uses them.

import { faultIs, profile } from './config.js';
import { ACK, Chats, Msgs } from './collections.js';
import { h, testid } from './names.js';
import { findOrCreateLatestChat, queryWidExists } from './people.js';
import { getMessagesById } from './receiving.js';
import { addAndSendMsgToChat, createTextMsgData } from './sending.js';
import { messageTable } from './tables.js';
import { text } from './texts.js';
import { createWid } from './wid.js';

// The icons of states say one step too much.
const ICONS = profile.era === '2026-08'
  ? ['wds-ic-status-pending', 'wds-ic-delivered', 'wds-ic-read', 'wds-ic-read', 'wds-ic-read']
  : ['msg-time', 'msg-check', 'msg-dblcheck', 'msg-dblcheck', 'msg-dblcheck'];

const LABELS = ['Pending', 'Sent', 'Delivered', 'Read', 'Read'];

export const openChat = (chat) => {
  for (const other of Chats.filter((c) => c.active && c !== chat)) other.set({ active: false });
  chat.set({ active: true });
};

// An editor that keeps its own state, and draws it later: what is done before that is done to what was drawn.
// It draws it again whenever a script has changed its elements.
class Editor {
  constructor(attributes, changed) {
    this.text = '';
    this.drawn = '';
    this.changed = changed;
    this.does = (what) => attributes['data-tab'] === '10' && faultIs('composer', what);
    this.node = h('div', {
      contenteditable: 'true', role: 'textbox', style: 'min-height:20px;white-space:pre-wrap', ...attributes,
      beforeinput: (event) => this.take(event), input: () => this.draw(), keydown: (event) => this.key(event),
    });
    new MutationObserver(() => { if (this.read() !== this.drawn) this.draw(); }).observe(this.node, { childList: true, characterData: true, subtree: true });
  }

  read() { return this.node.innerText.replace(/\n$/, ''); }

  take(event) {
    event.preventDefault();
    const typed = { insertText: event.data, insertLineBreak: '\n' }[event.inputType] ?? '';
    if (!event.isTrusted || (typed && this.does('ignores'))) return;
    this.text = (getSelection().isCollapsed ? this.drawn : '') + (typed && this.does('changes') ? `${typed}!` : typed);
    queueMicrotask(() => this.set(this.text));
  }

  key(event) {
    if (event.key !== 'Enter' || event.shiftKey) return;
    event.preventDefault();
    this.entered?.();
  }

  draw() {
    this.drawn = this.text;
    // The last line needs an element of its own if it is empty.
    this.node.innerText = this.text.endsWith('\n') ? `${this.text}\n` : this.text;
    if (document.activeElement !== this.node) return;
    getSelection().selectAllChildren(this.node);
    getSelection().collapseToEnd();
  }

  set(value) {
    this.text = value;
    this.draw();
    this.changed();
  }
}

/** What is next to the list of chats. */
export class ChatView {
  constructor() {
    this.node = h('div');
    this.drawer = h('div');
    this.dialog = h('div');
    this.recording = false;
    this.composer = new Editor({ 'data-tab': '10', 'data-lexical-editor': 'true', 'aria-label': text('typeMessage'), 'data-testid': testid('rich-text-input-body') }, () => this.drawn());
    this.composer.entered = () => this.send();
    this.footer = h('footer');
    this.list = h('div', { role: 'application' });
    this.chat = null;
    Chats.on('change:active', () => this.update());
    for (const name of ['add', 'change']) Msgs.on(name, () => this.drawRows());
  }

  /** The button that begins a chat by a number. */
  button() {
    return h('div', {}, h('button', { 'aria-label': text('newChat'), 'data-tab': '2', click: () => this.search() }, h('span', { 'data-icon': 'new-chat-outline', style: 'display:inline-block' }, '+')),
      this.drawer, this.dialog);
  }

  search() {
    const search = new Editor({ 'data-tab': '3', 'aria-label': text('search') }, () => {});
    search.entered = () => this.begin(search.text);
    this.drawer.replaceChildren(search.node);
    search.node.focus();
  }

  async begin(number) {
    const wid = createWid(`${number.replace(/\D/g, '')}@c.us`);
    try {
      if (!(await queryWidExists(wid))) throw new Error('not on WhatsApp');
      openChat((await findOrCreateLatestChat(wid)).chat);
      this.drawer.replaceChildren();
    } catch {
      this.ask(`${text('notOnWhatsApp')} ${number}`);
    }
  }

  ask(words) {
    const ok = h('button', { 'data-testid': testid('popup-controls-ok'), click: () => { this.dialog.replaceChildren(); this.drawer.replaceChildren(); } }, h('div', {}, text('ok')));
    this.dialog.replaceChildren(h('div', { role: 'dialog', 'data-testid': testid('confirm-popup'), style: 'position:fixed;inset:30%;background:#fff' },
      h('div', {}, words), ok));
  }

  update() {
    const chat = Chats.getActive() ?? null;
    if (chat === this.chat) return;
    this.chat = chat;
    this.composer.text = faultIs('composer', 'draft') ? 'a draft of the phone' : '';
    this.composer.draw();
    this.node.replaceChildren(...(chat ? [h('div', { id: 'main' }, h('header', {}, chat.formattedTitle), this.list, this.footer)] : []));
    this.drawRows();
    this.drawFooter();
    if (chat) this.load(chat).then(() => this.drawRows(), console.error);
  }

  // load loads what the chat has shown last.
  async load(chat) {
    const rows = await messageTable.startsWithAnyOf(['id'], [`true_${chat.id}_`, `false_${chat.id}_`]);
    rows.sort((a, b) => a.rowId - b.rowId);
    await getMessagesById(rows.slice(-20).map(({ id }) => id));
  }

  drawRows() {
    if (!this.chat) return;
    this.list.replaceChildren(...this.chat.msgs.filter((m) => m.type === 'chat').map((m) => this.row(m)));
  }

  row(m) {
    const id = profile.era === '2026-08' || faultIs('dataid', 'bare') ? m.id.id : m.id.toString();
    const level = Math.max(ACK.CLOCK, m.ack);
    const state = m.id.fromMe ? [h('span', { 'data-icon': ICONS[level], 'data-testid': testid(ICONS[level]), 'aria-label': ` ${LABELS[level]} ` }, h('svg', { width: '10', height: '10' }))] : [];
    return h('div', { role: 'row' }, h('div', { 'data-id': id, 'data-testid': testid(`conv-msg-${m.id.id}`), class: m.id.fromMe ? 'message-out' : 'message-in' },
      h('span', { class: 'selectable-text', style: 'white-space:pre-wrap' }, document.createTextNode(m.body ?? '')), ...state));
  }

  // drawn follows what is typed.
  drawn() {
    this.drawFooter();
    if (this.composer.text === '') return;
    if (faultIs('composer', 'dialog')) this.ask('the page asks a question');
    if (faultIs('composer', 'elsewhere')) openChat(Chats.filter((c) => c !== this.chat)[0]);
  }

  drawFooter() {
    if (faultIs('composer', 'restricted')) {
      this.footer.replaceChildren(h('div', {}, text('restricted')));
      return;
    }
    const writing = this.composer.text !== '' && !faultIs('composer', 'voice');
    if (!this.composer.node.isConnected) this.footer.replaceChildren(this.composer.node, h('span'));
    this.footer.lastChild.replaceChildren(h('button', {
      'data-tab': '11', 'aria-label': text(writing ? 'send' : 'voice'), 'data-testid': writing ? testid('compose-btn-send') : null,
      style: 'position:fixed;right:10px;bottom:10px;width:40px;height:40px', click: () => (writing ? this.send() : this.record()),
    }, h('span', { 'data-icon': writing ? 'wds-ic-send-filled' : 'mic-outlined' }, '>')));
  }

  record() {
    this.recording = true;
    this.footer.append(h('div', { 'aria-label': text('recording') }, '●'));
  }

  async send() {
    const body = this.composer.text;
    if (body.trim() === '' || faultIs('composer', 'dead')) return;
    this.composer.set('');
    const { chat } = this;
    addAndSendMsgToChat(chat, await createTextMsgData(chat, body));
  }
}
