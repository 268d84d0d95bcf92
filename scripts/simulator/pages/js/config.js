// What the server has configured for this page, and the clock that it runs on.

const config = JSON.parse(document.querySelector('script[type="application/json"]').textContent);

export const { profile, build, autologout } = config;

/** The switch of that name, or null. */
export function fault(name) {
  return config.faults[name] ?? null;
}

/** Whether the switch has this value. */
export function faultIs(name, value) {
  return fault(name)?.value === value;
}

/** Whether the bare switch is on. */
export function faultOn(name) {
  return fault(name) !== null;
}

/** A real duration for an imitated one, both in milliseconds. */
export function scaled(ms) {
  return ms / config.speed;
}

/** Resolves after a real duration. */
export function wait(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Runs do after an imitated duration. Returns what clearTimeout needs. */
export function after(ms, run) {
  return setTimeout(run, scaled(ms));
}
