// Makes what has the files of received messages downloaded and reads them in parts. A file is in
// the ledger until it was read to its end, or nobody has asked for it for some time. n are the names of
// k.receiving and k.sending, tools those of calls.js.
(function (n, ledger, tools) {
  "use strict";

  const { Stop, callable, gone, resolve } = tools;
  const MOST = 4; // files
  const IDLE = 120_000; // ms
  const PAUSE = 250; // ms

  const pause = (ms) => new Promise((done) => setTimeout(done, ms));

  // settled returns how far the page has got with a file once that is as far as it gets.
  async function settled(media, isWanted) {
    while ([n.stage_fetching, n.stage_renewing].includes(media[n.media_stage]) && isWanted()) await pause(PAUSE);
    return media[n.media_stage];
  }

  // byMessage has a message download its file, as if a person had pressed its button. The page
  // asks the sender's phone once for what has expired.
  async function byMessage(model, isWanted) {
    const media = model[n.media_data];
    if (typeof model[n.download] !== "function" || !media) return undefined;
    await model[n.download]({ [n.download_large]: true, [n.download_reason]: 1, [n.download_asked]: true });
    const stage = await settled(media, isWanted);
    if (stage === n.stage_missing) throw new Stop("media_gone");
    return stage === n.stage_resolved ? media[n.media_blob]?.[n.blob_force]?.() : undefined;
  }

  // byLink downloads a file without its message, as the page does not keep all that it has
  // downloaded.
  async function byLink(model, signal) {
    const { owner, value } = resolve("media_fetch");
    const wanted = [n.media_path, n.media_encrypted, n.media_hash, n.media_key, n.media_key_time, n.media_kind, n.media_mime];
    const log = { [n.log_annotate]: () => log, [n.log_point]: () => log };
    const asked = Object.fromEntries(wanted.map((name) => [name, model[name]]));
    return Reflect.apply(value, owner, [{ ...asked, [n.fetch_signal]: signal, [n.fetch_log]: log }]);
  }

  async function download(model, file) {
    try {
      const found = await byMessage(model, () => ledger.files.get(file.key) === file);
      if (found instanceof Blob) return found;
      if (!callable("media_fetch")) throw gone("media_fetch");
      return new Blob([await byLink(model, file.control.signal)]);
    } catch (error) {
      if (error instanceof Stop) throw error;
      // That a link has expired does not mean that its sender was asked.
      throw new Stop("media_failed", { name: "media_fetch" });
    }
  }

  function drop(file) {
    clearTimeout(file.timer);
    file.control.abort();
    if (ledger.files.get(file.key) === file) ledger.files.delete(file.key);
  }

  // begin starts a download, for which somebody must ask again and again.
  function begin(model, key, most) {
    const known = ledger.files.get(key);
    if (known) return known;
    if (model[n.media_size] > most) throw new Stop("media_too_large");
    if (ledger.files.size >= MOST) drop(ledger.files.values().next().value);
    const file = { key, control: new AbortController() };
    ledger.files.set(key, file);
    file.blob = download(model, file);
    file.blob.catch(() => {}); // whoever asks next gets it
    return file;
  }

  const encoded = (blob) =>
    new Promise((done, reject) => {
      const reader = new FileReader();
      reader.onload = () => done(reader.result.slice(reader.result.indexOf(",") + 1));
      reader.onerror = () => reject(new Stop("media_failed", { name: "media_fetch" }));
      reader.readAsDataURL(blob);
    });

  return async function (work, { key, offset, most, part }, model) {
    const file = ledger.files.get(key) ?? begin(await model(), key, most);
    ledger.files.delete(key); // so that the one that was not asked for longest is dropped
    ledger.files.set(key, file);
    clearTimeout(file.timer);
    file.timer = setTimeout(() => drop(file), IDLE);
    try {
      const blob = await work.wait(file.blob);
      if (blob.size > most) throw new Stop("media_too_large");
      const end = offset + part;
      const text = offset < blob.size ? await work.wait(encoded(blob.slice(offset, end))) : "";
      if (end >= blob.size) drop(file);
      return { part: text, more: end < blob.size };
    } catch (error) {
      if (error instanceof Stop && error.code === "late") return { part: "", more: true };
      drop(file);
      throw error;
    }
  };
})
