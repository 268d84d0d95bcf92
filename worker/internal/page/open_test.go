package page

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

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

func TestOpenSaysWhyItFails(t *testing.T) {
	t.Parallel()
	refusing, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refused := "http://" + refusing.Addr().String()
	if err := refusing.Close(); err != nil {
		t.Fatal(err)
	}
	broken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadGateway)
		_, _ = w.Write([]byte("<body>bad gateway"))
	}))
	t.Cleanup(broken.Close)
	silent := silence(t)
	untrusted := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(untrusted.Close)

	for _, tc := range []struct {
		name, url string
		want      reason.Code
		limit     time.Duration
	}{
		{"connection refused", refused, reason.NetworkUnreachable, patience},
		{"unknown host", "http://whatever.invalid/", reason.NetworkUnreachable, patience},
		{"certificate", untrusted.URL, reason.CertificateInvalid, patience},
		{"server error", broken.URL, reason.HTTPError, patience},
		{"no answer", silent, reason.PageLoadFailed, 2 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, err := Open(t.Context(), Options{
				Browser: chromes.Take(t).Rod(), URL: tc.url, Emit: func(rpc.EventBody) {},
				Timings: Timings{Open: tc.limit},
			})
			if got := reason.Of(err, ""); got != tc.want {
				t.Fatalf("got %q (%v), want %q", got, err, tc.want)
			}
		})
	}
}

func TestOpenEndsWithItsContext(t *testing.T) {
	t.Parallel()
	silent := silence(t)
	b := chromes.Take(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := Open(ctx, Options{Browser: b.Rod(), URL: silent, Emit: func(rpc.EventBody) {}})
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
	r := &rig{t: t, url: plain(t, "<body>"), browser: browsertest.Start(t, browsertest.Options(t))}
	r.open()
	r.await(0, "an observation", func(b rpc.EventBody) bool { _, ok := b.(rpc.PageObserved); return ok })
	if err := r.browser.Close(r.context()); err != nil {
		t.Fatal(err)
	}
	r.stop, r.page = nil, nil
	select {
	case err := <-r.ended:
		if reason.Of(err, "") != reason.PageCrashed {
			t.Fatalf("got %v", err)
		}
	case <-time.After(patience):
		t.Fatal("it did not end")
	}
}

func TestDialogsDoNotStopThePage(t *testing.T) {
	t.Parallel()
	r := &rig{t: t, browser: chromes.Take(t)}
	r.url = plain(t, `<body><script>setTimeout(() => { alert("one"); confirm("two"); document.body.innerHTML = '<div data-ref="`+loginOf("AfterTheDialog")+`">x</div>' }, 200)</script>`)
	r.open()
	if shown, _ := r.awaitCode(0); string(shown.Login) != loginOf("AfterTheDialog") {
		t.Fatalf("got %+v", shown)
	}
}

func TestThePageCanNotSeeThatItIsWatched(t *testing.T) {
	t.Parallel()
	r := &rig{t: t, browser: chromes.Take(t)}
	// The page shows a code when it finds something of ours, and another when it
	// has looked for it for a while in vain.
	r.url = plain(t, `<body><script>
		const before = new Set(Reflect.ownKeys(window));
		const show = (s) => { document.body.innerHTML = '<div data-ref="' + s + '">x</div>' };
		let serialised = false;
		const bait = new Error(); Object.defineProperty(bait, "stack", { get() { serialised = true; return "" } });
		let rounds = 0;
		const timer = setInterval(() => {
			console.debug(bait);
			const added = Reflect.ownKeys(window).filter((k) => !before.has(k) && !/^(before|show|serialised|bait|rounds|timer)$/.test(String(k)));
			if (added.length || serialised || navigator.webdriver || typeof hint !== "undefined") { clearInterval(timer); show("`+loginOf("WatchedWatched")+`") }
			else if (++rounds === 30) { clearInterval(timer); show("`+loginOf("NotWatchedAtAll")+`") }
		}, 100)</script>`)
	r.open(func(o *Options) { o.Disguise = r.browser.Disguise })
	if shown, _ := r.awaitCode(0); string(shown.Login) != loginOf("NotWatchedAtAll") {
		t.Fatal("the page has found something")
	}
}
