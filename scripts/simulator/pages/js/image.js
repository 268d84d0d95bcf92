// How the code is drawn, and into which element.

import { profile, scaled, wait } from './config.js';
import { h } from './names.js';
import { qrMatrix } from './qr.js';

// The label is a literal of the page, the same in every language.
const LABELS = { 2019: 'Scan me!', 2022: 'Scan me!', 2024: 'Scan this QR code to link a device!' };
const LABEL = LABELS[profile.era] ?? 'Scan this QR code to link a device!';
// Opacity under any overlay, since the page of August 2026.
const FAINT = '0.04';

/** An empty element of the kind that the profile has. */
export function newImage() {
  const style = `display:block;width:${profile.image.size}px;height:${profile.image.size}px`;
  switch (profile.image.element) {
    case 'img': return h('img', { alt: LABEL, role: 'img', style });
    case 'svg': return h('svg', { role: 'img', 'aria-label': LABEL, style, viewBox: `0 0 ${profile.image.size} ${profile.image.size}` });
    default:
      return h('canvas', { role: profile.era >= '2024' ? 'img' : null, 'aria-label': LABEL, style,
        width: profile.image.size, height: profile.image.size });
  }
}

let drawing = 0;

/** Draws the text. Resolves with false when a later drawing came in between. */
export async function draw(image, text) {
  drawing++;
  const mine = drawing;
  if (profile.image.late > 0) {
    await wait(scaled(profile.image.late));
    if (mine !== drawing) return false;
  }
  const matrix = qrMatrix(text);
  switch (profile.image.element) {
    case 'none': return false;
    case 'svg': drawSvg(image, matrix); break;
    case 'img': {
      const canvas = document.createElement('canvas');
      canvas.width = canvas.height = profile.image.size;
      drawCanvas(canvas, matrix);
      image.src = canvas.toDataURL();
      await image.decode().catch(() => {}); // A newer source may have come.
      break;
    }
    default: drawCanvas(image, matrix);
  }
  return mine === drawing;
}

/** Cancels a drawing that has not happened yet. */
export function stopDrawing() {
  drawing++;
}

export function setFaint(image, faint) {
  if (profile.era === '2026-08') image.style.opacity = faint ? FAINT : '1';
}

// Modules begin and end on whole pixels. There is no quiet zone in the image
// itself; the white tile around it gives it one.
function modules(matrix, paint) {
  const edge = (i) => Math.round((i * profile.image.size) / matrix.length);
  matrix.forEach((row, y) => row.forEach((dark, x) => {
    if (dark) paint(edge(x), edge(y), edge(x + 1) - edge(x), edge(y + 1) - edge(y));
  }));
}

function drawCanvas(canvas, matrix) {
  const context = canvas.getContext('2d');
  context.fillStyle = profile.image.paper;
  context.fillRect(0, 0, profile.image.size, profile.image.size);
  context.fillStyle = profile.image.ink;
  modules(matrix, (x, y, width, height) => context.fillRect(x, y, width, height));
}

function drawSvg(svg, matrix) {
  let path = '';
  modules(matrix, (x, y, width, height) => { path += `M${x} ${y}h${width}v${height}h${-width}z`; });
  svg.replaceChildren(
    h('path', { d: `M0 0h${profile.image.size}v${profile.image.size}h${-profile.image.size}z`, fill: profile.image.paper }),
    h('path', { d: path, fill: profile.image.ink }),
  );
}

/** A canvas with a code that links nothing: the download of an application. */
export function decoy() {
  const canvas = h('canvas', { role: 'img', 'aria-label': 'WhatsApp for Windows', width: profile.image.size, height: profile.image.size,
    style: 'display:block;width:110px;height:110px' });
  drawCanvas(canvas, qrMatrix('https://www.whatsapp.com/download?utm_source=web&lang=en&platform=windows'));
  return canvas;
}
