// The connection to the service: its events, as they come.

// Comments come every 15 s; a connection on which nothing comes is gone.
const silence = 40000;

// EventSource can't send a key, and does not notice that a connection is gone.
const read = async (answer, alive) => {
  const reader = answer.body.getReader();
  const decoder = new TextDecoder();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    alive();
    const blocks = (text + decoder.decode(value, { stream: true })).split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const field = (name) => block.split("\n").find((line) => line.startsWith(name + ": "))?.slice(name.length + 2);
      if (field("event")) happen(field("event"), JSON.parse(field("data")));
    }
  }
};

let failures = 0; // since the last connection
const connect = async () => {
  const aborted = new AbortController();
  let watchdog;
  const alive = () => {
    heardAt = Date.now();
    clearTimeout(watchdog);
    watchdog = setTimeout(() => aborted.abort(), silence);
  };
  try {
    const answer = await api("events?types=state,progress,warnings,qr,worker,passkey", { signal: aborted.signal });
    alive();
    online = true;
    locked = false;
    failures = 0;
    happen("connection", true);
    await read(answer, alive);
  } finally {
    clearTimeout(watchdog);
    aborted.abort();
  }
};

let wake = () => {};
const rest = (ms) => new Promise((done) => (wake = done) && setTimeout(done, ms));
addEventListener("online", () => wake());
addEventListener("visibilitychange", () => wake());

const stay = async () => {
  for (;;) {
    try {
      await connect();
    } catch (error) {
      if (keyProblems.includes(error.code)) {
        locked = true;
        happen("connection", true);
        return;
      }
    }
    // A connection may end, and the next one succeed at once.
    if (++failures > 1 && online) {
      online = false;
      happen("connection", false);
    }
    await rest(Math.min(250 << Math.min(failures, 5), 4000));
  }
};
el("enterKey").addEventListener("click", stay);
stay();
