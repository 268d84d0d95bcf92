package e2e

import (
	"flag"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"session-manager/scripts/harness"
	"session-manager/scripts/simulator"
)

// few is how many processes are killed in each run of the tests.
const few = 2

var kills = flag.Int("kills", few, "how many processes TestKillsAtRandomLoseNoSavedLogin kills")

// engineOfKills are the flags for the engine that costs least, unless many are killed.
func engineOfKills() []string {
	if *kills == few {
		return slices.Clone(light)
	}
	return nil
}

// killer kills what belongs to a service at moments that a seed decides.
type killer struct {
	t      *testing.T
	s      *service
	p      *phone
	tokens string
	args   []string // of the service
	random *rand.Rand
}

// strike ends one of the processes, or all, and starts the service again when it
// was among them.
func (k *killer) strike() {
	k.t.Helper()
	v := k.s.session()
	switch k.random.IntN(4) {
	case 0:
		if v.Browser != nil {
			_ = syscall.Kill(v.Browser.PID, syscall.SIGKILL)
			return
		}
		fallthrough
	case 1:
		if v.Worker.PID != 0 {
			_ = syscall.Kill(v.Worker.PID, syscall.SIGKILL)
			return
		}
		fallthrough
	case 2:
		k.everything(func() {})
	default:
		k.everything(func() {
			if v.Browser != nil {
				_ = syscall.Kill(v.Browser.PID, syscall.SIGKILL)
			}
		})
	}
}

func (k *killer) everything(also func()) {
	k.s.signal(syscall.SIGKILL)
	also()
	k.s.Kill()
	k.s = start(k.t, k.p.URL, k.tokens, k.args...)
}

// pause waits for no event on purpose: the moment is to be any.
func (k *killer) pause(atMost time.Duration) {
	<-time.After(time.Duration(k.random.Int64N(int64(atMost))))
}

// ready waits for READY, and cuts short what the restart policy makes of so
// many deaths. It returns false when the page asks for a scan instead.
func (k *killer) ready() bool {
	k.t.Helper()
	asked := false
	k.s.awaitSession("READY or a QR", func(v harness.Session) bool {
		if v.Status == "ERROR" || v.Status == "INIT" && v.Worker.PID == 0 {
			k.s.command("/session/restart?now=true")
		}
		asked = v.QR != nil
		return v.Status == "READY" || asked
	})
	return !asked
}

// The login counts as on disk when /session has said so: from then on no death of
// anything, at any moment, may cost it. Before, it may. The first seconds after a scan
// are the worst, so each login is hit then, and every other one once more in the middle
// of the start that follows.
func TestKillsAtRandomLoseNoSavedLogin(t *testing.T) {
	t.Parallel()
	needBrowser(t)
	const seed = 7
	// At this speed the first sync takes three seconds.
	p := newPhone(t, simulator.Options{Speed: 4})
	k := &killer{t: t, p: p, args: append(engineOfKills(), "--settle-time", "0s"), random: rand.New(rand.NewPCG(seed, 0))}
	kept, lost := 0, 0
	for n := 0; n < *kills; n++ {
		k.tokens = t.TempDir()
		k.s = start(t, p.URL, k.tokens, k.args...)
		k.s.awaitSession("a QR", func(v harness.Session) bool { return v.QR != nil })
		p.scan(t)
		k.pause(5 * time.Second)
		saved := k.s.login().PersistedAt != nil
		k.strike()
		if n%2 == 0 {
			k.pause(2 * time.Second)
			k.strike()
			n++
		}
		switch linked := k.ready(); {
		case linked && saved:
			kept++
		case !linked && saved:
			t.Fatalf("after kill %d of seed %d the login was lost; session: %s", n, seed, k.s.describe())
		case !linked:
			lost++
		}
		if v := k.s.login(); saved && (v.LostAt != nil || v.RestoredAt != nil || v.Quarantined != "") {
			t.Errorf("it was kept by other means: %+v", v)
		}
		if strings.Contains(k.s.Log(), `"msg":"profile_replaced"`) {
			t.Error("the profile was mistaken for another one")
		}
		k.s.stop()
	}
	t.Logf("%d kills; %d saved logins kept, %d that were not saved lost", *kills, kept, lost)
}
