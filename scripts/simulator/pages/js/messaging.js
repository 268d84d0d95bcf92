// The part of the connection that is about messages.

import { after, faultIs } from './config.js';
import { Msgs } from './collections.js';
import { loadPeople, takeHistory } from './people.js';
import { changeMessage, takeMessage, takeOldMessages, takeReceipt } from './receiving.js';
import { AllReactions, takeReaction } from './reactions.js';
import { restrict } from './restrictions.js';
import * as wire from './wire.js';

// When listeners=lost strikes, after each sync.
const LOSE_LISTENERS = 3000;

let loaded = false;

/** Handles a message of the server, and reports whether it is one of these. */
export async function handle(message, send) {
  switch (message.type) {
    case 'iq-result': wire.answered(message); break;
    case 'ack': wire.acked(message); break;
    case 'restrictions': restrict(message.result); break;
    case 'history':
      await takeHistory(message);
      await takeOldMessages(message);
      break;
    case 'receipt':
      takeReceipt(message).then(() => send({ type: 'confirm', n: message.n })).catch(console.error);
      break;
    case 'incoming':
      await takeMessage(message);
      send({ type: 'confirm', n: message.n });
      break;
    case 'change':
      await changeMessage(message);
      send({ type: 'confirm', n: message.n });
      break;
    case 'reaction':
      await takeReaction(message);
      send({ type: 'confirm', n: message.n });
      break;
    default: return false;
  }
  return true;
}

/** The server has accepted the login. */
export async function loggedIn() {
  if (!loaded) await loadPeople();
  wire.loggedIn();
}

/** All that came while the page was away is here. */
export async function synced() {
  if (!loaded) await loadPeople();
  loaded = true;
  wire.offlineDelivered();
  if (faultIs('listeners', 'lost')) after(LOSE_LISTENERS, () => [Msgs, AllReactions].forEach((all) => all.forget()));
}
