// The service worker. It opens and holds websockets for pages that ask it to.

const sockets = new Map();

addEventListener('install', () => skipWaiting());
addEventListener('activate', (event) => event.waitUntil(clients.claim()));
addEventListener('message', ({ data, source }) => {
  if (data.open) {
    const socket = new WebSocket(data.open);
    sockets.set(data.id, socket);
    socket.onopen = () => source.postMessage({ id: data.id, what: 'open' });
    socket.onmessage = (event) => source.postMessage({ id: data.id, what: 'message', data: event.data });
    socket.onclose = () => {
      sockets.delete(data.id);
      source.postMessage({ id: data.id, what: 'close' });
    };
    return;
  }
  if (data.send) sockets.get(data.id)?.send(data.send);
  if (data.close) sockets.get(data.id)?.close();
});
