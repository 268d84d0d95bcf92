// What the account must not do, as the server has decided.

import { Cmd, Ui } from './models.js';
import { ask } from './wire.js';

const TIMELOCK = 'WAReachoutTimelockState';
const CAPPING = 'WANewChatMessageCappingData';
const CHALLENGE = 'WAIntegrityChallengeState';

const prefs = new Map();

/** The page's prefs, which are read at once. */
export const userPrefsIdb = {
  get: (name) => prefs.get(name),
  set: (name, value) => { prefs.set(name, value); },
  remove: (name) => { prefs.delete(name); },
};

export const ReachoutTimelockState = { HIDDEN: 'hidden', VISIBLE: 'visible' };

/** Takes what the server says. A field that is missing means that there is no such restriction. */
export function restrict({ timelock, capping, challenge }) {
  const before = JSON.stringify(prefs.get(TIMELOCK));
  for (const [name, value] of [[TIMELOCK, timelock], [CAPPING, capping], [CHALLENGE, challenge]]) {
    if (value) prefs.set(name, value);
    else prefs.delete(name);
  }
  Ui.set({ challenge: challenge?.challenge_type ?? '' });
  if (JSON.stringify(prefs.get(TIMELOCK)) !== before) Cmd.trigger('reachout_timelock_state_change');
}

export const timelock = {
  isUserReachoutTimelocked() {
    const ends = prefs.get(TIMELOCK)?.time_enforcement_ends;
    return ends !== undefined && ends > Date.now();
  },
  canSendMsgWhileTimelocked: ({ chat }) => Boolean(chat?.tcToken) || chat?.isGroup === true,
  isReachoutTimelockStateVisible: () => prefs.get(TIMELOCK)?.state === ReachoutTimelockState.VISIBLE,
};

export async function fetchReachoutTimelock() {
  restrict(await ask('restrictions') ?? {});
  return prefs.get(TIMELOCK) ?? null;
}

export const capping = {
  isUserCapped: () => prefs.get(CAPPING)?.capping_status === 'CAPPED',
  canSendMsgWhileCapped: ({ chat }) => Boolean(chat?.tcToken) || chat?.isGroup === true,
};
