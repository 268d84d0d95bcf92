// One connection to the server. Two addresses are tried at once, and the one that
// answers last is closed again; or the service worker holds the only one.

import { faultIs } from './config.js';

const SCHEME = location.protocol === 'https:' ? 'wss' : 'ws';
const ADDRESSES = ['/ws/chat', '/ws/chat?port=5222'].map((path) => `${SCHEME}://${location.host}${path}`);
// What is asked for before a connection is opened.
const PROBE = '/favicon/1x/favicon/v4/';

export class Connection {
  onopen = () => {};
  onmessage = () => {};
  onclose = () => {};
  #sockets = [];
  #used = null;
  #ended = false;

  constructor() {
    this.#open().catch(() => this.#end());
  }

  get open() {
    return this.#used?.readyState === WebSocket.OPEN;
  }

  send(text) {
    if (this.open) this.#used.send(text);
  }

  close() {
    for (const socket of this.#sockets) socket.close();
    if (this.#sockets.length === 0) this.#end();
  }

  async #open() {
    if ((await fetch(PROBE)).status === 404) throw new Error('the probe is not found');
    if (this.#ended) return;
    this.#sockets = faultIs('socket', 'worker') ? [new WorkerSocket(ADDRESSES[0])] : ADDRESSES.map((address) => new WebSocket(address));
    for (const socket of this.#sockets) {
      socket.onopen = () => this.#use(socket);
      socket.onclose = () => this.#lose(socket);
    }
  }

  #use(socket) {
    if (this.#used) {
      socket.close();
      return;
    }
    this.#used = socket;
    socket.onmessage = (event) => this.onmessage(event);
    this.onopen();
  }

  #lose(socket) {
    this.#sockets = this.#sockets.filter((other) => other !== socket);
    if (socket === this.#used || this.#sockets.length === 0) this.#end();
  }

  #end() {
    if (this.#ended) return;
    this.#ended = true;
    this.onclose();
  }
}

// WorkerSocket is a websocket that the service worker opens, in as much of the form of
// WebSocket as is used.
class WorkerSocket {
  readyState = WebSocket.CONNECTING;
  onopen = () => {};
  onmessage = () => {};
  onclose = () => {};
  #id = crypto.randomUUID();
  #worker = null;

  constructor(address) {
    const listener = ({ data }) => { if (data.id === this.#id) this.#hear(data, listener); };
    navigator.serviceWorker.addEventListener('message', listener);
    addEventListener('pagehide', () => this.close());
    this.#open(address);
  }

  async #open(address) {
    navigator.serviceWorker.register('/sw.js');
    this.#worker = (await navigator.serviceWorker.ready).active;
    this.#order({ open: address });
  }

  #order(what) {
    this.#worker?.postMessage({ id: this.#id, ...what });
  }

  #hear({ what, data }, listener) {
    switch (what) {
      case 'open':
        this.readyState = WebSocket.OPEN;
        this.onopen();
        break;
      case 'message': this.onmessage({ data }); break;
      default:
        navigator.serviceWorker.removeEventListener('message', listener);
        this.readyState = WebSocket.CLOSED;
        this.onclose?.();
    }
  }

  send(text) {
    this.#order({ send: text });
  }

  close() {
    this.readyState = WebSocket.CLOSING;
    this.#order({ close: true });
  }
}
