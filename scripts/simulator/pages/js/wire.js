// Stanzas to the server: each is kept until it is acknowledged, and written again after
// every login, the oldest first. Queries end with their connection.

let write = () => {};
let online = false;
const unacked = new Map();
const queries = new Map();
let asked = 0;
let deliver;
let delivered = fresh();

function fresh() {
  return new Promise((resolve) => { deliver = resolve; });
}

/** Sets what writes to the connection that is open now. */
export function onWrite(how) {
  write = how;
}

/** Resolves with the server's acknowledgement of a message, however long that takes. */
export function cast(stanza) {
  return new Promise((resolve) => {
    const waiting = unacked.get(stanza.id)?.waiting ?? [];
    unacked.set(stanza.id, { stanza, waiting: [...waiting, resolve] });
    if (online) write(stanza);
  });
}

export function acked(ack) {
  const { waiting } = unacked.get(ack.id) ?? { waiting: [] };
  unacked.delete(ack.id);
  for (const resolve of waiting) resolve(ack);
}

export class ServerStatusCodeError extends Error {
  constructor(code, text) {
    super(`server returned ${code}: ${text}`);
    this.name = 'ServerStatusCodeError';
    this.statusCode = code;
  }
}

/** Asks the server something. */
export function ask(what, wid = '') {
  if (!online) return Promise.reject(new ServerStatusCodeError(503, 'not connected'));
  const id = `${++asked}`;
  write({ type: 'iq', id, what, wid });
  return new Promise((resolve, reject) => queries.set(id, { resolve, reject }));
}

export function answered({ id, error, result }) {
  const { resolve, reject } = queries.get(id) ?? {};
  queries.delete(id);
  if (error) reject?.(new ServerStatusCodeError(error, 'the query failed'));
  else resolve?.(result ?? null);
}

/** The server has accepted the login. */
export function loggedIn() {
  online = true;
  for (const { stanza } of unacked.values()) write(stanza);
}

export function lost() {
  online = false;
  delivered = fresh();
  for (const { reject } of queries.values()) reject(new ServerStatusCodeError(503, 'the connection was lost'));
  queries.clear();
}

/** What came while the page was away has been delivered. */
export function offlineDelivered() {
  deliver();
}

export const untilOfflineDelivered = () => delivered;
