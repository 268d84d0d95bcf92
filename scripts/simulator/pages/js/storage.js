// What the page keeps: localStorage keys and databases. Their names are those
// of the real page; what is in them is the simulator's own.

const BEFORE_PAIRING = ['wawc_db_enc', 'wawc', 'signal-storage', 'model-storage', 'worker-storage',
  'jobs-storage', 'sw', 'AsyncStorage'];
const AFTER_PAIRING = ['status-storage', 'fts-storage', 'offd-storage', 'lru-media-storage-idb'];
const CREDENTIALS = ['WANoiseInfo', 'WANoiseInfoIv', 'WAWebEncKeySalt', 'WebEncKeySalt', 'last-wid-md', 'WALid',
  'WAUnknownID', 'me-display-name'];
const TABLE = 'kv';

const open = new Map();

// The databases whose tables are more than keys and values.
const TABLES = {
  'model-storage': (db) => {
    const make = (name, keyPath, index, unique) => {
      if (db.objectStoreNames.contains(name)) return;
      const table = db.createObjectStore(name, { keyPath });
      if (index) table.createIndex(index, index, { unique });
    };
    make('message', 'id', 'rowId', true);
    make('chat', 'id');
    make('contact', 'id');
    make('reactions', ['parentMsgKey', 'senderUserJid'], 'parentMsgKey', false);
  },
};

/** The result of a request. */
export function settled(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

async function openOne(name) {
  const request = indexedDB.open(name, TABLES[name] ? 3 : 1);
  request.onupgradeneeded = ({ oldVersion }) => {
    if (oldVersion === 0) request.result.createObjectStore(TABLE);
    TABLES[name]?.(request.result);
  };
  const db = await settled(request);
  db.onversionchange = () => db.close();
  open.set(name, db);
}

export async function openDatabases() {
  await Promise.all(BEFORE_PAIRING.map(openOne));
}

export async function openPairedDatabases() {
  await Promise.all(AFTER_PAIRING.map(openOne));
}

export async function deleteDatabases() {
  for (const db of open.values()) db.close();
  open.clear();
  await Promise.all([...BEFORE_PAIRING, ...AFTER_PAIRING].map((name) => settled(indexedDB.deleteDatabase(name))));
}

/** A database that is open, or nothing. */
export function database(name) {
  return open.get(name);
}

export function get(db, key) {
  return settled(open.get(db).transaction(TABLE).objectStore(TABLE).get(key));
}

/** Resolves when the value is durable. */
export function put(db, key, value) {
  return new Promise((resolve, reject) => {
    const work = open.get(db).transaction(TABLE, 'readwrite', { durability: 'strict' });
    work.objectStore(TABLE).put(value, key);
    work.oncomplete = () => resolve();
    work.onabort = () => reject(work.error);
  });
}

export function forgetCredentials() {
  for (const key of CREDENTIALS) localStorage.removeItem(key);
}

/** The own id, which is there only after pairing. */
export function lastWid() {
  return localStorage.getItem('last-wid-md');
}
