package page

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-rod/rod/lib/proto"
	"go.uber.org/goleak"

	"session-manager/scripts/simulator"
	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/shared/selectors"
	"session-manager/worker/internal/browser"
	"session-manager/worker/internal/browser/browsertest"
	"session-manager/worker/internal/page/observe"
)

// chromes are shared by the tests: each opens a page of its own, on an origin of
// its own.
var chromes pool //nolint:gochecknoglobals // what TestMain ends

func TestMain(m *testing.M) {
	// Most tests wait most of the time.
	_ = flag.Set("test.parallel", strconv.Itoa(2*runtime.GOMAXPROCS(0)))
	code := m.Run()
	if err := chromes.close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// thorough is for a machine that has time.
var thorough = flag.Bool("thorough", false, "run every case of each test, not only those that differ most")

// first returns the first n cases, and all with -thorough.
func first[T any](cases []T, n int) []T {
	if *thorough {
		return cases
	}
	return cases[:n]
}

// patience bounds every wait of a test. It is far longer than anything takes.
const patience = 2 * time.Minute

// inTime is how old an observation may be.
const inTime = 20 * time.Second

// rig is a Chrome, a simulator and what the page reported.
type rig struct {
	t       *testing.T
	sim     *simulator.Server
	url     string
	site    *site // if it is what is open
	browser *browser.Browser
	page    *Page
	events  *recorder
	stop    context.CancelFunc
	ended   chan error
}

// fast is as impatient with the page as the simulator's clock at speed 20 asks
// for.
func fast(o *Options) {
	o.Timings.Interval = 500 * time.Millisecond
	o.Timings.Classify.Pace = 5
}

// hasty is as impatient as the simulator is fast at speed 20.
func hasty(o *Options) {
	o.Timings.Interval = 500 * time.Millisecond
	o.Timings.Classify.Pace, o.Timings.Classify.Quiet = 20, 2*time.Second
}

// event is one report, and when it came.
type event struct {
	at   time.Time
	body rpc.EventBody
}

// recorder keeps the events, and wakes those who wait for one.
type recorder struct {
	mu      sync.Mutex
	events  []event
	changed chan struct{}
}

func newRecorder() *recorder { return &recorder{changed: make(chan struct{})} }

func (r *recorder) emit(body rpc.EventBody) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, event{time.Now(), body})
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *recorder) all() ([]event, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]event(nil), r.events...), r.changed
}

// serve puts a simulator on a loopback address.
func serve(t *testing.T, o simulator.Options) (*simulator.Server, string) {
	t.Helper()
	sim, err := simulator.New(o)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(sim)
	t.Cleanup(func() {
		sim.Close()
		srv.CloseClientConnections()
		srv.Close()
	})
	return sim, srv.URL
}

// open opens the simulator in a Chrome.
func open(t *testing.T, o simulator.Options, change ...func(*Options)) *rig {
	t.Helper()
	return openIn(t, chromes.take(t), o, change...)
}

// openAlone opens it in a Chrome of its own, for a page that would trouble the
// next one.
func openAlone(t *testing.T, o simulator.Options, change ...func(*Options)) *rig {
	t.Helper()
	return openIn(t, browsertest.Start(t, browsertest.Options(t)), o, change...)
}

func openIn(t *testing.T, b *browser.Browser, o simulator.Options, change ...func(*Options)) *rig {
	t.Helper()
	sim, url := serve(t, o)
	r := &rig{t: t, sim: sim, url: url, browser: b}
	r.open(change...)
	return r
}

// openPlain opens a page of our own in a Chrome.
func openPlain(t *testing.T, body string, change ...func(*Options)) *rig {
	t.Helper()
	r := &rig{t: t, url: plain(t, body), browser: chromes.take(t)}
	r.open(change...)
	return r
}

// open opens the rig's page.
func (r *rig) open(change ...func(*Options)) {
	r.t.Helper()
	r.events = newRecorder()
	options := Options{
		Browser:  r.browser.Rod(),
		URL:      r.url,
		Disguise: r.browser.Disguise,
		Emit:     r.events.emit,
		Logger:   slog.New(slog.NewTextHandler(r.t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	options.Scripts = Compile(nil, options.Logger)
	options.Timings.Misses = 15 // A page on a busy machine is slow, and does not hang.
	for _, c := range change {
		c(&options)
	}
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	p, err := Open(ctx, options)
	if err != nil {
		r.t.Fatal(err)
	}
	r.page = p
	run, stop := context.WithCancel(context.Background())
	r.stop, r.ended = stop, make(chan error, 1)
	go func() { r.ended <- p.Run(run) }()
	r.t.Cleanup(r.close)
}

// close ends Run and checks that it ends as it was asked to.
func (r *rig) close() {
	if r.stop == nil {
		return
	}
	r.stop()
	r.stop = nil
	select {
	case err := <-r.ended:
		if !errors.Is(err, context.Canceled) {
			r.t.Errorf("Run ended with %v", err)
		}
	case <-time.After(patience):
		r.t.Error("Run did not end")
	}
	r.leave()
}

// awaitEnd waits until Run ends on its own, for this reason.
func (r *rig) awaitEnd(want reason.Code) {
	r.t.Helper()
	select {
	case err := <-r.ended:
		r.stop()
		r.stop = nil
		if reason.Of(err, "") != want {
			r.t.Fatalf("Run ended with %v, want reason %s", err, want)
		}
	case <-time.After(patience):
		r.t.Fatal("Run did not end")
	}
}

// leave closes the page, which would continue in its Chrome; a blank one would cost a process. The Chrome may be
// gone, and the page may hang.
func (r *rig) leave() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	page, chrome := r.page.target.Page.Context(ctx), r.browser.Rod().Context(ctx)
	// A later server may get the same port, and with it this origin.
	_ = proto.StorageClearDataForOrigin{Origin: r.url, StorageTypes: "all"}.Call(page)
	gone := chrome.EachEvent(func(e *proto.TargetTargetDestroyed) bool { return e.TargetID == page.TargetID })
	if _, err := (proto.TargetCloseTarget{TargetID: page.TargetID}).Call(chrome); err == nil {
		gone() // the next test must not take it
	}
}

// await returns the first event after the mark that want accepts, and the mark
// behind it.
func (r *rig) await(mark int, what string, want func(rpc.EventBody) bool) (event, int) {
	r.t.Helper()
	deadline := time.After(patience)
	for {
		events, changed := r.events.all()
		for i := mark; i < len(events); i++ {
			if want(events[i].body) {
				return events[i], i + 1
			}
		}
		select {
		case <-changed:
		case <-deadline:
			for _, e := range events {
				r.t.Logf("%s %T %+v", e.at.Format("05.000"), e.body, e.body)
			}
			screen := "elsewhere"
			if r.sim != nil {
				screen = r.sim.OnScreen().String()
			}
			r.t.Fatalf("waited without success for %s; the simulator is at %s", what, screen)
		}
	}
}

// pause waits for the next report, or for a moment: what is polled without a pause keeps a busy page from
// getting on.
func (r *rig) pause() {
	_, changed := r.events.all()
	select {
	case <-changed:
	case <-time.After(50 * time.Millisecond):
	}
}

// isObserved accepts every observation.
func isObserved(b rpc.EventBody) bool {
	_, ok := b.(rpc.PageObserved)
	return ok
}

// load loads the page again, as the loop does, waits until the new document was observed, and returns a mark before all
// that was reported of it and after what was of another. A page that is shared costs half of another one.
func (r *rig) load() int {
	r.t.Helper()
	before := r.page.views.Get().Document
	r.page.signals.Navigating()
	if _, err := r.page.target.Navigate(r.context(), r.url); err != nil {
		r.t.Fatal(err)
	}
	events, _ := r.events.all()
	isNext := func(v observe.View) bool { return v.Document > before && v.Page != nil }
	for ctx := r.context(); ; {
		v, err := r.page.views.Await(ctx, isNext)
		if err != nil {
			r.t.Fatal(err)
		}
		if v.Page.Check(ctx) == nil { // and not one that had replaced itself before
			return len(events)
		}
		before = v.Document
	}
}

// show has the site show another body.
func (r *rig) show(body string) int {
	r.t.Helper()
	r.site.serve(body)
	return r.load()
}

// awaitCode waits for a code after the mark.
func (r *rig) awaitCode(mark int) (rpc.QRShown, int) {
	r.t.Helper()
	e, next := r.await(mark, "a code", func(b rpc.EventBody) bool { _, ok := b.(rpc.QRShown); return ok })
	return e.body.(rpc.QRShown), next
}

// awaitGone waits for a code's end after the mark, by one of the causes if there are any: where
// several are possible, a busy machine decides which is seen first.
func (r *rig) awaitGone(mark int, causes ...string) int {
	r.t.Helper()
	_, next := r.await(mark, "the end of the code by "+strings.Join(causes, " or "), func(b rpc.EventBody) bool {
		gone, ok := b.(rpc.QRGone)
		return ok && (len(causes) == 0 || slices.Contains(causes, gone.Cause))
	})
	return next
}

// awaitScanned waits for the end of a code that was scanned. Its socket closes at
// once, and that may be seen before the page shows that it is registered.
func (r *rig) awaitScanned(mark int) int {
	r.t.Helper()
	return r.awaitGone(mark, "scanned", "disconnected")
}

// awaitCondition waits for a condition after the mark.
func (r *rig) awaitCondition(mark int, c rpc.Condition) (rpc.PageObserved, int) {
	r.t.Helper()
	e, next := r.await(mark, string(c), func(b rpc.EventBody) bool {
		o, ok := b.(rpc.PageObserved)
		return ok && o.Condition == c
	})
	return e.body.(rpc.PageObserved), next
}

func (r *rig) context() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	r.t.Cleanup(cancel)
	return ctx
}

// plain serves one page of our own.
func plain(t *testing.T, body string) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write([]byte(body)) // The browser may have gone.
	}))
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
	})
	return srv.URL
}

// scan is a phone that scans the code on the screen, once there is one.
func (r *rig) scan() {
	r.t.Helper()
	err := simulator.ErrNothingToScan
	for simulator.MayScanAgain(err) { // it may go again at once
		_, shown := r.sim.Shown(r.context())
		check(r.t, shown)
		err = r.sim.Scan(r.context())
	}
	check(r.t, err)
}

// storeLogin is a script that puts the keys of a login into the page's storage.
func storeLogin(t *testing.T) string {
	t.Helper()
	k, err := selectors.Read(nil)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := json.Marshal(k.Storage.Registered)
	if err != nil {
		t.Fatal(err)
	}
	return `for (const k of ` + string(keys) + `) localStorage.setItem(k, "1");`
}
