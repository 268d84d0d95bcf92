// Events and models, in the manner of the page's own.

export class Emitter {
  #listeners = new Map();

  on(name, listener) {
    if (!this.#listeners.has(name)) this.#listeners.set(name, new Set());
    this.#listeners.get(name).add(listener);
    return this;
  }

  off(name, listener) {
    this.#listeners.get(name)?.delete(listener);
    return this;
  }

  once(name, listener) {
    const only = (...args) => {
      this.off(name, only);
      listener(...args);
    };
    return this.on(name, only);
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
    Object.assign(this, attributes);
    for (const name of changed) this.trigger('change:' + name, this, this[name]);
    if (changed.length > 0) this.trigger('change', this);
    return this;
  }

  serialize() {
    return { ...this };
  }
}
