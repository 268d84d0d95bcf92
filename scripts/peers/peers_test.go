package peers

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"session-manager/scripts/harness"
	"session-manager/scripts/simulator"
	"session-manager/shared/chrome"
)

var installed = flag.Bool("peers", false, "run the programs, which npm has put into .cache (make peers)")

const (
	// limit is how long one program may take.
	limit = 150 * time.Second
	// silence is how long a program says nothing before it counts as silent. Each of them
	// looks at the page at least every five seconds.
	silence = 8 * time.Second
	// codeLife is the life of the first code. A program that missed it sees the second, as
	// wppconnect does when it asks while the page's stored values can't be read yet.
	codeLife = 60 * time.Second
)

// ours is the name of this project among the programs.
const ours = "session-manager"

func TestProgramsSeeWhatTheirSourcesPredict(t *testing.T) {
	if !*installed {
		t.Skip("make peers installs and runs the programs")
	}
	binaries, err := harness.Build(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	browser, err := chrome.Find("")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		program, profile string
		script           func(context.Context, *reading) error
	}{
		{"whatsapp-web.js", "2024", fiveFields},
		{"whatsapp-web.js", "2026-04", fiveFields},
		{"whatsapp-web.js", "2026-08", fiveFieldsThenStale},
		{"wppconnect", "2026-04", attribute},
		{"wppconnect", "2026-08", attributeThenIdle},
		{"venom", "2022", getsPast},
		{"venom", "2024", getsPast},
		{"venom", "2026-04", hangs},
		{"venom", "2026-08", hangs},
		{ours, "2026-04", whole},
		{ours, "2026-08", whole},
	} {
		t.Run(c.program+" on "+c.profile, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			stage, err := OpenStage(simulator.Options{Profile: c.profile})
			if err != nil {
				t.Fatal(err)
			}
			defer stage.Close()
			r := &reading{t: t, Stage: stage}
			if c.program == ours {
				r.Program, err = startOurs(ctx, stage, binaries.Supervisor)
			} else {
				r.Program, err = stage.Start(ctx, ".", c.program, browser.Path)
			}
			if err != nil {
				t.Fatal(err)
			}
			defer r.Stop()
			if err := c.script(ctx, r); err != nil {
				t.Error(err)
			}
		})
	}
}

// reading is a program that runs on a stage.
type reading struct {
	*Stage
	*Program
	t *testing.T
}

// find reports whether a prediction held. Neither text holds a QR payload.
func (r *reading) find(holds bool, predicted, format string, args ...any) {
	r.t.Helper()
	observed := fmt.Sprintf(format, args...)
	if r.t.Logf("predicted: %s; observed: %s", predicted, observed); !holds {
		r.t.Errorf("not as predicted: %s", predicted)
	}
}

// firstCode waits until the program has published a code and the page shows one,
// and returns both.
func (r *reading) firstCode(ctx context.Context) (published, shown string, err error) {
	if _, err := r.Sim.Shown(ctx); err != nil {
		return "", "", err
	}
	if !r.Await(ctx, codeLife+15*time.Second, func(e Event) bool { return e.Name == "qr" }) {
		return "", "", fmt.Errorf("no code was published; %s", r.Complaint())
	}
	codes := r.Values("qr")
	return codes[len(codes)-1], r.Sim.OnScreen().Payload, nil
}

// fiveFields: whatsapp-web.js assembles the payload from the page's modules.
func fiveFields(ctx context.Context, r *reading) error {
	published, shown, err := r.firstCode(ctx)
	if err != nil {
		return err
	}
	_, bare, _ := strings.Cut(shown, "#")
	if bare == "" {
		bare = shown
	}
	r.find(fields(published) == 5 && !prefixed(published) && published == bare,
		"qr: the page's five fields, no prefix", "%s; the page's string without prefix: %t", describe(published), published == bare)
	return nil
}

// fiveFieldsThenStale: it follows the ref alone, and nothing renews the list.
func fiveFieldsThenStale(ctx context.Context, r *reading) error {
	if err := fiveFields(ctx, r); err != nil {
		return err
	}
	before := len(r.Values("qr"))
	screen, err := r.rotate(ctx)
	if err != nil {
		return err
	}
	r.Await(ctx, silence, func(Event) bool { return len(r.Values("qr")) > before })
	codes := r.Values("qr")
	last := codes[len(codes)-1]
	r.find(!strings.HasSuffix(screen.Payload, last), "after a new ADV secret: its last qr isn't the page's",
		"%d more; equals the page's: %t", len(codes)-before, strings.HasSuffix(screen.Payload, last))
	return idle(ctx, r)
}

// idle: a code that has run out is published by nobody.
func idle(ctx context.Context, r *reading) error {
	known := r.Values("qr")
	dead := r.Sim.OnScreen().Payload
	if err := r.expire(ctx); err != nil {
		return err
	}
	r.Await(ctx, silence, func(Event) bool { return len(r.Values("qr")) > len(known) })
	stale := 0
	later := r.Values("qr")[len(known):]
	for _, code := range later {
		if code != "" && (strings.HasSuffix(dead, code) || slices.Contains(known, code)) {
			stale++
		}
	}
	r.find(stale == 0, "after idle: no dead code is published", "%d more, %d of them dead", len(later), stale)
	return nil
}

// attribute: wppconnect reads the attribute; wa-js, which comes with it, assembles
// its own payload.
func attribute(ctx context.Context, r *reading) error {
	published, shown, err := r.firstCode(ctx)
	if err != nil {
		return err
	}
	r.find(published == shown, "catchQR: the attribute, whole", "%s; equals the attribute: %t", describe(published), published == shown)
	if !r.Await(ctx, 20*time.Second, func(e Event) bool { return e.Name == "authcode" }) {
		return fmt.Errorf("wa-js gave no code; %s", r.Complaint())
	}
	code := r.Values("authcode")[0]
	r.find(fields(code) == 4 && !prefixed(code), "wa-js getAuthCode: four fields, no prefix", "%s", describe(code))
	return nil
}

func attributeThenIdle(ctx context.Context, r *reading) error {
	if err := attribute(ctx, r); err != nil {
		return err
	}
	return idle(ctx, r)
}

// getsPast: on the pages of its time venom finds that nobody is logged in.
func getsPast(ctx context.Context, r *reading) error {
	if _, err := r.Sim.Shown(ctx); err != nil {
		return fmt.Errorf("%w; %s", err, r.Complaint())
	}
	past := r.Await(ctx, 20*time.Second, notLogged)
	if past {
		r.Await(ctx, silence, func(e Event) bool { return e.Name == "qr" })
	}
	r.find(past, "getInterfaceStatus answers", "status notLogged: %t; %s", past, describeAll(r.Values("qr")))
	return nil
}

// hangs: on the pages of today it waits for elements that are gone.
func hangs(ctx context.Context, r *reading) error {
	if _, err := r.Sim.Shown(ctx); err != nil {
		return fmt.Errorf("%w; %s", err, r.Complaint())
	}
	if !r.Await(ctx, 20*time.Second, func(e Event) bool { return e.Name == "status" && e.Value == "successPageWhatsapp" }) {
		return fmt.Errorf("it didn't get to the page; %s", r.Complaint())
	}
	past := r.Await(ctx, silence, notLogged)
	r.find(!past && len(r.Values("qr")) == 0, "hangs: catchQR is never called",
		"status notLogged: %t; %s", past, describeAll(r.Values("qr")))
	return nil
}

func notLogged(e Event) bool { return e.Name == "status" && e.Value == "notLogged" }

// whole: our own binaries follow what is on the screen.
func whole(ctx context.Context, r *reading) error {
	published, shown, err := r.firstCode(ctx)
	if err != nil {
		return err
	}
	r.find(published == shown && prefixed(published), "/qr: the page's string, prefix and all",
		"%s; equals the attribute: %t", describe(published), published == shown)
	screen, err := r.rotate(ctx)
	if err != nil {
		return err
	}
	followed := r.Await(ctx, silence, func(e Event) bool { return e.Value == screen.Payload })
	r.find(followed, "after a new ADV secret: /qr is the page's", "equals the attribute: %t", followed)
	return idle(ctx, r)
}

func fields(payload string) int {
	if payload == "" {
		return 0
	}
	return strings.Count(payload, ",") + 1
}

func prefixed(payload string) bool { return strings.HasPrefix(payload, "http") }

// describe reports what a QR payload looks like.
func describe(payload string) string {
	prefix := "no prefix"
	if prefixed(payload) {
		prefix = "prefix"
	}
	return fmt.Sprintf("%d fields, %s", fields(payload), prefix)
}

func describeAll(codes []string) string {
	if len(codes) == 0 {
		return "no qr"
	}
	return fmt.Sprintf("%d qr, the last with %s", len(codes), describe(codes[len(codes)-1]))
}

// startOurs runs the supervisor, and reports each QR that it serves as the others
// report theirs. The image is decoded, since what counts is what a phone would read.
func startOurs(ctx context.Context, s *Stage, supervisor string) (*Program, error) {
	var args []string
	for _, arg := range s.ChromeArgs() {
		args = append(args, "--chrome-arg="+arg)
	}
	service, err := harness.Start(ctx, harness.Options{Supervisor: supervisor, Folder: s.Folder, Args: args})
	if err != nil {
		return nil, err
	}
	asking, cancel := context.WithCancel(ctx)
	p := &Program{changed: make(chan struct{})}
	var loop sync.WaitGroup
	loop.Go(func() {
		for last := ""; ; {
			body, png, err := service.NextQR(asking, last)
			if err != nil {
				return
			}
			last = body
			if payload, err := harness.Decode(png); err == nil {
				p.record(Event{Name: "qr", Value: payload}, false)
			}
		}
	})
	p.Stop = func() {
		cancel()
		loop.Wait()
		_ = service.Stop()
	}
	return p, nil
}

// rotate makes the page draw another ADV secret under the same ref, and returns what
// it shows then.
func (r *reading) rotate(ctx context.Context) (simulator.Screen, error) {
	before := r.Sim.OnScreen()
	if err := r.Sim.RotateADV(); err != nil {
		return before, err
	}
	var after simulator.Screen
	err := r.Sim.Await(ctx, func(c simulator.Screen) bool {
		after = c
		return c.Visible && c.Payload != before.Payload
	})
	if err == nil && after.Ref != before.Ref {
		err = errors.New("the ref has changed with the secret")
	}
	return after, err
}

// expire makes the list of codes run out, and returns when the page shows it.
func (r *reading) expire(ctx context.Context) error {
	if err := r.Sim.ExpireNow(); err != nil {
		return err
	}
	return r.Sim.Await(ctx, func(c simulator.Screen) bool { return c.Overlay == "idle" || c.State != "UNPAIRED" })
}
