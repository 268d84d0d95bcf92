package page

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/worker/internal/browser/browsertest"
)

// silence serves an address that takes requests and never answers.
func silence(t *testing.T) string {
	t.Helper()
	over := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-over: // Chrome comes back when its connection is closed.
		}
	}))
	t.Cleanup(func() {
		close(over)
		srv.CloseClientConnections()
		srv.Close()
	})
	return srv.URL
}

// refusal returns an address at which nobody listens, and which nobody else gets meanwhile.
func refusal(t *testing.T) string {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("http://127.0.0.1:%d", name.(*unix.SockaddrInet4).Port)
}

func TestUnreachablePageIsReportedAndReloaded(t *testing.T) {
	t.Parallel()
	browsertest.InChrome(t)
	untrusted := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(untrusted.Close)
	// It answers with an error, then not at all, and then well.
	var asked atomic.Int32
	broken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			http.NotFound(w, r)
			return
		}
		switch asked.Add(1) {
		case 1:
			w.WriteHeader(http.StatusBadGateway)
			_, _ = w.Write([]byte("<body>bad gateway"))
		case 2:
			panic(http.ErrAbortHandler)
		default:
			_, _ = w.Write([]byte("<body>" + codeOf(t, payloadOf("AfterTheErrors"))))
		}
	}))
	t.Cleanup(broken.Close)
	type unreachable struct {
		name, url, detail string
		want              reason.Code
		heals             bool
	}
	for _, tc := range first([]unreachable{
		{"connection refused", refusal(t), "nobody listens at the server's address (ERR_CONNECTION_REFUSED)", reason.NetworkUnreachable, false},
		{"certificate", untrusted.URL, "(ERR_CERT_AUTHORITY_INVALID)", reason.CertificateInvalid, false},
		{"silence", silence(t), "the server does not answer (ERR_TIMED_OUT)", reason.NetworkUnreachable, false},
		{"server error", broken.URL, "the server answered 502", reason.HTTPError, true},
		{"unknown host", "http://nowhere.invalid/", "(ERR_", reason.NetworkUnreachable, false}, // without a network it has another name
	}, 4) {
		t.Run(tc.name, func(t *testing.T) { // one after the other in one Chrome
			r := &rig{t: t, browser: chromes.take(t), url: tc.url}
			r.open(func(o *Options) {
				if tc.name == "silence" {
					o.Timings.Navigate = 2 * time.Second
				}
			})
			_, mark := r.await(0, string(tc.want), func(b rpc.EventBody) bool {
				o, ok := b.(rpc.PageObserved)
				return ok && o.Condition == rpc.PageLoading && o.Reason == tc.want && strings.Contains(o.Detail, tc.detail)
			})
			if !tc.heals {
				return
			}
			if shown, _ := r.awaitCode(mark); string(shown.Payload) != payloadOf("AfterTheErrors") {
				t.Errorf("got %+v", shown)
			}
		})
	}
}

func TestOpenEndsWithItsContext(t *testing.T) {
	t.Parallel()
	silent := silence(t)
	b := chromes.take(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	log := slog.New(slog.DiscardHandler)
	_, err := Open(ctx, Options{Browser: b.Rod(), URL: silent, Emit: func(rpc.EventBody) {}, Logger: log, Scripts: Compile(nil, log)})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
}

func TestOpenRefusesWhatIsMissing(t *testing.T) {
	t.Parallel()
	if _, err := Open(t.Context(), Options{}); err == nil {
		t.Fatal("it opened nothing")
	}
}

func TestRunEndsWhenChromeDies(t *testing.T) {
	t.Parallel()
	browsertest.InChrome(t)
	r := &rig{t: t, url: plain(t, "<body>"), browser: chromes.take(t)} // which lends no Chrome that has ended
	r.open()
	r.await(0, "an observation", func(b rpc.EventBody) bool { _, ok := b.(rpc.PageObserved); return ok })
	if err := r.browser.Close(r.context()); err != nil {
		t.Fatal(err)
	}
	r.awaitEnd(reason.PageCrashed)
}

func TestCrashIsSeenWithoutZygotes(t *testing.T) {
	t.Parallel()
	browsertest.InChrome(t)
	r := &rig{t: t, url: plain(t, "<body>"), browser: browsertest.Start(t, browsertest.Options(t))}
	r.open(func(o *Options) { o.Timings.Deadline = patience })
	r.await(0, "an observation", func(b rpc.EventBody) bool { _, ok := b.(rpc.PageObserved); return ok })
	for _, zygote := range browsertest.Helpers(t, r.browser.PID(), "--type=zygote") {
		if err := unix.Kill(zygote, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	crash(r)
	r.awaitEnd(reason.PageCrashed)
}

func TestDialogsDoNotStopThePage(t *testing.T) {
	t.Parallel()
	browsertest.InChrome(t)
	r := &rig{t: t, browser: chromes.take(t)}
	r.url = plain(t, `<body><script>setTimeout(() => { alert("one"); confirm("two"); document.body.innerHTML = '`+codeOf(t, payloadOf("AfterTheDialog"))+`' }, 200)</script>`)
	r.open()
	if shown, _ := r.awaitCode(0); string(shown.Payload) != payloadOf("AfterTheDialog") {
		t.Fatalf("got %+v", shown)
	}
}

func TestPageCannotDetectTheObserver(t *testing.T) {
	t.Parallel()
	browsertest.InChrome(t)
	r := &rig{t: t, browser: chromes.take(t)}
	// The page shows a code when it finds a trace of the worker, and another when it
	// has found none for a while.
	r.url = plain(t, `<body><script>
		const before = new Set(Reflect.ownKeys(window));
		const show = (code) => { document.body.innerHTML = code };
		let serialised = false;
		const bait = new Error(); Object.defineProperty(bait, "stack", { get() { serialised = true; return "" } });
		let rounds = 0;
		const timer = setInterval(() => {
			console.debug(bait);
			const added = Reflect.ownKeys(window).filter((k) => !before.has(k) && !/^(before|show|serialised|bait|rounds|timer)$/.test(String(k)));
			if (added.length || serialised || navigator.webdriver || typeof hint !== "undefined") { clearInterval(timer); show('`+codeOf(t, payloadOf("WatchedWatched"))+`') }
			else if (++rounds === 30) { clearInterval(timer); show('`+codeOf(t, payloadOf("NotWatchedAtAll"))+`') }
		}, 100)</script>`)
	r.open(func(o *Options) { o.Disguise = r.browser.Disguise })
	if shown, _ := r.awaitCode(0); string(shown.Payload) != payloadOf("NotWatchedAtAll") {
		t.Fatal("the page has found something")
	}
}
