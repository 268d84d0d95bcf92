package e2e

import (
	"context"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"session-manager/scripts/harness"
	"session-manager/scripts/simulator"
)

// Variants of the page by what the cheapest reader needs of them.
var (
	// withAttribute carry the string in the attribute that is known.
	withAttribute = []string{
		"2022", "2024", "2026-04", "2026-08", "sixth-field", "two-canvases", "dark", "inverted", "logo", "late", "small",
		"es", "pt", "de", "ar",
	}
	// withModules offer the modules, and a string of the known five fields. Its picture is
	// on the screen, wherever it is in the document.
	withModules = []string{
		"2026-04", "2026-08", "no-data-ref", "empty-data-ref", "svg", "img", "iframe", "open-shadow", "closed-shadow",
		"two-canvases", "dark", "inverted", "logo", "late", "small", "es", "pt", "de", "ar",
	}
	// withImage show a code that a program can copy out of the page.
	withImage = []string{"inverted",
		"2022", "2024", "2026-04", "2026-08", "no-data-ref", "empty-data-ref", "other-attribute", "svg", "img", "iframe", "open-shadow",
		"closed-shadow", "two-canvases", "sixth-field", "image-only", "dark", "inverted", "logo", "late", "small", "ar", "renamed",
	}
)

// each is what a reader is tested with: it serves each variant of the page, with a number of
// rotations.
type each struct {
	reader    string
	variants  []string
	rotations int
}

// TestEachReaderServesEveryVariant has one service for all readers, unless it is thorough.
func TestEachReaderServesEveryVariant(t *testing.T) {
	needBrowser(t)
	all := []each{
		{"dom", withAttribute, 7}, {"modules", withModules, 5}, {"image", withImage, 1}, {"screenshot", withImage, 1},
	}
	if *thorough {
		for _, one := range all {
			t.Run(one.reader, func(t *testing.T) {
				t.Parallel()
				readersServe(t, one)
			})
		}
		return
	}
	t.Parallel()
	readersServe(t, // the tests of the worker's page have others; after a fourth reload the page counts as one that reloads itself
		each{"dom", []string{"late"}, 2},
		each{"modules", []string{"no-data-ref"}, 2},
		each{"image", []string{"inverted"}, 1},
		each{"screenshot", []string{"closed-shadow"}, 1},
	)
}

// readersServe reads the variants through one service.
func readersServe(t *testing.T, all ...each) {
	p := newPhone(t, simulator.Options{Speed: 5, Profile: all[0].variants[0]})
	file := filepath.Join(t.TempDir(), "selectors.json")
	useReaders(t, file, all[0].reader)
	s := start(t, p.URL, t.TempDir(), "--selectors", file)
	w := witness(t, p)
	for n, one := range all {
		if n > 0 {
			useReaders(t, file, one.reader)
		}
		for i, variant := range one.variants {
			if n+i > 0 {
				p.turnInto(t, variant)
			}
			if i == 0 {
				s.awaitSession("a QR by "+one.reader, func(v harness.Session) bool { return v.QR != nil && v.QR.Reader == one.reader })
			}
			r := readAtRandom(t, s)
			for range one.rotations {
				served := s.awaitNewQR()
				if qr := s.session().QR; qr != nil && qr.Reader != one.reader {
					t.Fatalf("%s: read by %s, not %s", variant, qr.Reader, one.reader)
				}
				w.mustShow(t, variant, served)
				if err := p.RotateADV(); err != nil {
					t.Fatalf("%s: %v", variant, err)
				}
			}
			s.awaitNewQR()
			r.end()
			w.mustHaveShown(t, variant, r.reads)
		}
	}
	s.stop()
	w.mustNotBeIn(t, s.Log())
}

// useReaders writes a selectors file in which only these readers are left.
func useReaders(t *testing.T, file string, readers ...string) {
	t.Helper()
	if err := harness.WriteSelectors(t.Context(), file, readers...); err != nil {
		t.Fatal(err)
	}
}

// turnInto makes the page another one, as an update of WhatsApp's would.
func (p *phone) turnInto(t *testing.T, variant string) {
	t.Helper()
	if err := p.SetProfile(variant); err != nil {
		t.Fatal(err)
	}
	before := p.OnScreen().Load
	if err := p.Order(simulator.Reload); err != nil {
		t.Fatal(err)
	}
	if err := p.Await(within(t), func(c simulator.Screen) bool { return c.Load > before && c.Offered != "" }); err != nil {
		t.Fatalf("%s: %v", variant, err)
	}
}

// span is a time during which a code was on the screen.
type span struct {
	payload     string
	from, until time.Time // until is zero while it lasts
}

// screenLog remembers what was on the screen, by the page's own report.
type screenLog struct {
	mu    sync.Mutex
	spans []span
	// changed is closed and replaced at each report.
	changed chan struct{}
}

func witness(t *testing.T, p *phone) *screenLog {
	w := &screenLog{changed: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = p.Await(ctx, func(c simulator.Screen) bool {
			w.note(c)
			return false
		})
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return w
}

func (w *screenLog) note(c simulator.Screen) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	var shown []string
	if c.State == "UNPAIRED" && c.Overlay != "idle" && c.Overlay != "offline" {
		shown = []string{c.Payload, c.Offered}
	}
	for i := range w.spans {
		if w.spans[i].until.IsZero() && !slices.Contains(shown, w.spans[i].payload) {
			w.spans[i].until = now
		}
	}
	for _, payload := range shown {
		open := func(s span) bool { return s.payload == payload && s.until.IsZero() }
		if payload != "" && !slices.ContainsFunc(w.spans, open) {
			w.spans = append(w.spans, span{payload: payload, from: now})
		}
	}
	close(w.changed)
	w.changed = make(chan struct{})
}

// mustShow waits until the page has said that it shows the code: its report and
// the product's take different ways.
func (w *screenLog) mustShow(t *testing.T, variant, payload string) {
	t.Helper()
	ctx := within(t)
	for {
		w.mu.Lock()
		seen := slices.ContainsFunc(w.spans, func(s span) bool { return s.payload == payload })
		changed := w.changed
		w.mu.Unlock()
		if seen {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("%s: a code is served that the page has never shown", variant)
		}
	}
}

// longestLag is how long a code may be served that has left the screen, by
// the slowest reader on a machine that has more to do; how long it takes is for the
// benchmark to say.
const longestLag = 10 * time.Second

// mustHaveShown wants what was served to have been on the screen not long before, and
// no code again after its successor.
func (w *screenLog) mustHaveShown(t *testing.T, variant string, reads []read) {
	t.Helper()
	var newest time.Time
	for _, r := range reads {
		from := w.from(r.payload)
		switch late := w.lateness(r); {
		case late > longestLag:
			t.Errorf("%s: served a code %v after it had left the screen", variant, late)
			return
		case from.Before(newest):
			t.Errorf("%s: served a code again after its successor", variant)
			return
		}
		newest = from
	}
}

// mustNotBeIn wants no part of what was shown to be in the log.
func (w *screenLog) mustNotBeIn(t *testing.T, log string) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	parts := 0
	for _, s := range w.spans {
		for field := range strings.SplitSeq(strings.TrimPrefix(s.payload, "https://wa.me/settings/linked_devices#"), ",") {
			if len(field) <= 8 {
				continue
			}
			if parts++; strings.Contains(log, field) {
				t.Error("a part of a QR payload is in the log")
			}
		}
	}
	if parts == 0 {
		t.Error("no payload was looked for")
	}
}

// from is when a code appeared on the screen.
func (w *screenLog) from(payload string) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := slices.IndexFunc(w.spans, func(s span) bool { return s.payload == payload })
	if i < 0 {
		return time.Time{}
	}
	return w.spans[i].from
}

// lateness is how long before it was read the code had left the screen.
func (w *screenLog) lateness(r read) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	late := time.Duration(math.MaxInt64) // it never was there
	for _, s := range w.spans {
		switch {
		case s.payload != r.payload:
		case s.until.IsZero():
			return 0
		default:
			late = min(late, r.at.Sub(s.until))
		}
	}
	return late
}

// read is one answer of /qr that held a code.
type read struct {
	payload string
	at      time.Time // when it was asked for
}

// reader asks for /qr at random moments.
type reader struct {
	stop  context.CancelFunc
	done  chan struct{}
	reads []read // valid once done is closed
}

func readAtRandom(t *testing.T, s *service) *reader {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &reader{stop: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		known := map[string]string{}
		for ctx.Err() == nil {
			at := time.Now()
			body, err := s.Get(ctx, "/qr")
			if err != nil {
				continue
			}
			if payload, ok := known[body]; ok {
				r.reads = append(r.reads, read{payload, at})
			} else if png, err := harness.PNG(body); err == nil && png != nil {
				known[body] = scan(t, png)
				r.reads = append(r.reads, read{known[body], at})
			} else if err != nil {
				t.Error(err)
			}
			select {
			case <-ctx.Done():
			case <-time.After(rand.N(50 * time.Millisecond)):
			}
		}
	}()
	t.Cleanup(r.end)
	return r
}

func (r *reader) end() {
	r.stop()
	<-r.done
}
