// The state of the application, and the enumerations it is made of.

import { faultIs } from './config.js';
import { Emitter, Model } from './emitter.js';

const enumeration = (...names) => Object.freeze(Object.fromEntries(names.map((n) => [n, n])));

export const SOCKET_STATE = enumeration('UNLAUNCHED', 'OPENING', 'PAIRING', 'UNPAIRED', 'UNPAIRED_IDLE',
  'CONNECTED', 'CONFLICT', 'PROXYBLOCK', 'TOS_BLOCK', 'SMB_TOS_BLOCK', 'SCREEN_LOCKED');
export const SOCKET_STREAM = enumeration('DISCONNECTED', 'SYNCING', 'RESUMING', 'CONNECTED');
export const StreamMode = enumeration('QR', 'MAIN', 'SYNCING', 'OFFLINE', 'CONFLICT', 'PROXYBLOCK',
  'TOS_BLOCK', 'SMB_TOS_BLOCK');
export const StreamInfo = enumeration('OFFLINE', 'OPENING', 'PAIRING', 'SYNCING', 'RESUMING', 'CONNECTING',
  'NORMAL');

// hasSynced is undefined, not false, until the first sync has ended.
export const Socket = new Model({
  state: SOCKET_STATE.UNLAUNCHED, stream: SOCKET_STREAM.DISCONNECTED, hasSynced: undefined,
});

export const Conn = new Model({
  ref: undefined, refTTL: undefined, connected: undefined, wid: undefined, platform: undefined,
  pushname: undefined,
});

export const Stream = new Model({
  mode: undefined, info: StreamInfo.NORMAL, displayInfo: StreamInfo.CONNECTING, available: !faultIs('seen', 'away'),
  markAvailable() { this.set({ available: true }); },
  markUnavailable() { this.set({ available: false }); },
});

export const NetworkStatus = new Model({ online: true, checkOnline() { return this.online; } });

export const advSecretEventEmitter = new Emitter();
export const Cmd = new Emitter();
export const BackendEvent = enumeration('set_socket_state', 'refresh_qr', 'logout');
export const BackendEventBus = new Emitter();
Object.assign(BackendEventBus, {
  socketState: Socket.state,
  isOfflineDeliveryEnd: false,
  triggerRefreshQR() { this.trigger('refresh_qr'); },
  triggerSetSocketState(state) { this.trigger('set_socket_state', state); },
  triggerLogout(reason) { this.trigger('logout', reason); },
});
Socket.on('change:state', (_, state) => {
  BackendEventBus.socketState = state;
  BackendEventBus.triggerSetSocketState(state);
});

/** What the user interface alone knows. */
export const Ui = new Model({
  // special is a screen without a mode of its own, such as TEMP_BAN; it has precedence.
  special: null,
  // view is qr, phone or code.
  view: 'qr',
  // alive is true while the server would link a phone by the code.
  alive: false,
  code: '', codeExpired: false, phoneError: false,
  // modal is the dialog over everything: tooMany, limited, general or nothing.
  modal: '',
  // modulesReady is true once what the code is made of has been loaded.
  modulesReady: false,
  autologout: false,
  // suspended hides the code, as React does until the screen that replaces it has loaded.
  suspended: false,
  // passkey is the card of linking by one: {card, code, text}, or null.
  passkey: null,
  // challenge is the type of the integrity challenge, or ''.
  challenge: '',
  // banner is a logout reason, or null.
  banner: null,
  progress: -1,
});
