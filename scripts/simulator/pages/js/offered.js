// The modules that the registry offers, in the waves in which they load.

import { build, fault, faultIs } from './config.js';
import * as comms from './comms.js';
import { decodeB64, encodeB64, keys, newAdvSecret, platform } from './keys.js';
import {
  advSecretEventEmitter, BackendEvent, BackendEventBus, Cmd, Conn, NetworkStatus, Socket, SOCKET_STATE, SOCKET_STREAM, Stream,
  StreamInfo, StreamMode, Ui,
} from './models.js';
import { collectionModules, messageModules } from './messagemodules.js';
import * as pairing from './pairing.js';
import { profile } from './config.js';
import { offer } from './registry.js';
import { logOut } from './session.js';
import * as shortcake from './shortcake.js';
import { official } from './trap.js';
import { isLoggedIn } from './wid.js';

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

function define(modules) {
  const missing = faultIs('modules', 'missing') ? fault('modules').arg : null;
  const changed = faultIs('signature', 'changed') ? fault('signature').arg : null;
  for (const [id, exports] of Object.entries(modules)) {
    if (id !== missing) offer(id, id === changed ? otherwise(exports) : exports);
  }
}

// Functions that take their arguments in another form, as they do in another build.
function otherwise(exports) {
  return Object.fromEntries(Object.entries(exports).map(([name, value]) => [name,
    typeof value === 'function' ? ({ parameters: [...all] }) => value(...all) : value]));
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
    WAWebUserPrefsLogin: { isLoggedIn },
    WAWebUpdaterVersion: { SANITIZED_VERSION_STR: build },
    // It looks for the collections at that moment, too, once, and on the real page finds
    // them; without them it would never hear of a message.
    ...collectionModules(),
  });
}

/** What loads lazily; without it there is no code on the screen. */
export function defineSecondWave() {
  if (profile.era === '2024') Cmd.refreshQR = () => BackendEventBus.triggerRefreshQR();
  define({
    WAWebSignalStoreApi: { waSignalStore: { getRegistrationInfo: stored(async () => keys.registration) } },
    WAWebUserPrefsInfoStore: { waNoiseInfo: { get: stored(async () => keys.noise) } },
    WAWebUserPrefsMultiDevice: {
      getADVSecretKey: stored(() => keys.advSecret), isRegistered: stored(isLoggedIn), advSecretEventEmitter,
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
    WAWebOfflineHandler: { OfflineMessageHandler: { getOfflineDeliveryProgress: () => Math.max(0, Ui.progress) } },
    WAWebMiscBrowserUtils: { info: () => ({ name: 'Chrome', version: navigator.userAgent.match(/Chrome\/(\d+)/)?.[1] }) },
    WAWebIsOfficialClient: official,
    WAWebLinkDeviceEvents: { LinkDeviceEvents: shortcake.LinkDeviceEvents },
    WAWebShortcakeLinkingAction: {
      startShortcakePasskeyPairing: shortcake.executePasskeyPrologue,
      confirmShortcakeVerificationCode: shortcake.confirmShortcakeVerificationCode,
      cancelShortcakePasskeyPairing: shortcake.cancelShortcakePasskeyPairing,
    },
    WAWebShortcakeLinkingPasskeyPrologue: { executePasskeyPrologue: shortcake.executePasskeyPrologue },
    WAWebShortcakeLinkingRequestOptionsCache: { getRequestOptions: shortcake.getRequestOptions },
    WAWebIntegrityChallengeUtils: { performPasskeyAssertion: shortcake.performPasskeyAssertion },
    ...messageModules(stored),
  });
}
