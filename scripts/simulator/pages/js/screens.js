// The screens of a page that is linked or blocked. Each has a name in the words
// of the page's AppScreen, or one of the simulator's own.

import { fault, profile } from './config.js';
import { send, takeover } from './comms.js';
import { ChatView } from './chatview.js';
import { claimTab } from './mutex.js';
import { NetworkStatus, Ui } from './models.js';
import { h, testid } from './names.js';
import { logOut } from './session.js';
import {
  cancelShortcakePasskeyPairing, confirmShortcakeVerificationCode, executePasskeyPrologue, performPasskeyAssertion,
} from './shortcake.js';
import { text } from './texts.js';

const CENTRE = 'display:flex;flex-direction:column;align-items:center;gap:16px;padding:120px 40px';

// A screen that never changes while it is shown.
class Still {
  constructor(name, ...children) {
    this.name = name;
    this.node = h('div', { style: CENTRE }, ...children);
  }

  update() {}

  remove() {}

  describe() {
    return { name: this.name };
  }
}

const button = (label, click, attributes = {}) => h('button', { ...attributes, click }, h('div', {}, label));
const line = (label) => h('div', {}, label);

function userLogsOut() {
  send({ type: 'logout' });
  logOut();
}

class Syncing {
  constructor() {
    this.title = h('div');
    this.bar = h('progress', { max: '100', value: '0' });
    this.node = h('div', { style: CENTRE }, this.title, this.bar, line(text('encrypted')), line(text('dontClose')),
      button(text('logOut'), userLogsOut));
  }

  update() {
    const percent = Math.max(0, Ui.progress);
    this.title.replaceChildren(h('span', {}, `${text('loading')} [${percent}%]`));
    this.bar.value = percent;
  }

  remove() {}

  describe() {
    return { name: 'SYNCING', progress: Math.max(0, Ui.progress) };
  }
}

// The menu above the chats, whose item asks for confirmation before it logs out.
function menu() {
  const open = h('div');
  const toggle = () => open.replaceChildren(...(open.firstChild ? [] : [h('ul', { role: 'menu' },
    h('li', { role: 'menuitem', tabindex: '0' }, text('settings')),
    h('li', { role: 'menuitem', tabindex: '0', click: ask }, text('logOut')))]));
  const ask = () => open.replaceChildren(h('div', { role: 'dialog', style: 'position:fixed;inset:30%;background:#fff' },
    line(text('logOutQuestion')), button(text('cancel'), () => open.replaceChildren()), button(text('logOut'), userLogsOut)));
  return h('div', {}, h('div', { role: 'button', tabindex: '0', 'aria-label': text('menu'), click: toggle },
    h('span', { 'data-icon': 'ic-more-vert', style: 'display:inline-block' }, '⋮')), open);
}

class Main {
  constructor() {
    this.bar = h('div', { role: 'alert' });
    this.challenge = h('div');
    const old = profile.era < '2024';
    this.chat = new ChatView();
    this.node = h('div', { class: old ? 'app two' : null, tabindex: old ? '-1' : null },
      this.bar, this.challenge,
      h('div', { id: 'side' },
        h('header', {}, h('h1', {}, text('chats')), this.chat.button(), old ? button(text('logOut'), userLogsOut) : menu()),
        h('div', { role: 'textbox', 'aria-label': text('search') }),
        h('div', { id: 'pane-side', role: 'region' }, h('div', { role: 'grid', 'aria-label': text('chats') },
          ['Ada', 'Grace', 'Edsger'].map((name) => h('div', { role: 'listitem' }, h('span', {}, name)))))),
      this.chat.node);
  }

  update() {
    this.chat.update();
    this.bar.replaceChildren(...(NetworkStatus.online ? [] : [line(text('offline')), line(text('offlineHint'))]));
    const asked = Ui.challenge === 'PASSKEY';
    if (asked !== this.challenge.hasChildNodes()) this.challenge.replaceChildren(...(asked ? [challenge()] : []));
  }

  remove() {}

  describe() {
    return { name: 'MAIN' };
  }
}

function startup() {
  const screen = new Still('STARTUP', h('progress', { max: '100', value: '50' }), line(text('encrypted')));
  if (profile.era >= '2024') screen.node = h('div', { id: 'wa_web_initial_startup' }, screen.node);
  return screen;
}

function useHere() {
  if (fault('takeover')) throw new Error('takeover: not possible now');
  takeover();
}

// The cards of linking by a passkey, one after the other.
class Passkey extends Still {
  constructor() {
    super('PASSKEY');
  }

  update() {
    if (this.shown === Ui.passkey || !Ui.passkey) return;
    this.shown = Ui.passkey;
    const { card, code, text: problem } = Ui.passkey;
    this.node.replaceChildren(problem ? line(text(problem)) : '', cards[card](code),
      button(text('cancel'), cancelShortcakePasskeyPairing, { 'data-testid': testid('shortcake_cancel_button') }));
  }
}

const cards = {
  prompt: () => h('div', { 'data-testid': testid('shortcake_passkey_prompt_card') }, line(text('passkey')), line(text('passkeyHint')),
    button(text('passkeyContinue'), executePasskeyPrologue, { 'data-testid': testid('shortcake_passkey_continue_button') })),
  waiting: () => h('div', { 'data-testid': testid('shortcake_waiting_for_phone_card') }, line(text('passkeyWaiting'))),
  code: (code) => h('div', {}, line(text('passkeyCode')),
    h('div', { 'data-testid': testid('shortcake_verification_code_display') }, `${code.slice(0, 4)}-${code.slice(4)}`),
    button(text('passkeyConfirm'), confirmShortcakeVerificationCode, { 'data-testid': testid('shortcake_code_confirm_button') })),
};

// The modal of an account whose owner has to prove who they are. It can't be closed.
const challenge = () => h('div', { role: 'dialog', style: 'position:fixed;inset:20%;background:#fff;color:#111;z-index:9' },
  line(text('challenge')), button(text('passkeyContinue'), performPasskeyAssertion), button(text('logOut'), userLogsOut));

function update() {
  return new Still('UPDATE', h('div', { role: 'dialog', 'data-testid': testid('confirm-popup') }, line(text('update')),
    line(text('updateHint')), button(text('ok'), () => location.reload(), { 'data-testid': testid('popup-controls-ok') })));
}

/** What makes each screen. */
export const screens = {
  STARTUP: startup,
  SYNCING: () => new Syncing(),
  MAIN: () => new Main(),
  OFFLINE: () => new Still('OFFLINE', line(text('offline')), line(text('offlineHint'))),
  PROXYBLOCK: () => new Still('PROXYBLOCK', line(text('proxy'))),
  CONFLICT: () => new Still('CONFLICT', line(text('conflict')), button(text('useHere'), useHere),
    button(text('logOut'), userLogsOut)),
  ANOTHER_SESSION: () => new Still('ANOTHER_SESSION', line(text('otherTab')), button(text('close'), () => window.close()),
    button(text('useHere'), claimTab)),
  TOS_BLOCK: () => new Still('TOS_BLOCK', line(text('tos'))),
  TEMP_BAN: () => new Still('TEMP_BAN', line(text('ban'))),
  SERVICE_UNAVAILABLE: () => new Still('SERVICE_UNAVAILABLE', line(text('unavailable'))),
  LOGOUT: () => new Still('LOGOUT', line(text('loggingOut')), line(text('dontCloseOut'))),
  SCREEN_LOCK: () => new Still('SCREEN_LOCK', line(text('lock')), h('input', { type: 'password' })),
  PASSKEY: () => new Passkey(),
  UPDATE: update,
};

