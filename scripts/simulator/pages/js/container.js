// The element that carries the code: its attribute, its overlay, its image,
// and where in the document it lives.

import { fault, faultIs, profile, scaled, wait } from './config.js';
import { BackendEventBus } from './models.js';
import { h } from './names.js';
import { draw, newImage, setFaint, stopDrawing } from './image.js';
import { text } from './texts.js';

// How long after its container the attribute of the 2024 page appears.
const LATE_ATTRIBUTE = 300;
const TILE = `position:relative;display:inline-block;padding:20px;background:${profile.image.paper}`;

/** One container, from the moment that a code is there to show. */
export class Container {
  // What is drawn now, '' while nothing is.
  drawn = '';

  constructor(onDrawn) {
    this.onDrawn = onDrawn;
    this.slot = h('span');
    this.image = newImage();
    this.node = h('div', this.#attributes(), this.slot, this.#logo(), this.image);
    this.root = place(this.node);
    if (faultIs('overlay', 'debug')) {
      this.node.append(h('div', { role: 'button', 'data-testid': 'link-device-qr-data-overlay', style: 'position:absolute;inset:0' }));
    }
    if (fault('picture')) spoil(this, fault('picture').value);
    this.overlay = undefined;
    this.text = '';
  }

  #attributes() {
    return {
      style: TILE,
      class: { 2019: '_2EZ_m', 2022: '_2UwZ_', 2024: '_akau', '2026-04': '_akau x1n2onr6' }[profile.era] ?? 'x1n2onr6 x78zum5 x6s0dn4',
      'data-testid': { 2022: 'qrcode', '2026-08': 'link-device-qr-code' }[profile.era] ?? null,
    };
  }

  #logo() {
    if (profile.era < '2024') return null;
    const shown = profile.image.logo ? 'display:block;position:absolute;left:50%;top:50%;width:32px;height:32px;' +
      'margin:-16px;border-radius:16px;background:#25d366' : 'display:none';
    return h('div', { style: shown });
  }

  /** Shows a string, and covers it with an overlay: idle, offline or ''. */
  update(string, overlay) {
    if (overlay !== this.overlay) this.#cover(overlay);
    if (string === this.text) return;
    this.text = string;
    this.#label(string);
    if (faultIs('picture', 'blank')) return;
    draw(this.image, faultIs('picture', 'other') ? 'https://www.whatsapp.com/download' : string).then((done) => {
      if (!done) return;
      this.drawn = string;
      this.onDrawn();
    });
  }

  remove() {
    stopDrawing();
    this.root.remove();
  }

  async #label(string) {
    switch (profile.container.dataRef) {
      case 'set': this.node.setAttribute(profile.container.attribute, string); break;
      case 'empty': this.node.setAttribute(profile.container.attribute, ''); break;
      case 'late':
        if (!this.node.hasAttribute(profile.container.attribute)) await wait(scaled(LATE_ATTRIBUTE));
        if (this.text === string) this.node.setAttribute(profile.container.attribute, string);
        break;
      default:
    }
  }

  #cover(overlay) {
    this.overlay = overlay;
    setFaint(this.image, overlay !== '');
    const buttons = [];
    if (overlay === 'offline' || (overlay === 'idle' && faultIs('overlay', 'wrong-button'))) {
      buttons.push(this.#button(text('noInternet'), () => {}));
    }
    if (overlay === 'idle') buttons.push(this.#button(text('reload'), () => BackendEventBus.triggerRefreshQR()));
    this.slot.replaceChildren(...buttons);
  }

  #button(label, click) {
    const style = 'position:absolute;left:25%;top:40%;width:50%;padding:12px;border-radius:24px;background:#00a884;color:#fff';
    if (profile.era === '2019') return h('div', { style, click }, label);
    const button = h('button', { style, class: /2022|2024/.test(profile.era) ? 'Jht5u' : null, click }, h('div', {}, label));
    return /2022|2024/.test(profile.era) ? button : h('div', {}, h('span', {}, button));
  }
}

// A box over a whole element, or over the window.
const cover = (position, style) => h('div', { style: `position:${position};inset:0;z-index:9;${style}` });

// Leaves the attribute as it is, but not the picture.
function spoil({ node, image }, how) {
  const styles = {
    'clip-path': 'clip-path:circle(0)', filter: 'filter:blur(40px)', mask: 'mask-image:linear-gradient(transparent,transparent)',
    display: 'display:none', scale: 'transform:scale(0)', small: 'width:0;height:0', visibility: 'visibility:hidden',
  };
  const boxes = {
    below: 'position:absolute;top:3000px', narrow: 'width:90px;height:90px;overflow:hidden',
    outside: 'position:absolute;left:-3000px', skipped: 'content-visibility:hidden;width:268px;height:268px',
  };
  if (styles[how]) image.style.cssText += `;${styles[how]}`;
  if (boxes[how]) node.style.cssText += `;${boxes[how]}`;
  switch (how) {
    case 'faded': queueMicrotask(() => { node.parentElement.style.opacity = '.03'; }); break;
    case 'missing': image.remove(); break;
    case 'covered': node.append(cover('absolute', 'background:#fff')); break;
    case 'ghost': node.append(cover('absolute', 'background:#fff;pointer-events:none')); break;
    case 'glass': node.append(cover('absolute', '')); break;
    case 'dialog': {
      const dialog = h('dialog', { style: 'border:0;margin:0;width:100vw;height:100vh;max-width:none;max-height:none;background:#fff' });
      queueMicrotask(() => {
        document.body.append(dialog);
        dialog.showModal();
      });
      break;
    }
    default:
  }
}

// Returns what goes into the page instead of the node.
function place(node) {
  switch (profile.container.place) {
    case 'open-shadow': case 'closed-shadow': {
      const host = h('div', { style: 'display:inline-block' });
      host.attachShadow({ mode: profile.container.place === 'open-shadow' ? 'open' : 'closed' }).append(node);
      return host;
    }
    case 'iframe': {
      const frame = h('iframe', { style: 'border:0;width:280px;height:280px' });
      const fill = () => frame.contentDocument?.body.append(node);
      frame.addEventListener('load', fill);
      return frame;
    }
    default: return node;
  }
}
