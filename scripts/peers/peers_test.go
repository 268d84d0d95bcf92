// Package peers is the acceptance test of the simulator: it runs programs that read the
// QR of the real WhatsApp Web, unmodified from npm, and this project's own binaries, on
// the simulator, and compares what they report to their callers with what their sources
// predict for the real page. If they behave differently, the simulator is wrong. Chrome
// finds the simulator under the name web.whatsapp.com; no other name leads anywhere.
package peers

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"session-manager/scripts/harness"
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
			r := &reading{t: t, stage: openStage(t, c.profile)}
			if c.program == ours {
				r.program = startOurs(t, r.stage, binaries.Supervisor)
			} else {
				r.program = startProgram(t, r.stage, c.program, browser.Path)
			}
			defer r.stop()
			if err := c.script(ctx, r); err != nil {
				t.Error(err)
			}
		})
	}
}

// reading is a program that runs on a stage.
type reading struct {
	*stage
	*program
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
	if _, err := r.sim.Shown(ctx); err != nil {
		return "", "", err
	}
	if !r.await(ctx, codeLife+15*time.Second, func(e event) bool { return e.Event == "qr" }) {
		return "", "", fmt.Errorf("no code was published; %s", r.complaint())
	}
	codes := r.values("qr")
	return codes[len(codes)-1], r.sim.OnScreen().Payload, nil
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
	before := len(r.values("qr"))
	screen, err := r.rotate(ctx)
	if err != nil {
		return err
	}
	r.await(ctx, silence, func(event) bool { return len(r.values("qr")) > before })
	codes := r.values("qr")
	last := codes[len(codes)-1]
	r.find(!strings.HasSuffix(screen.Payload, last), "after a new ADV secret: its last qr isn't the page's",
		"%d more; equals the page's: %t", len(codes)-before, strings.HasSuffix(screen.Payload, last))
	return idle(ctx, r)
}

// idle: a code that has run out is published by nobody.
func idle(ctx context.Context, r *reading) error {
	known := r.values("qr")
	dead := r.sim.OnScreen().Payload
	if err := r.expire(ctx); err != nil {
		return err
	}
	r.await(ctx, silence, func(event) bool { return len(r.values("qr")) > len(known) })
	stale := 0
	later := r.values("qr")[len(known):]
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
	if !r.await(ctx, 20*time.Second, func(e event) bool { return e.Event == "authcode" }) {
		return fmt.Errorf("wa-js gave no code; %s", r.complaint())
	}
	code := r.values("authcode")[0]
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
	if _, err := r.sim.Shown(ctx); err != nil {
		return fmt.Errorf("%w; %s", err, r.complaint())
	}
	past := r.await(ctx, 20*time.Second, notLogged)
	if past {
		r.await(ctx, silence, func(e event) bool { return e.Event == "qr" })
	}
	r.find(past, "getInterfaceStatus answers", "status notLogged: %t; %s", past, describeAll(r.values("qr")))
	return nil
}

// hangs: on the pages of today it waits for elements that are gone.
func hangs(ctx context.Context, r *reading) error {
	if _, err := r.sim.Shown(ctx); err != nil {
		return fmt.Errorf("%w; %s", err, r.complaint())
	}
	if !r.await(ctx, 20*time.Second, func(e event) bool { return e.Event == "status" && e.Value == "successPageWhatsapp" }) {
		return fmt.Errorf("it didn't get to the page; %s", r.complaint())
	}
	past := r.await(ctx, silence, notLogged)
	r.find(!past && len(r.values("qr")) == 0, "hangs: catchQR is never called",
		"status notLogged: %t; %s", past, describeAll(r.values("qr")))
	return nil
}

func notLogged(e event) bool { return e.Event == "status" && e.Value == "notLogged" }

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
	followed := r.await(ctx, silence, func(e event) bool { return e.Value == screen.Payload })
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

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
