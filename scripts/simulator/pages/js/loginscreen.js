// The screens of a page that is not linked: the code, the phone number, the
// pairing code.

import { autologout, fault, profile } from './config.js';
import { Container } from './container.js';
import { BackendEventBus, Conn, NetworkStatus, Socket, SOCKET_STATE, Ui } from './models.js';
import { qrPayload } from './payload.js';
import { h, named, worded } from './names.js';
import { initializeAltDeviceLinking, initializeQRLinking, startAltLinkingFlow } from './pairing.js';
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
    return h('div', { role: 'alert', 'data-testid': profile.era === '2026-08' ? 'logout-reason-banner' : null },
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
      'data-testid': profile.era === '2026-08' ? 'link-device-qrcode-alt-linking-hint' : null,
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
    const over = this.covered ? 'banner' : this.container?.overlay ?? '';
    return {
      name: 'QR', payload: drawn, offered: qrPayload(), ref: Conn.ref ?? '', refTTL: Conn.refTTL ?? 0, overlay: over,
      visible: Ui.alive && drawn !== '' && drawn === qrPayload() && over === '' && Socket.state === SOCKET_STATE.UNPAIRED,
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

const testid = (name) => (profile.era === '2026-08' ? name : null);

/** Entering a phone number. */
export class PhoneScreen {
  constructor() {
    this.input = h('input', { type: 'text', 'aria-label': text('phoneLabel'), value: '+1 ' });
    this.error = h('div', { role: 'alert', 'data-testid': testid('link-device-phone-number-entry-screen-error') });
    this.node = h('div', { style: CENTRE, 'data-testid': testid('link-device-phone-number-entry-screen') },
      h('div', {}, text('enterPhone')), h('button', {}, '🇺🇸'), this.input, this.error,
      h('button', { 'data-testid': testid('link-device-phone-number-entry-next-button'), click: () => this.#next() },
        text('next')),
      h('div', { role: 'button', tabindex: '0', click: backToQr }, text('withQr')));
  }

  #next() {
    startAltLinkingFlow(this.input.value).catch(() => {}); // The reason is in the model.
  }

  update() {
    this.error.textContent = Ui.phoneError ? worded(text(`error-${Ui.phoneError}`)) : '';
  }

  describe() {
    return { name: 'PHONE_NUMBER' };
  }

  remove() {}
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
