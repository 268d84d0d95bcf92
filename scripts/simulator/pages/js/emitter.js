// Events and models, in the manner of the page's own.

export class Emitter {
  #listeners = new Map();

  // Several names can be given at once, separated by spaces.
  on(names, listener) {
    for (const name of names.split(' ')) {
      if (!this.#listeners.has(name)) this.#listeners.set(name, new Set());
      this.#listeners.get(name).add(listener);
    }
    return this;
  }

  off(names, listener) {
    for (const name of names.split(' ')) this.#listeners.get(name)?.delete(listener);
    return this;
  }

  once(name, listener) {
    const only = (...args) => {
      this.off(name, only);
      listener(...args);
    };
    return this.on(name, only);
  }

  /** Drops all listeners. */
  forget() {
    this.#listeners.clear();
  }

  trigger(name, ...args) {
    for (const listener of [...(this.#listeners.get(name) ?? [])]) listener(...args);
    return this;
  }
}

/** A bag of attributes that triggers change:name, then change, when one changes. */
export class Model extends Emitter {
  constructor(attributes) {
    super();
    Object.assign(this, attributes);
  }

  set(attributes) {
    const changed = Object.keys(attributes).filter((k) => this[k] !== attributes[k]);
    const before = Object.fromEntries(changed.map((name) => [name, this[name]]));
    Object.assign(this, attributes);
    for (const name of changed) this.trigger('change:' + name, this, this[name], before[name]);
    if (changed.length > 0) this.trigger('change', this);
    return this;
  }

  serialize() {
    return { ...this };
  }
}
