// The modules that the registry offers, in the waves in which they load.

import { build, fault, faultIs } from './config.js';
import * as comms from './comms.js';
import { decodeB64, encodeB64, keys, newAdvSecret, platform } from './keys.js';
import {
  advSecretEventEmitter, BackendEvent, BackendEventBus, Cmd, Conn, NetworkStatus, Socket, SOCKET_STATE, SOCKET_STREAM, Stream,
  StreamInfo, StreamMode, Ui,
} from './models.js';
import * as pairing from './pairing.js';
import { profile } from './config.js';
import { offer } from './registry.js';
import { logOut } from './session.js';
import * as storage from './storage.js';

const guard = { until: Infinity };

/** Makes the getters of stored values work after so many milliseconds. */
export function storageInitialized(delay) {
  guard.until = Date.now() + delay;
}

function stored(get) {
  return (...args) => {
    if (Date.now() < guard.until) {
      const error = new Error('Storage must be initialized before accessing a table!');
      error.name = 'NotInitializedError';
      throw error;
    }
    return get(...args);
  };
}

function wid() {
  const text = storage.lastWid();
  if (!text) return undefined;
  const id = JSON.parse(text).split(/[:@]/)[0];
  return { user: id, server: 'c.us', _serialized: `${id}@c.us`, toString() { return this._serialized; } };
}

function define(modules) {
  const missing = faultIs('modules', 'missing') ? fault('modules').arg : null;
  for (const [id, exports] of Object.entries(modules)) if (id !== missing) offer(id, exports);
}

/** What is there as soon as the application starts. */
export function defineFirstWave() {
  Object.assign(Socket, {
    logout() {
      comms.send({ type: 'logout' });
      return logOut();
    },
    takeover() {
      if (Socket.state !== SOCKET_STATE.CONFLICT || fault('takeover')) throw new Error('takeover: there is no conflict');
      comms.takeover();
    },
    initConn: () => comms.start(),
    poke() {},
  });
  define({
    WAWebSocketModel: { Socket },
    WAWebConnModel: { Conn },
    WAWebStreamModel: { Stream, StreamMode, StreamInfo },
    WAWebSocketConstants: { SOCKET_STATE, SOCKET_STREAM },
    WAWebNetworkStatus: { default: NetworkStatus },
    WAWebBackendEventBus: { BackendEventBus, BackendEvent },
    WAWebLaunchSocketUtils: { refreshQR: comms.refreshQR, startCommsAndHandleRequests: comms.start },
    // Its real name is not known: wa-js finds it by what it exports, as soon as no
    // more modules come, and never gets ready without it.
    WAWebUserPrefsLogin: { isLoggedIn: () => wid() !== undefined },
    WAWebUpdaterVersion: { SANITIZED_VERSION_STR: build },
  });
}

/** What loads lazily; without it there is no code on the screen. */
export function defineSecondWave() {
  if (profile.era === '2024') Cmd.refreshQR = () => BackendEventBus.triggerRefreshQR();
  define({
    WAWebSignalStoreApi: { waSignalStore: { getRegistrationInfo: stored(async () => keys.registration) } },
    WAWebUserPrefsInfoStore: { waNoiseInfo: { get: stored(async () => keys.noise) } },
    WAWebUserPrefsMultiDevice: {
      getADVSecretKey: stored(() => keys.advSecret), isRegistered: stored(() => wid() !== undefined), advSecretEventEmitter,
      setADVSignedIdentity() {},
    },
    WAWebAdvSignatureApi: {
      generateADVSecretKey: newAdvSecret,
      getADVSecretKey: stored(async () => {
        if (!keys.advSecret) throw new Error('no ADV secret');
        return keys.advSecret;
      }),
    },
    WABase64: { encodeB64, decodeB64 },
    WAWebCompanionRegClientUtils: { DEVICE_PLATFORM: platform() },
    WAWebNativeCameraQRLinkedDeviceUtils: { isNativeCameraQRLinkedDeviceTest: () => profile.payload.prefix },
    WAWebCmd: { Cmd, CmdImpl: Cmd.constructor },
    WAWebAltDeviceLinkingApi: {
      getPairingType: pairing.getPairingType, setPairingType: pairing.setPairingType,
      initializeAltDeviceLinking: pairing.initializeAltDeviceLinking,
      startAltLinkingFlow: pairing.startAltLinkingFlow, initializeQRLinking: pairing.initializeQRLinking,
    },
    WAWebLinkDeviceAction: { genLinkDeviceCodeForPhoneNumber: pairing.startAltLinkingFlow },
    WAWebUserPrefsMeUser: {
      getMaybeMePnUser: stored(wid), getMaybeMeLidUser: stored(wid), getMaybeMeUser: stored(wid),
    },
    WAWebOfflineHandler: { OfflineMessageHandler: { getOfflineDeliveryProgress: () => Math.max(0, Ui.progress) } },
    WAWebMiscBrowserUtils: { info: () => ({ name: 'Chrome', version: navigator.userAgent.match(/Chrome\/(\d+)/)?.[1] }) },
    ...stubs(),
  });
}

function stubs() {
  const createWid = (id) => ({ _serialized: id, user: id.split('@')[0], server: id.split('@')[1] ?? 'c.us' });
  return {
    WAWebIsOfficialClient: { isOfficialClient: true },
    WAWebLinkDeviceEvents: {},
    WAWebWidFactory: { createWid, createUserWidOrThrow: createWid },
    WAWebCollections: { Chat: { get: (id) => ({ id: createWid(String(id)) }), find: async (id) => ({ id: createWid(String(id)) }) } },
    WAWebMsgKey: { default: class { static newId() { return crypto.randomUUID(); } } },
    WAWebSendMsgChatAction: { addAndSendMsgToChat },
  };
}

// The first promise is the message as it was queued here, the second what the
// server answered; the message's ack goes from clock to server to delivered.
function addAndSendMsgToChat(chat, message) {
  const sent = { ...message, ack: 0 };
  const result = new Promise((resolve) => {
    setTimeout(() => {
      sent.ack = 1;
      resolve({ messageSendResult: 'OK', t: Math.floor(Date.now() / 1000) });
      setTimeout(() => { sent.ack = 2; }, 50);
    }, 50);
  });
  return [Promise.resolve(sent), result];
}
