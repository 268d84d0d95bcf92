// Makes the object that lets a person elsewhere answer one call of
// navigator.credentials.get. It runs in the page's main world, and leaves nothing there
// once that call was made, or ms after arm. The prototype is not touched. Most is the
// length of the longest request.
(function (most) {
  "use strict";

  const container = navigator.credentials;
  let undo = null;
  let timer = 0;
  let call = null; // {text, resolve, reject}
  let made = () => {};

  function restore() {
    clearTimeout(timer);
    if (undo) undo();
    undo = null;
  }

  const encode = (bytes) =>
    btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");

  function decode(text) {
    const binary = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
    return Uint8Array.from(binary, (c) => c.charCodeAt(0)).buffer;
  }

  // plain is what JSON can hold, with bytes in base64url.
  function plain(key, value) {
    if (ArrayBuffer.isView(value)) return encode(new Uint8Array(value.buffer, value.byteOffset, Math.min(value.byteLength, most)));
    if (value instanceof ArrayBuffer) return encode(new Uint8Array(value, 0, Math.min(value.byteLength, most)));
    return value;
  }

  // results are those of the extensions: of prf, bytes.
  function results(extensions) {
    const values = extensions.prf && extensions.prf.results;
    if (!values) return extensions;
    const bytes = Object.fromEntries(Object.entries(values).map(([name, text]) => [name, decode(text)]));
    return { ...extensions, prf: { ...extensions.prf, results: bytes } };
  }

  return {
    // arm answers the next call that asks for a passkey, for ms. Other calls pass.
    arm(ms) {
      restore();
      const before = Object.getOwnPropertyDescriptor(container, "get");
      const native = container.get;
      const value = function get(options) {
        if (this !== container || !options || !options.publicKey || options.mediation === "conditional") {
          return Reflect.apply(native, this, arguments);
        }
        restore();
        const text = JSON.stringify(options.publicKey, plain).slice(0, most + 1);
        return new Promise((resolve, reject) => {
          call = { text, resolve, reject };
          if (options.signal) options.signal.addEventListener("abort", () => { call = null; reject(options.signal.reason); });
          made(text);
        });
      };
      Object.defineProperty(container, "get", { value, configurable: true, enumerable: true, writable: true });
      undo = () => (before ? Object.defineProperty(container, "get", before) : delete container.get);
      timer = setTimeout(restore, ms);
    },

    // called waits for the call, and returns its options as JSON, or "" after ms.
    async called(ms) {
      if (call) return call.text;
      const text = await Promise.race([new Promise((resolve) => (made = resolve)), new Promise((resolve) => setTimeout(resolve, ms, ""))]);
      restore();
      return text;
    },

    // answer resolves the call.
    answer(a) {
      const response = {
        clientDataJSON: decode(a.clientDataJSON), authenticatorData: decode(a.authenticatorData),
        signature: decode(a.signature), userHandle: a.userHandle ? decode(a.userHandle) : null,
      };
      const extensions = results(a.extensions);
      call.resolve({
        id: a.id, rawId: decode(a.id), type: "public-key", authenticatorAttachment: a.attachment || null, response,
        getClientExtensionResults: () => extensions,
      });
      call = null;
    },

    // refuse rejects the call as a browser does when nobody answers.
    refuse() {
      restore();
      if (call) call.reject(new DOMException("The operation either timed out or was not allowed.", "NotAllowedError"));
      call = null;
    },
  };
})
