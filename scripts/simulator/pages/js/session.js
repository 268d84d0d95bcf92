// A linked device's life: syncing, conflict, logging out.

import { after, fault, faultIs } from './config.js';
import {
  BackendEventBus, Cmd, Conn, Socket, SOCKET_STATE, SOCKET_STREAM, Stream, StreamInfo, StreamMode, Ui,
} from './models.js';
import * as storage from './storage.js';

// A first sync that takes longer ends the link.
const SYNC_LIMIT = 180_000;

export const LOGOUT_REASON = { DATABASE: 0, SYNC_ISSUE: 1, SYNC_TIMEOUT: 2, SERVER: 3 };

let syncTimer;

/** Keeps what makes this browser a linked device. */
export async function rememberPairing({ wid, lid, name }) {
  await storage.openPairedDatabases();
  localStorage.setItem('last-wid-md', JSON.stringify(wid));
  localStorage.setItem('WALid', JSON.stringify(lid));
  localStorage.setItem('me-display-name', JSON.stringify(name));
}

export async function loggedIn() {
  const synced = (await storage.get('wawc', 'synced')) === true;
  Conn.set({ connected: true, wid: JSON.parse(storage.lastWid()), platform: 'android',
    pushname: JSON.parse(localStorage.getItem('me-display-name') ?? '""') });
  const busy = synced ? SOCKET_STREAM.RESUMING : SOCKET_STREAM.SYNCING;
  Socket.set({ state: SOCKET_STATE.CONNECTED, stream: busy });
  BackendEventBus.isOfflineDeliveryEnd = false;
  if (Socket.hasSynced) {
    Stream.set({ mode: StreamMode.MAIN, info: StreamInfo.RESUMING, displayInfo: StreamInfo.RESUMING });
    return;
  }
  Stream.set({ mode: StreamMode.SYNCING, info: StreamInfo[busy], displayInfo: StreamInfo[busy] });
  clearTimeout(syncTimer);
  if (!synced && fault('sync')?.value !== 'stuck') {
    syncTimer = after(SYNC_LIMIT, () => logOut(LOGOUT_REASON.SYNC_TIMEOUT));
  }
}

export function syncProgress(progress) {
  Ui.set({ progress });
  Cmd.trigger('offline_progress_update_from_bridge', { progress });
}

export async function syncDone() {
  clearTimeout(syncTimer);
  await storage.put('wawc', 'synced', true);
  Ui.set({ progress: -1 });
  Socket.set({ stream: SOCKET_STREAM.CONNECTED });
  Stream.set({ mode: StreamMode.MAIN, info: StreamInfo.NORMAL, displayInfo: StreamInfo.NORMAL });
  Socket.set({ hasSynced: true });
  BackendEventBus.isOfflineDeliveryEnd = true;
  BackendEventBus.trigger('on_critical_sync_done');
  BackendEventBus.trigger('main_stream_mode_ready');
  BackendEventBus.trigger('offline_delivery_end');
  Cmd.trigger('initial_load_ready_from_bridge');
  if (faultIs('logout', 'reason')) await logOut(Number(fault('logout').arg));
}

/** Opened elsewhere: the connection rests until somebody presses "Use here". */
export function conflict() {
  Socket.set({ state: SOCKET_STATE.CONFLICT, stream: SOCKET_STREAM.DISCONNECTED });
  Stream.set({ mode: StreamMode.CONFLICT });
}

let leaving = false;

/**
 * Forgets the link and starts again. The reason, if there is one, is shown on the
 * login page; the address carries it there.
 */
export async function logOut(reason = null) {
  if (leaving) return;
  leaving = true;
  clearTimeout(syncTimer);
  Cmd.trigger('starting_logout_from_bridge');
  Ui.set({ special: 'LOGOUT' });
  BackendEventBus.triggerLogout(reason);
  storage.forgetCredentials();
  await storage.deleteDatabases();
  Cmd.trigger('logout_from_bridge');
  location.assign('/?post_logout=1' + (reason === null ? '' : `&logout_reason=${reason}`));
}
