// The module registry: what defines, finds and lazily loads modules.

const modules = Object.create(null);
const waiting = new Set();

function define(id, dependencies, factory, flags) {
  if (modules[id]) return;
  modules[id] = { id, dependencies, factory, flags, exports: {}, defaultExport: null, initialized: false };
  for (const check of [...waiting]) check();
}

function initialize(id) {
  const found = modules[id];
  if (!found) throw new Error(`Requiring unknown module "${id}"`);
  if (!found.initialized) {
    found.initialized = true;
    const module = { exports: found.exports };
    found.factory(globalThis, require, importDefault, importNamespace, requireLazy, module, module.exports);
    found.exports = module.exports;
    found.defaultExport = module.exports.default ?? null;
  }
  return found;
}

function require(id) {
  if (id === '__debug') return { modulesMap: modules };
  const found = initialize(id);
  return found.defaultExport ?? found.exports;
}

function importDefault(id) {
  const found = initialize(id);
  return found.defaultExport ?? found.exports;
}

// A module that is a function has it as the default export of its namespace.
function importNamespace(id) {
  const found = initialize(id);
  found.namespace ??= typeof found.exports === 'function' ? { ...found.exports, default: found.exports } : found.exports;
  return found.namespace;
}

function requireLazy(ids, callback) {
  const check = () => {
    if (!ids.every((id) => modules[id])) return;
    waiting.delete(check);
    callback(...ids.map((id) => importDefault(id)));
  };
  waiting.add(check);
  check();
}

/** Offers the registry to whoever looks for it. */
export function installRegistry() {
  Object.assign(window, { __d: define, require, importDefault, importNamespace, requireLazy });
  // wa-js switches the guard off around each of its probes, through the global.
  window.ErrorGuard = {
    skipGuardGlobal() {}, applyWithGuard: (f, self, args) => f.apply(self, args), inGuard: () => false,
  };
  define('ErrorGuard', [], (g, r, d, n, l, module) => { module.exports = { default: window.ErrorGuard }; }, 98);
  define('Bootloader', [], (g, r, d, n, l, module) => {
    module.exports = { default: { loadModules: requireLazy } };
  }, 98);
}

/** Defines a module from its exports. */
export function offer(id, exports) {
  window.__d?.(id, [], (g, r, d, n, l, module) => { module.exports = exports; }, 98);
}
