// Calls of the page's own functions, for the scripts that work with messages. It runs in
// the page's main world, calls what k names, and wraps nothing. t are the tools.
(function (k, t) {
  "use strict";

  const { registry, start } = t;
  const n = k.sending.names;
  const functions = { ...k.sending.functions, ...k.receiving.functions };
  const MOST_ROWS = 1000;
  const QUICK = 2000; // ms for what the page has at hand

  // Stop ends what is under way with one of the codes of rpc.SendError, or "late", or
  // "unknown".
  class Stop {
    constructor(code, more) {
      Object.assign(this, { code }, more);
    }
  }

  // resolve finds what the selectors name, and the object that it belongs to.
  function resolve(name, known = registry()) {
    for (const source of functions[name].from || []) {
      try {
        let owner;
        let value = start(source, known);
        for (const step of source.path ? source.path.split(".") : []) [owner, value] = [value, value[step]];
        if (value !== undefined && value !== null) return { owner, value };
      } catch {
        // The next source may do.
      }
    }
    return {};
  }

  const gone = (name) => new Stop("page_path_gone", { name });
  const callable = (name) => typeof resolve(name).value === "function";

  // A task remembers the function that it called last: a TypeError means that this one
  // has changed.
  function task(ms) {
    const end = performance.now() + ms;
    const work = {
      last: "",
      late: () => performance.now() >= end,
      call(name, ...args) {
        const { owner, value } = resolve(name);
        work.last = name;
        if (typeof value !== "function") throw gone(name);
        return Reflect.apply(value, owner, args);
      },
      // model asks a collection for the model of an address or a key.
      model(name, id) {
        const { value } = resolve(name);
        work.last = name;
        if (!value || typeof value[n.get] !== "function") throw gone(name);
        return id ? value[n.get](id) || undefined : undefined;
      },
      wait: (promise) => within(promise, end - performance.now()),
      async ask(name, ...args) {
        return work.wait(work.call(name, ...args));
      },
    };
    return work;
  }

  function within(promise, ms) {
    let timer;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Stop("late")), Math.max(0, ms));
    });
    return Promise.race([promise, late]).finally(() => clearTimeout(timer));
  }

  // isTypeError reports whether an error means that a function has changed. Those of fetch are about
  // the connection, also when a navigation ends it.
  const isTypeError = (error) => error instanceof TypeError && error.message !== "Failed to fetch";

  // carry returns what do returns, or what it was stopped by.
  async function carry(ms, act) {
    const work = task(ms);
    try {
      return await act(work);
    } catch (error) {
      if (error instanceof Stop) return { code: error.code, name: error.name, until: error.until, last: work.last };
      return { code: isTypeError(error) ? "page_path_gone" : "lookup_failed", name: work.last };
    }
  }

  // text is that of an address; wid may be anything.
  function text(wid) {
    if (wid === undefined || wid === null) return "";
    const own = wid[n.wid_text];
    return (typeof own === "string" ? own : String(wid)).slice(0, 100);
  }

  async function maybe(work, name, ...args) {
    const before = work.last;
    try {
      return (await within(work.call(name, ...args), QUICK)) || undefined;
    } catch {
      return undefined; // The page does not know it.
    } finally {
      work.last = before;
    }
  }

  // identify returns the addresses that are known of the one behind an address.
  async function identify(work, address) {
    const wid = typeof address === "string" ? work.call("wid", address) : address;
    if (!wid) throw gone("wid");
    const at = text(wid);
    if (at.endsWith("@g.us")) return { group: wid };
    if (at.endsWith("@lid")) return { lid: wid, phone: await maybe(work, "phone_of", wid) };
    return { phone: wid, lid: await maybe(work, "lid_of", wid) };
  }

  const addresses = (who) => [who.phone, who.lid, who.group].filter(Boolean);
  const named = (who) => ({ phone: text(who.phone), lid: text(who.lid), group: text(who.group) });

  // isKey reports whether a row's key is that of a message: own and id are its parts.
  function isKey(row, id, own) {
    const key = String(row[n.message_id]);
    return (!own || key.startsWith("true_")) && (key.endsWith("_" + id) || key.includes("_" + id + "_"));
  }

  async function rows(work, ids, wid) {
    const found = await work.ask("rows", ids, wid);
    if (!Array.isArray(found)) throw gone("rows");
    return found.slice(0, MOST_ROWS);
  }

  // own returns the account's addresses. Without its number it throws: the LID alone would look like another account.
  async function own(work) {
    const [phone, lid] = [await work.ask("own_phone"), await maybe(work, "own_lid")].map((wid) => text(wid).replace(/:\d+@/, "@"));
    return { phone, lid };
  }

  return { Stop, resolve, gone, callable, task, within, isTypeError, carry, text, maybe, identify, addresses, named, isKey, rows, own };
})
