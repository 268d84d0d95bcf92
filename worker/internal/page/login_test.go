package page

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"session-manager/scripts/simulator"
	"session-manager/shared/reason"
	"session-manager/shared/rpc"
)

// reconnect cuts the page's connection, so that it has to log in again.
func (r *rig) reconnect() {
	r.sim.DropNetwork()
	r.awaitScreen(func(s simulator.Screen) bool { return s.State == "OPENING" })
	r.sim.RestoreNetwork()
}

// conditions returns those that were reported after the mark.
func (r *rig) conditions(mark int) []rpc.PageObserved {
	events, _ := r.events.all()
	var list []rpc.PageObserved
	for _, e := range events[mark:] {
		if o, ok := e.body.(rpc.PageObserved); ok {
			list = append(list, o)
		}
	}
	return list
}

func TestRefusedLoginIsNeverReady(t *testing.T) {
	t.Parallel()
	r := open(t, simulator.Options{Speed: 5}, eager)
	mark := r.link()
	if err := r.sim.SetFault("500"); err != nil {
		t.Fatal(err)
	}
	r.reconnect()
	_, mark = r.awaitReason(mark, reason.LoginRefused)
	// It stays so over reloads and for more attempts than it took.
	if err := r.sim.Order(simulator.Reload); err != nil {
		t.Fatal(err)
	}
	time.Sleep(3 * time.Second)
	for _, o := range r.conditions(mark) {
		if o.Condition != rpc.PageDisconnected && o.Condition != rpc.PageLoading || o.Condition == rpc.PageDisconnected && o.Reason != reason.LoginRefused {
			t.Errorf("reported %+v", o)
		}
	}
	events, _ := r.events.all()
	r.sim.ClearFaults()
	r.awaitCondition(len(events), rpc.PageReady)
}

func TestRefusedFirstLoginIsNotSyncing(t *testing.T) {
	t.Parallel()
	r := open(t, simulator.Options{Speed: 5}, eager)
	_, mark := r.awaitCode(0)
	if _, err := r.sim.Shown(r.context()); err != nil {
		t.Fatal(err)
	}
	if err := r.sim.SetFault("500"); err != nil {
		t.Fatal(err)
	}
	if err := r.sim.Scan(r.context()); err != nil {
		t.Fatal(err)
	}
	_, mark = r.awaitReason(mark, reason.LoginRefused)
	for _, o := range r.conditions(0) {
		if o.Reason == reason.Syncing {
			t.Errorf("reported %+v", o)
		}
	}
	r.sim.ClearFaults()
	_, mark = r.awaitReason(mark, reason.Syncing)
	if err := r.sim.SetFault("500"); err != nil {
		t.Fatal(err)
	}
	_, mark = r.awaitReason(mark, reason.LoginRefused)
	r.sim.ClearFaults()
	r.awaitCondition(mark, rpc.PageReady)
}

func TestPageThatReloadsItselfIsReportedSo(t *testing.T) {
	t.Parallel()
	type reloading struct {
		fault  string
		linked bool
		want   rpc.Condition
	}
	for _, tc := range first([]reloading{
		{"405", false, rpc.PageUnlinked},
		{"409", true, rpc.PageDisconnected},
		{"409", false, rpc.PageUnlinked},
		{"405", true, rpc.PageDisconnected},
	}, 2) {
		t.Run(tc.fault+" "+string(tc.want), func(t *testing.T) {
			t.Parallel()
			// The page is faster than it has to be, as a busy machine delays it.
			r := open(t, simulator.Options{Speed: 10}, eager)
			_, mark := r.awaitCode(0)
			if tc.linked {
				mark = r.link()
			}
			if err := r.sim.SetFault(tc.fault); err != nil {
				t.Fatal(err)
			}
			if err := r.sim.Order(simulator.Reload); err != nil {
				t.Fatal(err)
			}
			o, mark := r.awaitReason(mark, reason.PageReloading)
			if o.Condition != tc.want {
				t.Errorf("reported %+v", o)
			}
			loads := r.sim.OnScreen().Load
			r.awaitScreen(func(s simulator.Screen) bool { return s.Load > loads+4 })
			for _, o := range r.conditions(mark) {
				if o.Condition != tc.want || o.Reason != reason.PageReloading {
					t.Errorf("reported %+v", o)
				}
			}
			events, _ := r.events.all()
			r.sim.ClearFaults()
			if tc.linked {
				r.awaitCondition(len(events), rpc.PageReady)
			} else {
				r.awaitCode(len(events))
			}
		})
	}
}

// TestPageThatReloadsItselfOnceStaysReady has the session opened elsewhere in the end.
func TestPageThatReloadsItselfOnceStaysReady(t *testing.T) {
	t.Parallel()
	r := open(t, simulator.Options{Speed: 5, Faults: []string{"reload=canonical"}}, eager)
	mark := r.link()
	for _, o := range r.conditions(0) {
		if o.Condition == rpc.PageDisconnected || o.Reason == reason.PageReloading {
			t.Errorf("reported %+v", o)
		}
	}
	if load := r.sim.OnScreen().Load; load != 2 {
		t.Errorf("the page was loaded %d times", load)
	}
	if err := r.sim.Order(simulator.Reload); err != nil {
		t.Fatal(err)
	}
	r.awaitScreen(func(s simulator.Screen) bool { return s.Load == 3 && s.Name == "MAIN" })
	for _, o := range r.conditions(mark) {
		if o.Condition != rpc.PageReady && o.Condition != rpc.PageLoading && o.Condition != rpc.PageSyncing {
			t.Errorf("reported %+v", o)
		}
	}
	events, _ := r.events.all()
	check(t, r.sim.Replace())
	r.awaitReason(len(events), reason.Conflict)
}

// pretender is a page that looks linked and ready, whose modules answer what the script
// makes of the object socket.
func pretender(t *testing.T, script string) string {
	t.Helper()
	return `<!doctype html><body><div id="app"><div id="side">Chats</div></div><script>
		` + storeLogin(t) + `
		const listeners = [];
		const socket = { state: "CONNECTED", stream: "CONNECTED", hasSynced: true, on(_, f) { listeners.push(f) } };
		const changed = () => listeners.forEach((f) => f());
		window.importNamespace = window.require = (name) => ({ Socket: socket });
		const getter = (name, get) => Object.defineProperty(socket, name, { get });
		const any = (...of) => of[Math.floor(Math.random() * of.length)];
		` + script + `</script>`
}

// lasting is how long a page is watched: for a quarter of the time without -thorough.
func lasting(d time.Duration) time.Duration {
	if *thorough {
		return d
	}
	return d / 4
}

// counted counts the log lines with an id, or without one those that somebody reads.
type counted struct {
	slog.Handler
	lines *atomic.Int64
	id    string
}

func (c counted) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == c.id || c.id == "" && r.Level >= slog.LevelInfo {
		c.lines.Add(1)
	}
	return c.Handler.Handle(ctx, r)
}

func TestErraticPageIsNeverReady(t *testing.T) {
	t.Parallel()
	for _, tc := range first([]struct{ name, script string }{
		{"state", `setInterval(() => { socket.state = any("CONNECTED", "OPENING", "UNPAIRED", "CONFLICT", "SCREEN_LOCKED", "TOS_BLOCK"); changed() }, 5)`},
		{"all answers", `for (const n of ["state", "stream", "hasSynced"]) getter(n, () => any("CONNECTED", "DISCONNECTED", "OPENING", "NEW", undefined, null, {}, 1))`},
		{"stream, without an event", `setInterval(() => { socket.stream = socket.stream === "CONNECTED" ? "DISCONNECTED" : "CONNECTED" }, 5)`},
		{"errors", `getter("stream", () => { if (any(true, false)) throw new Error("x".repeat(1e6)); return "DISCONNECTED" })`},
		{"texts without end", `getter("stream", () => "CONNECTED".repeat(1e5)); setInterval(() => { document.querySelector("#side").remove() }, 1)`},
		{"stream", `setInterval(() => { socket.stream = socket.stream === "CONNECTED" ? "DISCONNECTED" : "CONNECTED"; changed() }, 5)`},
		{"each answer", `getter("stream", () => any("CONNECTED", "DISCONNECTED", "SYNCING", "NEW"))`},
		{"errors of the state", `getter("state", () => { if (any(true, false)) throw socket; return any("OPENING", "CONNECTED") }); getter("stream", () => any("CONNECTED", "DISCONNECTED"))`},
	}, 2) {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			lines := new(atomic.Int64)
			r := openPlain(t, pretender(t, tc.script), hurried, func(o *Options) {
				o.Timings.Classify.Repeat = 0
				o.Logger = slog.New(counted{o.Logger.Handler(), lines, ""})
			})
			_, mark := r.await(0, "an observation", func(b rpc.EventBody) bool { _, ok := b.(rpc.PageObserved); return ok })
			time.Sleep(lasting(8 * time.Second))
			seen := r.conditions(0)
			for _, o := range seen {
				if o.Condition == rpc.PageReady {
					t.Errorf("reported %+v", o)
				}
			}
			most := map[bool]int{true: 60, false: 20}[*thorough] // without a limit the first case has 11 in a second
			if n := len(r.conditions(mark)); n > most {
				t.Errorf("%d reports", n)
			}
			if n := lines.Load(); n > 40 {
				t.Errorf("%d log lines", n)
			}
			if age := r.page.MainThreadAge(); age < 0 || age > inTime {
				t.Errorf("the page was last observed %v ago", age)
			}
		})
	}
}

func TestPageThatReloadsItselfAtSpeedIsReported(t *testing.T) {
	t.Parallel()
	for _, tc := range first([]struct{ name, script string }{
		{"when it is looked at", `getter("stream", () => { location.reload(); return "CONNECTED" })`},
		{"with a code", `document.body.innerHTML = '` + codeOf(t, payloadOf("ReloadsItself")) + `'; localStorage.clear(); setTimeout(() => location.reload(), 300)`},
		{"at once", `location.reload()`},
		{"by another address", `location.href = "?" + Math.random()`},
		{"when it was drawn", `requestAnimationFrame(() => location.reload())`},
		{"ten times in a second", `setTimeout(() => location.reload(), 100)`},
	}, 2) {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			lines := new(atomic.Int64)
			r := openPlain(t, pretender(t, tc.script), hurried, func(o *Options) {
				o.Timings.Classify.Repeat = 0
				o.Logger = slog.New(counted{o.Logger.Handler(), lines, ""})
			})
			_, mark := r.awaitReason(0, reason.PageReloading)
			time.Sleep(lasting(4 * time.Second))
			for _, o := range r.conditions(mark) {
				if o.Reason != reason.PageReloading {
					t.Errorf("reported %+v", o)
				}
			}
			if all := len(r.conditions(0)); all > 15 {
				t.Errorf("%d reports", all)
			}
			if n := lines.Load(); n > 15 {
				t.Errorf("%d log lines", n)
			}
		})
	}
}
