// Markup with names that can be scrambled: in the profile "renamed" nothing that
// a reader could look for keeps its name from one load to the next.

import { profile } from './config.js';

const scrambled = new Map();

function scramble(kind, name) {
  const key = `${kind} ${name}`;
  if (!scrambled.has(key)) scrambled.set(key, letters(4 + Math.floor(Math.random() * 8)));
  return scrambled.get(key);
}

function letters(count) {
  return Array.from({ length: count }, () => String.fromCharCode(97 + Math.floor(Math.random() * 26))).join('');
}

/** An attribute's or global's name, as this load has it. */
export function named(name) {
  return profile.renamed ? scramble('name', name) : name;
}

/** A test id as a value of the attribute; the build of April strips them all. */
export const testid = (name) => (profile.era === '2026-08' ? name : null);

/** A text for people, as this load has it. */
export function worded(text) {
  return profile.renamed ? text.replace(/\p{L}+/gu, (word) => scramble('word', word)) : text;
}

// Attributes that the browser itself acts on keep their names and values.
const PLAIN = new Set(['style', 'type', 'src', 'width', 'height', 'dir', 'max', 'value', 'viewBox', 'd', 'fill', 'checked']);

/**
 * An element. Attributes whose value is null are left out; functions become
 * listeners of the event that they are named after.
 */
export function h(tag, attributes = {}, ...children) {
  const svg = tag === 'svg' || tag === 'path' || tag === 'rect';
  const name = profile.renamed && tag === 'button' ? 'div' : tag;
  const node = svg ? document.createElementNS('http://www.w3.org/2000/svg', name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined) continue;
    if (typeof value === 'function') node.addEventListener(key, value);
    else if (key === 'style') node.style.cssText = value;
    else if (PLAIN.has(key)) node.setAttribute(key, value);
    else if (profile.renamed) node.setAttribute(scramble('attribute', key), scramble('value', String(value)));
    else node.setAttribute(key, value);
  }
  for (const child of children.flat()) {
    if (child === null || child === undefined) continue;
    node.append(typeof child === 'string' ? worded(child) : child);
  }
  return node;
}
