// The page's trap for foreign scripts: a global that reports who reads it.

import { note } from './instrument.js';

/** What the module about official clients exports. */
export const official = {
  get isOfficialClient() { return !navigator.webdriver && !navigator.userAgent.includes('HeadlessChrome'); },
  ocVersion: 1,
};

/** Plants the global. It is sprung when the outermost frame of the reader is not the page's. */
export function plantTrap() {
  Object.defineProperty(window, 'webpackChunkwhatsapp_web_client', { configurable: true, enumerable: true, get: spring });
}

function spring() {
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = 1000;
  const frames = new Error().stack.split('\n').slice(2);
  Error.stackTraceLimit = limit;
  if (!(frames.at(-1) ?? '').includes(location.host)) {
    official.ocVersion = 0;
    note({ trap: true });
  }
  return undefined;
}
