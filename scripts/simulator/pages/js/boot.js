// The order in which the page starts.

import { after, autologout, build, fault, faultIs, faultOn, profile, scaled, wait } from './config.js';
import * as comms from './comms.js';
import { connectInstrument, crash, hang, obey } from './instrument.js';
import { createKeys, loadKeys } from './keys.js';
import { openAsAsked } from './loginscreen.js';
import { BackendEventBus, Socket, SOCKET_STATE, Stream, StreamMode, Ui } from './models.js';
import { takeMutex } from './mutex.js';
import { h } from './names.js';
import { defineFirstWave, defineSecondWave, storageInitialized } from './offered.js';
import { expirePairing, showSuccessor } from './pairing.js';
import { installRegistry } from './registry.js';
import { logOut, LOGOUT_REASON } from './session.js';
import * as storage from './storage.js';
import { plantTrap } from './trap.js';
import { startView } from './view.js';

// How long the stages take in imitated time; a hidden page waits before it connects.
const SPLASH = 400;
const SECOND_WAVE = 900;
const VERSION = 1500;
const VERSION_LATE = 40_000;
const HIDDEN = 5000;
// Prefs can't be read at once, even where the version is known already.
const STORAGE_DELAY = 200;
// When the switches hang and crash strike.
const MISBEHAVE = 2000;

function takeOrders() {
  obey('next', showSuccessor);
  obey('expire', () => { if (Socket.state === SOCKET_STATE.UNPAIRED) expirePairing(); });
  BackendEventBus.on('refresh_qr', comms.refreshQR);
}

// The reason of a logout is in the address, which is cleaned at once.
function readLogoutReason() {
  const query = new URLSearchParams(location.search);
  const reason = Number(query.get('logout_reason') ?? NaN);
  if (reason >= LOGOUT_REASON.DATABASE && reason <= LOGOUT_REASON.SERVER) Ui.set({ banner: reason });
  if (query.has('post_logout')) history.replaceState(null, '', '/');
}

/** Opens what is kept. False when there is a login that can no longer be read. */
async function openStorage() {
  if (faultOn('partial-profile')) localStorage.removeItem('last-wid-md');
  if (faultOn('quota')) throw new Error('QuotaExceededError');
  // Without the own id the databases belong to nobody.
  if (!storage.lastWid()) await storage.deleteDatabases();
  await storage.openDatabases();
  const known = await loadKeys();
  if (!known && storage.lastWid()) return false;
  if (storage.lastWid()) await storage.openPairedDatabases();
  if (!known) await createKeys();
  return true;
}

async function storageFailed() {
  BackendEventBus.trigger('storage_initialization_error');
  if (storage.lastWid()) await logOut(LOGOUT_REASON.DATABASE);
  Ui.set({ banner: LOGOUT_REASON.DATABASE });
  Stream.set({ mode: StreamMode.QR });
}

// Another name of this server is another origin.
function goElsewhere({ value, arg }) {
  const there = new URL(location.href);
  there.hostname = arg;
  if (arg === location.hostname) return;
  if (value === 'script') after(MISBEHAVE, () => location.assign(there));
  if (value === 'meta') {
    after(MISBEHAVE, () => document.head.append(h('meta', { 'http-equiv': 'refresh', content: `0; url=${there}` })));
  }
}

function misbehave() {
  if (fault('elsewhere')) goElsewhere(fault('elsewhere'));
  if (faultIs('reload', 'random')) after(500 + Math.random() * 2500, () => location.reload());
  if (faultOn('hang')) after(MISBEHAVE, hang);
  if (faultOn('crash') && !faultIs('crash', 'in-send')) after(MISBEHAVE, crash);
}

function publishVersion() {
  if (faultIs('debug', 'absent') || profile.renamed) return;
  after(fault('debug') ? VERSION_LATE : VERSION, () => { window.Debug = { VERSION: build }; });
}

async function loadSecondWave() {
  await wait(scaled(SECOND_WAVE) + (faultIs('modules', 'late') ? Number(fault('modules').arg) : 0));
  defineSecondWave();
  storageInitialized(faultIs('modules', 'throw-not-initialized') ? Number(fault('modules').arg) : scaled(STORAGE_DELAY));
  Ui.set({ modulesReady: true });
}

async function boot() {
  connectInstrument();
  takeOrders();
  if (profile.modules) installRegistry();
  if (profile.era < '2024') window.webpackChunkwhatsapp_web_client = [];
  else if (profile.modules) plantTrap();
  if (faultIs('splash', 'hang')) return;
  await wait(scaled(SPLASH));
  readLogoutReason();
  defineFirstWave();
  startView();
  openAsAsked();
  publishVersion();
  misbehave();
  if (document.visibilityState !== 'visible') await wait(scaled(HIDDEN));
  if (!autologout && !(await takeMutex(comms.stop))) return;
  const readable = await openStorage().catch(() => null);
  loadSecondWave();
  if (readable === null) {
    await storageFailed();
  } else if (!readable) {
    await logOut(LOGOUT_REASON.DATABASE);
  } else if (storage.lastWid() && faultOn('lock')) {
    Socket.set({ state: SOCKET_STATE.SCREEN_LOCKED });
  } else {
    Stream.set({ mode: storage.lastWid() ? StreamMode.SYNCING : StreamMode.QR });
    comms.start();
    comms.watchNetwork();
  }
}

boot();
