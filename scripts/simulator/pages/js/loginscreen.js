// The screens of a page that is not linked: the code, the phone number, the
// pairing code.

import { autologout, fault, faultIs, profile } from './config.js';
import { Container } from './container.js';
import { BackendEventBus, Conn, NetworkStatus, Socket, SOCKET_STATE, Ui } from './models.js';
import { qrPayload } from './payload.js';
import { h, named, testid, worded } from './names.js';
import { canAsk, initializeAltDeviceLinking, initializeQRLinking, startAltLinkingFlow } from './pairing.js';
import { decoy } from './image.js';
import { text } from './texts.js';

const CENTRE = 'display:flex;flex-direction:column;align-items:center;gap:16px;padding:40px';

/** The page around the code. */
export class QrScreen {
  constructor(onChange) {
    this.onChange = onChange;
    this.container = null;
    this.spinner = h('div', { style: 'width:228px;height:228px' }, h('svg', { viewBox: '0 0 50 50', role: 'status' }));
    this.frame = null;
    // Older pages had elements that third parties depend on.
    this.place = h('div', { class: profile.era === '2024' ? '_aj-b' : null }, this.spinner);
    this.covered = profile.banner;
    this.node = autologout ? this.place : h('div', { style: CENTRE, class: profile.era < '2024' ? 'landing-window' : null },
      this.#reason(), h('div', { style: 'font-size:24px' }, text('login')), this.#steps(),
      profile.image.decoy ? h('div', {}, decoy(), text('pick')) : null,
      this.place, this.#toggle(), this.#phoneLink(), this.#banner());
  }

  #reason() {
    if (Ui.banner === null) return null;
    return h('div', { role: 'alert', 'data-testid': testid('logout-reason-banner') },
      text(`reason${Ui.banner}`));
  }

  #steps() {
    return h('ol', { id: profile.era >= '2026' ? 'link-device-instructions-list' : null },
      ['step1', 'step2', 'step3', 'step4'].map((name) => h('li', {}, text(name))));
  }

  #toggle() {
    const change = () => Ui.set({ autologout: !Ui.autologout });
    const id = profile.era >= '2026' ? 'auto-logout-toggle' : null;
    return h('label', {}, h('input', { type: 'checkbox', id, checked: Ui.autologout ? null : '', change }), text('stay'));
  }

  #phoneLink() {
    if (profile.era < '2024') return null;
    return h('div', {
      role: 'button', tabindex: '0', click: openPhoneView,
      'data-testid': testid('link-device-qrcode-alt-linking-hint'),
    }, text('withPhone'));
  }

  #banner() {
    if (!profile.banner) return null;
    const node = h('div', { role: 'dialog', style: 'position:fixed;inset:0;background:#000;color:#fff;padding:80px' },
      h('div', {}, text('cookies')),
      h('button', { click: () => {
        node.remove();
        this.covered = false;
        this.onChange();
      } }, text('accept')));
    return node;
  }

  update() {
    this.#updateFrame();
    const string = qrPayload();
    const shown = Ui.modulesReady && string !== '' && !Ui.autologout &&
      (Socket.state === SOCKET_STATE.UNPAIRED || Socket.state === SOCKET_STATE.UNPAIRED_IDLE);
    if (shown && !this.container) {
      this.container = new Container(this.onChange);
      this.place.replaceChildren(this.container.root);
    }
    if (!shown && this.container) {
      this.container.remove();
      this.container = null;
    }
    if (Ui.suspended) this.node.style.setProperty('display', 'none', 'important');
    if (shown) this.container.update(string, overlay());
    else if (!this.frame) this.place.replaceChildren(this.spinner);
  }

  // Without "stay logged in" the code comes from a page that can't store
  // anything.
  #updateFrame() {
    if (Ui.autologout && !this.frame) {
      this.frame = h('iframe', { src: '/?autologout=1', style: 'border:0;width:290px;height:290px' });
      this.frame.credentialless = true;
      this.place.replaceChildren(this.frame);
    } else if (!Ui.autologout && this.frame) {
      this.frame.remove();
      this.frame = null;
    }
  }

  describe() {
    const drawn = this.container?.drawn ?? '';
    const spoiled = Ui.suspended || (fault('picture') && !faultIs('picture', 'glass'));
    const over = Ui.modal ? 'modal' : this.covered ? 'banner' : this.container?.overlay ?? '';
    return {
      name: 'QR', payload: drawn, offered: qrPayload(), ref: Conn.ref ?? '', refTTL: Conn.refTTL ?? 0, overlay: over,
      visible: !spoiled && Ui.alive && drawn !== '' && drawn === qrPayload() && over === '' && Socket.state === SOCKET_STATE.UNPAIRED,
      alive: Ui.alive,
    };
  }

  remove() {
    this.container?.remove();
  }
}

function overlay() {
  if (!NetworkStatus.online) return 'offline';
  return Socket.state === SOCKET_STATE.UNPAIRED_IDLE ? 'idle' : '';
}

function openPhoneView() {
  initializeAltDeviceLinking();
  Ui.set({ view: 'phone' });
}

function backToQr() {
  initializeQRLinking();
  BackendEventBus.triggerRefreshQR();
}

// The form itself refuses a number that can't be one, for example of country 999.
const IMPLAUSIBLE = /^(999|0)|^\d{0,7}$/;

/** Entering a phone number. */
export class PhoneScreen {
  constructor() {
    this.input = h('input', { type: 'text', 'aria-label': text('phoneLabel'), value: '+1 ' });
    this.error = h('div', { role: 'alert', 'data-testid': testid('link-device-phone-number-entry-screen-error') });
    this.node = h('div', { style: CENTRE, 'data-testid': testid('link-device-phone-number-entry-screen') },
      banner(), h('div', {}, text('enterPhone')), h('button', {}, '🇺🇸'), this.input, this.error,
      h('button', { 'data-testid': testid('link-device-phone-number-entry-next-button'), click: () => this.#next() },
        text('next')),
      h('div', { role: 'button', tabindex: '0', click: backToQr }, text('withQr')));
  }

  #next() {
    const digits = this.input.value.replace(/\D/g, '');
    if (IMPLAUSIBLE.test(digits)) {
      Ui.set({ phoneError: true });
    } else if (canAsk()) {
      initializeAltDeviceLinking();
      Ui.set({ phoneError: false, view: 'code' });
      startAltLinkingFlow(digits).catch(() => {}); // The model knows the reason.
    }
  }

  update() {
    this.error.textContent = Ui.phoneError ? worded(text('phoneRequired')) : '';
  }

  describe() {
    return { name: 'PHONE_NUMBER' };
  }

  remove() {}
}

// It is about the phone's application, not about this page.
function banner() {
  if (profile.era < '2026') return null;
  return h('div', { role: 'alert' }, h('div', {}, text('updatePhone')), h('div', {}, text('updatePhoneHint')));
}

/** The dialog over everything that a refused request for a code opens. */
export class Modal {
  constructor(kind) {
    const leave = { tooMany: backToQr, limited: backToQr, general() {} }[kind];
    const close = () => {
      Ui.set({ modal: '' });
      leave();
    };
    this.node = h('div', { role: 'dialog', style: 'position:fixed;inset:0;background:#0008;z-index:9' },
      h('div', { style: 'margin:120px auto;width:400px;padding:24px;background:#fff;color:#111' }, h('h1', {}, text(kind)),
        h('div', {}, text(`${kind}Hint`)),
        h('button', { 'data-testid': testid('popup-controls-ok'), click: close }, h('div', {}, text(kind === 'limited' ? 'linkWithQr' : 'ok')))));
  }
}

/** Showing the pairing code. */
export class CodeScreen {
  constructor() {
    this.cells = h('div', { 'data-testid': testid('link-with-phone-number-code-cells') });
    this.attribute = profile.era >= '2024' ? named('data-link-code') : null;
    this.expiry = h('div');
    this.node = h('div', { style: CENTRE }, h('div', {}, text('enterCode')), this.cells, this.expiry,
      h('div', { role: 'button', tabindex: '0', click: backToQr }, text('withQr')));
  }

  update() {
    const letters = [...Ui.code];
    this.cells.setAttribute(named('aria-label'), `${worded(text('enterCode'))}: ${letters.join(',')}`);
    if (this.attribute) this.cells.setAttribute(this.attribute, letters.join(','));
    this.cells.replaceChildren(...letters.map((letter, i) => h('span', { style: 'font-size:32px;margin:4px' },
      i === 4 ? `-${letter}` : letter)));
    this.expiry.replaceChildren(...(Ui.codeExpired ? [worded(text('codeExpired')), h('button', { click: openPhoneView }, text('newCode'))] : []));
  }

  describe() {
    return { name: 'LINK_CODE', code: Ui.codeExpired ? '' : Ui.code };
  }

  remove() {}
}

/** Applies the switches that choose how the login page opens. */
export function openAsAsked() {
  if (fault('autologout') && !autologout) Ui.set({ autologout: true });
  if (fault('view') && !autologout) Ui.set({ view: 'phone' });
}
