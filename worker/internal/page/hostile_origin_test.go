package page

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"session-manager/shared/chrome"
	"session-manager/shared/reason"
	"session-manager/shared/rpc"
)

func TestEveryFormOfTheAddressIsRecognised(t *testing.T) {
	t.Parallel()
	own := payloadOf("OurVeryOwnCode")
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprint(w, "<!doctype html><body>"+codeOf(t, own)) // The browser may have gone.
	})
	ports := map[string]string{}
	for host, any := range map[string]string{"127.0.0.1": "127.0.0.1:0", "::1": "[::1]:0"} {
		listener, err := net.Listen("tcp", any)
		if err != nil {
			continue // a machine without IPv6
		}
		server := httptest.NewUnstartedServer(handler)
		server.Listener = listener
		server.Start()
		t.Cleanup(server.Close)
		_, ports[host], _ = net.SplitHostPort(listener.Addr().String())
	}
	for _, tc := range first([]struct{ host, form string }{
		{"127.0.0.1", "HTTP://LocalHost:%s/a/../b?c=d#e"},
		{"127.0.0.1", "http://user:secret@localhost:0%s/"},
		{"::1", "http://[0:0:0::0:0:1]:%s/?x"},
		{"127.0.0.1", "http://localhost.:%s/"},
		{"::1", "http://[::1]:%s/"},
		{"127.0.0.1", "http://127.0.0.1:%s"}, // as in all other tests
	}, 2) {
		t.Run(tc.form, func(t *testing.T) {
			t.Parallel()
			if ports[tc.host] == "" {
				t.Skip("this machine has no IPv6")
			}
			r := &rig{t: t, url: fmt.Sprintf(tc.form, ports[tc.host]), browser: chromes.take(t)}
			r.open()
			r.await(0, "a code", func(b rpc.EventBody) bool {
				if o, ok := b.(rpc.PageObserved); ok && o.Reason == reason.WrongOrigin {
					t.Fatalf("got %+v", o)
				}
				return isCode(own)(b)
			})
		})
	}
}

// TestOriginIsThatOfChrome compares our helper with the real thing.
func TestOriginIsThatOfChrome(t *testing.T) {
	t.Parallel()
	r := openPlain(t, "<!doctype html><body>")
	for _, address := range []string{
		"https://web.whatsapp.com/a?b#c", "HTTPS://WEB.WhatsApp.com:443", "http://a.example:80/", "http://a.example:443", "https://a.example:0443/",
		"https://user:pass@a.example", "https://a.example./", "https://b\u00fccher.example/", "https://B\u00dcCHER.example", "https://fa\u00df.example/",
		"http://my_host:3000/", "http://[0:0:0:0:0:0:0:1]:3000/", "http://[2001:DB8:0:0:1:0:0:1]", "http://[::ffff:127.0.0.1]/", "http://[2001:db8:0:1:1:1:1:1]/",
		"https://a.example:/", "http://127.0.0.1:8080/",
	} {
		quoted, err := json.Marshal(address)
		if err != nil {
			t.Fatal(err)
		}
		var want string
		if err := r.page.target.Isolated(r.context(), &want, "new URL("+string(quoted)+").origin"); err != nil {
			t.Fatalf("%s: %v", address, err)
		}
		if got, err := chrome.Origin(address); err != nil || got != want {
			t.Errorf("Origin(%q) = %q, %v; Chrome says %q", address, got, err, want)
		}
	}
}

func TestHostileOriginsAreLeft(t *testing.T) {
	t.Parallel()
	stolen, own := payloadOf("SomebodyElsesCode"), payloadOf("OurVeryOwnCode")
	ours, theirs := codeOf(t, own), codeOf(t, stolen)
	stalling := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte("<!doctype html><body>" + theirs + strings.Repeat(" ", 4096)))
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	t.Cleanup(func() {
		stalling.CloseClientConnections()
		stalling.Close()
	})
	type hostile struct {
		name, body string
		at         string // instead of a site that serves body
		unseen     bool   // it can't be observed, or not for long enough
		pace       float64
	}
	for _, tc := range first([]hostile{
		{name: "never finishes loading", at: stalling.URL},
		{name: "asks whether to leave", body: `<script>addEventListener("beforeunload", (e) => { e.preventDefault(); e.returnValue = "x" }); setTimeout(() => alert("x"), 50)</script>`},
		// At once: where a navigation waits for a script, Chrome may not stop it, and a new Chrome is needed.
		{name: "hangs", body: `<script>for (;;);</script>`, unseen: true},
		{name: "replaces the language's functions", body: `<script>
			for (const o of [String, Array, Object, JSON, Promise, Location, Window, Document, Node, Element]) for (const p of [o, o.prototype || {}]) for (const n of Object.getOwnPropertyNames(p))
				try { const d = Object.getOwnPropertyDescriptor(p, n); if (typeof d.value === "function" && n !== "constructor") Object.defineProperty(p, n, { value: () => "http://ours" }) } catch {}
			try { Object.defineProperty(window, "origin", { value: opener }) } catch {}
			self.origin = "http://ours"</script>`},
		{name: "prerenders itself", body: `<script type=speculationrules>{"prerender": [{"source": "list", "urls": ["/?again"]}]}</script><script>setTimeout(() => { if (!location.search) location = "/?again" }, 1000)</script>`, pace: 1},
		{name: "is a blob", body: `<script>location = URL.createObjectURL(new Blob(['` + theirs + `'], {type: "text/html"}))</script>`},
		{name: "becomes blank", body: `<script>setTimeout(() => location = "about:blank", 500)</script>`},
		{name: "goes back and forth", body: `<script>addEventListener("pageshow", () => setTimeout(() => history.back(), 10))</script>`, unseen: true},
	}, 3) {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if tc.at == "" {
				tc.at = newSite(t, theirs+tc.body).url
			}
			s := newSite(t, "")
			s.redirectTo(tc.at)
			r := openSite(t, s, eager, impatient, func(o *Options) { o.Timings.Classify.Pace = cmp.Or(tc.pace, 5) })
			mark := 0
			if !tc.unseen {
				mark = r.awaitElsewhere(0, tc.at, isCode(stolen))
			}
			s.serve(ours)
			s.redirectTo("")
			r.await(mark, "our code", func(b rpc.EventBody) bool {
				if isCode(stolen)(b) {
					t.Error("a code of the other origin was reported")
				}
				return isCode(own)(b)
			})
		})
	}
}

// TestFlippingOriginsAreBounded has two origins that send the page to each other.
func TestFlippingOriginsAreBounded(t *testing.T) {
	t.Parallel()
	stolen, own := payloadOf("SomebodyElsesCode"), payloadOf("OurVeryOwnCode")
	for _, other := range first([]func(string) string{atName, func(address string) string { return address }}, 1) {
		s, away := newSite(t, ""), newSite(t, "")
		flip := func(code, to string) string {
			return codeOf(t, code) + `<script>location.replace("` + to + `")</script>`
		}
		away.serve(flip(stolen, s.url))
		address := other(away.url)
		s.serve(flip(own, address))
		r := openSite(t, s, hurried)
		mark, start, count := 0, time.Now(), 0
		for ; count < 2; count++ {
			mark = r.awaitElsewhere(mark, address, isCode(stolen))
		}
		if most := 100 * (2 + int(time.Since(start)/time.Second)); mark > most {
			t.Errorf("%d events were reported", mark)
		}
		t.Logf("%d events in %v", mark, time.Since(start))
		s.serve(codeOf(t, own))
		if shown, _ := r.awaitCode(mark); string(shown.Payload) != own {
			t.Errorf("got %+v", shown)
		}
	}
}

// TestOtherOriginCannotForgeALogout leads the page to its address of ended sessions.
func TestOtherOriginCannotForgeALogout(t *testing.T) {
	t.Parallel()
	other := newSite(t, "")
	s := newSite(t, loggedIn(t)+goTo(other.url))
	other.serve(`<script>setTimeout(() => location = "` + s.url + `/?post_logout=1", 1000)</script>`)
	r := openSite(t, s, eager)
	mark := r.awaitElsewhere(0, other.url, isCondition(rpc.PageLoggedOut))
	s.serve(`<div data-ref="">ours again</div>`)
	for range 5 {
		var e event
		e, mark = r.await(mark, "more observations", func(b rpc.EventBody) bool { _, ok := b.(rpc.PageObserved); return ok })
		if o := e.body.(rpc.PageObserved); !o.Registered || o.Condition == rpc.PageLoggedOut {
			t.Fatalf("got %+v", o)
		}
	}
}

func TestDiagnosisSaysWhoseDocumentItIs(t *testing.T) {
	t.Parallel()
	other := newSite(t, `<h1 id=portal>Captive portal</h1>`+codeOf(t, payloadOf("SomebodyElsesCode")))
	s := newSite(t, "")
	s.redirectTo(other.url + "/?token=verysecret")
	r := openSite(t, s, eager, func(o *Options) { o.Timings.Classify.Pace = 0.01 })
	r.awaitElsewhere(0, other.url, isCode(""))
	d, err := r.page.Diagnose(r.context())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(d.Outline, "#document of "+other.url+", which is not the page\n") || !strings.Contains(d.Outline, `id="portal"`) || d.URL != other.url+"/" {
		t.Errorf("got %s\n%s", d.URL, d.Outline)
	}
	if strings.Contains(fmt.Sprint(d), "verysecret") || strings.Contains(fmt.Sprint(d), "SomebodyElses") {
		t.Error("the diagnosis holds a secret")
	}
	for _, view := range d.Readers {
		if strings.Contains(view.Saw, "payload") {
			t.Errorf("got %+v", view)
		}
	}
}

// TestConnectionsOfForeignFramesProveNothing has an open one to the page's own host.
func TestConnectionsOfForeignFramesProveNothing(t *testing.T) {
	t.Parallel()
	decoy := newServer(t, `<script>`+connect+`chat.onopen = () => parent.postMessage("open", "*")</script>`, "/ws/chat", 0)
	s := newServer(t, codeOf(t, payloadOf("DecoyDecoyDecoy"))+`<iframe src="`+decoy.url+`"></iframe><script>`+connect+`
		onmessage = () => document.body.append("open")</script>`, "/nowhere", 0)
	r := &rig{t: t, url: s.url, browser: chromes.take(t)}
	r.open(hurried)
	_, mark := r.await(0, "that there is no connection", func(b rpc.EventBody) bool {
		o, ok := b.(rpc.PageObserved)
		return ok && strings.Contains(o.Detail, "its connection to the server is closed")
	})
	for range 10 {
		_, mark = r.await(mark, "more observations", func(b rpc.EventBody) bool { _, ok := b.(rpc.PageObserved); return ok })
	}
	events, _ := r.events.all()
	for _, e := range events {
		if isCode("")(e.body) {
			t.Fatal("a code is served whose connection is not the page's")
		}
	}
}

// TestManyFramesAreBounded has more of them than are asked whose they are.
func TestManyFramesAreBounded(t *testing.T) {
	t.Parallel()
	other, own := newSite(t, "x"), payloadOf("OurVeryOwnCode")
	r := openSite(t, newSite(t, `<img width=264 height=264 src="`+imageOf(t, own)+`"><script>
		for (let i = 0; i < 80; i++) { const f = document.createElement("iframe"); f.width = f.height = 20; if (i < 5) f.src = "`+other.url+`"; document.body.append(f) }</script>`), eager)
	if shown, _ := r.awaitCode(0); string(shown.Payload) != own {
		t.Errorf("got %+v", shown)
	}
}
