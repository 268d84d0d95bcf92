// Chooses the screen that the state asks for, puts it into the document, and
// reports what is shown.

import { autologout, profile } from './config.js';
import { CodeScreen, Modal, PhoneScreen, QrScreen } from './loginscreen.js';
import { advSecretEventEmitter, Conn, NetworkStatus, Socket, SOCKET_STATE, Stream, StreamMode, Ui } from './models.js';
import { h } from './names.js';
import { report } from './instrument.js';
import { screens } from './screens.js';
import { direction, language } from './texts.js';

// How deep the anonymous boxes are nested around a screen.
const DEPTH = 11;

let shell;
let shown = null; // {name, screen}
let modal = null; // {kind, node}

/** Shows the application instead of the splash, and follows the models. */
export function startView() {
  for (const model of [Socket, Conn, Stream, NetworkStatus, Ui, advSecretEventEmitter]) model.on('change', schedule);
  if (profile.renamed) {
    document.title = h('i', {}, 'WhatsApp').textContent;
  } else {
    document.title = 'WhatsApp';
    document.documentElement.lang = language;
  }
  document.documentElement.dir = direction;
  document.body.style.background = profile.background;
  document.body.style.color = profile.background < '#8' ? '#eee' : '#111';
  shell = buildShell();
  render();
}

// The mount point, the application's box, and a chain of boxes without names.
function buildShell() {
  if (profile.era < '2024') {
    const wrapper = h('div');
    document.getElementById('app').replaceChildren(h('div', {}, wrapper));
    return wrapper;
  }
  let inner = h('div', { class: profile.era === '2024' ? 'x1lliihq' : 'x9f619' });
  const box = inner;
  // In 2024 a box that third parties depended on was below five others.
  const depth = profile.era === '2024' ? 2 : DEPTH;
  for (let i = 0; i < depth; i++) inner = h('div', { class: 'x78zum5' }, inner);
  const app = h('div', { id: 'app' }, profile.era === '2024' ? inner : h('div', { class: 'app-wrapper-web' }, inner));
  document.querySelector('body > div').replaceChildren(h('div', {}, app));
  return box;
}

let pending = false;

function schedule() {
  if (pending || !shell) return;
  pending = true;
  queueMicrotask(() => {
    pending = false;
    render();
  });
}

function render() {
  const name = screenName();
  if (shown?.name !== name) {
    shown?.screen.remove();
    shown = { name, screen: newScreen(name) };
    shell.replaceChildren(shown.screen.node);
    if (profile.era < '2024') shell.className = name === 'QR' ? 'landing-wrapper' : 'app-wrapper';
  }
  shown.screen.update();
  if ((modal?.kind ?? '') !== Ui.modal) {
    modal?.node.remove();
    modal = Ui.modal ? { kind: Ui.modal, node: new Modal(Ui.modal).node } : null;
    if (modal) document.body.append(modal.node);
  }
  reportScreen();
}

function reportScreen() {
  // The iframe of auto-logout reports for the page around it.
  const outer = Ui.autologout && shown.name === 'QR' ? { name: 'AUTO_LOGOUT' } : {};
  report({
    state: Socket.state, mode: Stream.mode ?? '', online: NetworkStatus.online, progress: -1, payload: '', offered: '', ref: '',
    code: '', overlay: '', visible: false, alive: false, ...shown.screen.describe(), ...outer,
  });
}

function newScreen(name) {
  switch (name) {
    case 'QR': return new QrScreen(reportScreen);
    case 'PHONE_NUMBER': return new PhoneScreen();
    case 'LINK_CODE': return new CodeScreen();
    default: return screens[name]();
  }
}

function screenName() {
  if (Ui.special) return Ui.special;
  if (Socket.state === SOCKET_STATE.SCREEN_LOCKED) return 'SCREEN_LOCK';
  switch (Stream.mode) {
    case StreamMode.QR:
      if (autologout) return 'QR';
      return { qr: 'QR', phone: 'PHONE_NUMBER', code: 'LINK_CODE' }[Ui.view];
    // A device that has its chats goes from the splash straight to them.
    case StreamMode.SYNCING: return Socket.stream === 'SYNCING' ? 'SYNCING' : 'STARTUP';
    case undefined: return 'STARTUP';
    default: return Stream.mode;
  }
}
