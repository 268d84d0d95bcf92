// One tab at a time: a tab that finds another one alive steps back, until it is
// ordered "Use here", which reloads it with the right to take over.

import { faultIs, wait } from './config.js';
import { Ui } from './models.js';
import { pageId } from './instrument.js';

const KEY = 'whatsapp-mutex';
const CLAIM = 'whatsapp-mutex-claim';
const PING = 1000;
const STALE = 3000;

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

const read = () => parse(localStorage.getItem(KEY));

/** Reloads with the right to take over from another tab. */
export function claimTab() {
  sessionStorage.setItem(CLAIM, '1');
  location.reload();
}

/** Whether this tab may continue. A tab that died silently no longer counts after a while. */
export async function takeMutex(onLost) {
  const claimed = sessionStorage.getItem(CLAIM) !== null;
  sessionStorage.removeItem(CLAIM);
  if (!claimed && (faultIs('mutex', 'other-tab') || (await otherTabLives()))) {
    Ui.set({ special: 'ANOTHER_SESSION' });
    return false;
  }
  const since = Date.now();
  const ping = () => localStorage.setItem(KEY, JSON.stringify({ id: pageId, at: Date.now(), since }));
  ping();
  const pinging = setInterval(ping, PING);
  const release = () => {
    clearInterval(pinging);
    if (read()?.id === pageId) localStorage.removeItem(KEY);
  };
  addEventListener('pagehide', release);
  addEventListener('storage', ({ key, newValue }) => {
    const holder = key === KEY ? parse(newValue) : null;
    if (!holder || holder.id === pageId) return;
    // The ping of a tab that has lost, but doesn't know it yet.
    if (holder.since < since) return;
    clearInterval(pinging);
    Ui.set({ special: 'ANOTHER_SESSION' });
    onLost();
  });
  return true;
}

async function otherTabLives() {
  const before = read();
  if (!before || Date.now() - before.at > STALE) return false;
  await wait(PING * 1.5);
  const now = read();
  return now !== null && now.at !== before.at;
}
