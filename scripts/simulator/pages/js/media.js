// Files on their way to the server, prepared, kept in memory and uploaded; and those of
// messages that have arrived.

import { fault, faultIs, scaled, wait } from './config.js';
import { encodeB64 } from './keys.js';
import { Model } from './emitter.js';
import { now } from './people.js';
import { changeMessage } from './tables.js';
import { ask } from './wire.js';

const MB = 1 << 20;

/** The bytes of a file, which nobody sees. */
export class OpaqueData {
  #blob;

  constructor(blob) { this.#blob = blob; }

  static async createFromData(data, mimetype) {
    if (!(data instanceof Blob || data instanceof ArrayBuffer)) throw new TypeError('OpaqueData: this is not data');
    return new OpaqueData(new Blob([data], { type: mimetype }));
  }

  type() { return this.#blob.type; }

  size() { return this.#blob.size; }

  forceToBlob() { return this.#blob; }

  formData() { return this.#blob; }

  autorelease() {}
}

class MediaFileTooLargeError extends Error {
  name = 'MediaFileTooLargeError';
}

class MediaFileEmpty extends Error {
  name = 'MediaFileEmpty';
}

class MediaUnsupported extends Error {
  name = 'InvalidMediaFileType';
}

/** What a file of a kind may have in bytes. */
export function getUploadLimit(kind) {
  if (faultIs('upload', 'limit')) return Number(fault('upload').arg);
  return kind === 'document' ? 2000 * MB : 16 * MB;
}

function kindOf(mimetype, { asDocument, isPtt }) {
  const kind = asDocument ? 'document' : mimetype.split('/')[0];
  if (kind === 'audio' && isPtt) return 'ptt';
  return ['image', 'video', 'audio'].includes(kind) ? kind : 'document';
}

const hashOf = async (blob) => encodeB64(new Uint8Array(await crypto.subtle.digest('SHA-256', await blob.arrayBuffer())));

// Draws an image again, with no edge longer than this.
async function redrawn(blob, longest) {
  const bitmap = await createImageBitmap(blob).catch(() => {
    throw new MediaUnsupported('it is not an image');
  });
  const scale = Math.min(1, longest / Math.max(bitmap.width, bitmap.height));
  const [width, height] = [bitmap.width, bitmap.height].map((n) => Math.max(1, Math.round(n * scale)));
  const canvas = new OffscreenCanvas(width, height);
  canvas.getContext('2d').drawImage(bitmap, 0, 0, width, height);
  return { blob: await canvas.convertToBlob({ type: 'image/jpeg' }), width, height };
}

async function prepare(opaque, options) {
  let blob = opaque.forceToBlob();
  const type = kindOf(blob.type, options);
  if (blob.size === 0) throw new MediaFileEmpty('it is empty');
  let sizes = {};
  if (type === 'image') ({ blob, ...sizes } = await redrawn(blob, options.maxDimension ?? 1600));
  if (blob.size > getUploadLimit(type)) throw new MediaFileTooLargeError('it is too large');
  const data = new Model({
    type, mimetype: blob.type, filehash: await hashOf(blob), size: blob.size, ...sizes, mediaBlob: new OpaqueData(blob),
    filename: options.filename, isGif: options.asGif === true, mediaStage: 'PREPARED',
    preview: type === 'image' ? 'cHJldmlldw==' : undefined, duration: ['audio', 'video', 'ptt'].includes(type) ? 1 : undefined,
    toJSON() { return Object.fromEntries(Object.entries(this).filter(([name, value]) => !/^[$_]/.test(name) && typeof value !== 'function')); },
  });
  return data;
}

/** Starts to make of a file what is sent. */
export function prepRawMedia(opaque, options = {}) {
  if (!(opaque instanceof OpaqueData)) throw new TypeError('prepRawMedia: this is not opaque data');
  const prepared = prepare(opaque, options);
  prepared.catch(() => {});
  return { waitForPrep: () => prepared };
}

const objects = new Map();

/** What is known of the bytes with a hash. */
export function getOrCreateMediaObject(filehash) {
  if (!objects.has(filehash)) {
    objects.set(filehash, { filehash, consolidate(data) { Object.assign(this, data); }, contentInfo: {} });
  }
  return objects.get(filehash);
}

export function msgToMediaType({ type, isGif }) {
  return isGif ? 'gif' : type;
}

const randomB64 = (n) => encodeB64(crypto.getRandomValues(new Uint8Array(n)));

/** Gives a file to the server. */
export async function uploadMedia({ mimetype, mediaObject, mediaType }) {
  if (typeof mediaType !== 'string' || !mediaObject.mediaBlob) throw new TypeError('uploadMedia: there is nothing to upload');
  const response = await fetch(`/mms/${mediaType}`, {
    method: 'POST', body: mediaObject.mediaBlob.forceToBlob(), headers: { 'Content-Type': mimetype },
  });
  if (!response.ok) throw new Error(`the upload failed with ${response.status}`);
  const { path } = await response.json();
  return {
    kind: 'success',
    mediaEntry: {
      mmsUrl: path, deprecatedMms3Url: path, directPath: path, mediaKey: randomB64(32), mediaKeyTimestamp: now(),
      encFilehash: randomB64(32), uploadHash: mediaObject.filehash, sidecar: undefined, firstFrameSidecar: undefined,
    },
  };
}

/** What a stanza has of a message's file. */
export function described(model) {
  if (!model.directPath) return undefined;
  const { type, mimetype, filename, directPath, mediaKey } = model;
  return { type, mimetype, filename, path: directPath, key: Boolean(mediaKey) };
}

/** What the message of a stanza has of its file. */
export function fileOf({ media }) {
  if (!media) return {};
  const { mimetype, filename, path, size, filehash } = media;
  return {
    mimetype, filename, size, filehash, directPath: path, encFilehash: randomB64(32), mediaKey: randomB64(32), mediaKeyTimestamp: now(),
    body: 'cHJldmlldw==', // What is shown before it is downloaded.
  };
}

class MmsError extends Error {
  constructor(status) {
    super(`the download failed with ${status}`);
    this.status = status;
  }
}

async function downloadAndMaybeDecrypt({ directPath, encFilehash, mediaKey, type, signal, downloadQpl }) {
  downloadQpl.addAnnotations({}).addPoint('start');
  if (!directPath || !encFilehash || !mediaKey || !type) throw new TypeError('downloadAndMaybeDecrypt: something is missing');
  const response = await fetch(directPath, { signal });
  if (!response.ok) throw new MmsError(response.status);
  return response.arrayBuffer();
}

const qpl = { addAnnotations() { return this; }, addPoint() { return this; } };

// How long the phone of the sender takes to upload a file again.
const REUPLOAD = 2000;

async function resolve(msg) {
  msg.mediaData.set({ mediaStage: 'FETCHING' });
  const data = await downloadAndMaybeDecrypt({ ...msg.serialize(), downloadQpl: qpl });
  msg.mediaData.set({ mediaBlob: new OpaqueData(new Blob([data], { type: msg.mimetype })), mediaStage: 'RESOLVED' });
}

const isMissing = ({ status }) => status === 404 || status === 410;

async function reupload(msg) {
  await wait(scaled(REUPLOAD));
  const directPath = await ask('reupload', msg.id.id);
  msg.set({ directPath });
  await changeMessage(msg.id, () => ({ directPath }));
  await resolve(msg);
}

const failed = (msg, error) => msg.mediaData.set({ mediaStage: isMissing(error) || error.statusCode === 404 ? 'ERROR_MISSING' : 'ERROR_UNKNOWN' });

/** Downloads a message's file. An expired one is uploaded again, which takes longer than this call. */
export async function downloadMedia({ downloadEvenIfExpensive, rmrReason, isUserInitiated }) {
  const data = this.mediaData;
  if (['RESOLVED', 'FETCHING', 'REUPLOADING'].includes(data.mediaStage)) return;
  if (!downloadEvenIfExpensive || !isUserInitiated) return; // The chat isn't trusted.
  try {
    await resolve(this);
  } catch (error) {
    if (!isMissing(error) || !rmrReason) {
      failed(this, error);
      return;
    }
    data.set({ mediaStage: 'REUPLOADING' });
    reupload(this).catch((again) => failed(this, again));
  }
}

export const mediaModules = () => ({
  WAWebDownloadManager: { downloadManager: { downloadAndMaybeDecrypt } },
  WAWebMediaOpaqueData: OpaqueData,
  WAWebPrepRawMedia: { prepRawMedia },
  WAWebMediaStorage: { getOrCreateMediaObject },
  WAWebMmsMediaTypes: { msgToMediaType },
  WAWebMediaMmsV4Upload: { uploadMedia },
  WAWebMediaGatingUtils: { getUploadLimit },
});
