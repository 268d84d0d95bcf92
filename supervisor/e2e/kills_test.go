package e2e

import (
	"flag"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"session-manager/scripts/harness"
	"session-manager/scripts/simulator"
)

var kills = flag.Int("kills", 2, "how many processes TestKillsAtRandomLoseNoSavedLogin kills")

// killer kills what belongs to a service at moments that a seed decides.
type killer struct {
	t      *testing.T
	s      *service
	p      *phone
	tokens string
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
	k.s = start(k.t, k.p.URL, k.tokens, "--settle-time", "0s")
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
// anything, at any moment, may cost it. Before, it may; then it is linked again.
func TestKillsAtRandomLoseNoSavedLogin(t *testing.T) {
	t.Parallel()
	needBrowser(t)
	const seed = 7
	tokens := t.TempDir()
	p := newPhone(t, simulator.Options{Speed: 20})
	k := &killer{t: t, p: p, tokens: tokens, random: rand.New(rand.NewPCG(seed, 0))}
	k.s = start(t, p.URL, tokens, "--settle-time", "0s")
	scans, saved := 0, false
	for n := 0; n < *kills; n++ {
		if !k.ready() {
			if saved {
				t.Fatalf("after kill %d of seed %d the login was lost; session: %s", n, seed, k.s.describe())
			}
			scans++
			p.scan(t)
			// The first minute is the worst.
			k.pause(3 * time.Second)
		} else if n%2 == 0 {
			k.pause(time.Second)
		}
		saved = saved || k.s.login().PersistedAt != nil
		k.strike()
		if n%3 == 0 {
			k.pause(2 * time.Second) // and once more in the middle of the start
			k.strike()
			n++
		}
	}
	for !k.ready() {
		if saved {
			t.Fatal("the login was lost")
		}
		saved = true
		p.scan(t)
		k.s.await("READY")
	}
	if v := k.s.login(); v.LostAt != nil || v.RestoredAt != nil || v.Quarantined != "" {
		t.Errorf("it was kept by other means: %+v", v)
	}
	if strings.Contains(k.s.Log(), `"msg":"profile_replaced"`) {
		t.Error("the profile was mistaken for another one")
	}
	t.Logf("%d kills, %d scans", *kills, scans)
}
