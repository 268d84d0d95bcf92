package page

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/websocket"

	"session-manager/scripts/simulator"
	"session-manager/shared/rpc"
	"session-manager/shared/selectors"
)

// secretOf is the ADV secret in a payload.
func secretOf(payload string) string { return strings.Split(payload, ",")[3] }

// only leaves one reader.
func only(reader selectors.Reader) func(k *selectors.Set) {
	return func(k *selectors.Set) { k.Readers.Use = []selectors.Reader{reader} }
}

// TestNoReaderServesADeadCode lets the page draw what is left of its list while every
// connection is refused.
func TestNoReaderServesADeadCode(t *testing.T) {
	t.Parallel()
	type dead struct {
		name, fault string
		reader      selectors.Reader
	}
	for _, tc := range first([]dead{
		{"screenshot", "", selectors.ReaderScreenshot},
		{"dom, without the modules", "modules=missing:WAWebSocketModel", selectors.ReaderDOM},
		{"modules, a service worker holds the connection", "socket=worker", selectors.ReaderModules},
		{"image", "", selectors.ReaderImage},
		{"dom, a service worker holds the connection", "socket=worker", selectors.ReaderDOM},
		{"modules", "", selectors.ReaderModules},
		{"dom", "", selectors.ReaderDOM},
	}, 2) {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			o := simulator.Options{Speed: 5}
			if tc.fault != "" {
				o.Faults = []string{tc.fault}
			}
			r := open(t, o, eager, withSelectors(t, only(tc.reader)))
			first, _ := r.awaitCode(0)
			check(t, r.sim.SetFault("socket=refused"))
			r.sim.Disconnect()
			_, mark := r.await(0, "the end of the code", func(b rpc.EventBody) bool { _, ok := b.(rpc.QRGone); return ok })
			r.drawTheRest()
			r.sim.ClearFaults()
			if tc.fault == "socket=worker" {
				check(t, r.sim.SetFault(tc.fault))
			}
			fresh, _ := r.awaitCode(mark)
			if secretOf(string(fresh.Payload)) == secretOf(string(first.Payload)) {
				t.Error("a code is served whose connection is closed")
			}
			r.awaitScreen(func(s simulator.Screen) bool { return s.Alive && s.Offered == string(fresh.Payload) })
			if err := r.sim.ScanPayload(r.context(), string(fresh.Payload)); err != nil {
				t.Errorf("the phone can't link with the code that follows: %v", err)
			}
		})
	}
}

// drawTheRest has the page draw what is left of its list, slowly enough for each code to be
// found.
func (r *rig) drawTheRest() {
	r.t.Helper()
	over := func(s simulator.Screen) bool { return s.State == "UNPAIRED_IDLE" || s.Load != 1 }
	for n := 0; n < 3 && !over(r.sim.OnScreen()); n++ {
		ref := r.sim.OnScreen().Ref
		if err := r.sim.Order(simulator.Next); err != nil && !errors.Is(err, simulator.ErrNoPage) {
			r.t.Fatal(err)
		}
		r.awaitScreen(func(s simulator.Screen) bool { return s.Ref != ref && s.Payload != "" || over(s) })
		for seen := range 3 {
			events, _ := r.events.all()
			r.await(len(events), fmt.Sprint("observation ", seen), func(b rpc.EventBody) bool { _, ok := b.(rpc.PageObserved); return ok })
		}
	}
}

func TestCodeFollowsAStormOfReconnects(t *testing.T) {
	t.Parallel()
	for _, fault := range first([]string{"socket=flap", "refs=5", "favicon=404"}, 1) {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			r := open(t, simulator.Options{Speed: 20}, hasty)
			first, _ := r.awaitCode(0)
			if err := r.sim.SetFault(fault); err != nil {
				t.Fatal(err)
			}
			r.sim.Disconnect()
			_, mark := r.await(0, "the end of the code", func(b rpc.EventBody) bool { _, ok := b.(rpc.QRGone); return ok })
			lists := map[string]bool{}
			r.awaitScreen(func(s simulator.Screen) bool {
				lists[s.Ref] = true
				return s.Load >= 2 || s.State == "UNPAIRED_IDLE" || len(lists) > 8
			})
			r.sim.ClearFaults()
			r.sim.Disconnect()
			for {
				var shown rpc.QRShown
				if shown, mark = r.awaitCode(mark); secretOf(string(shown.Payload)) == secretOf(string(first.Payload)) {
					t.Fatal("a code is served whose connection is closed")
				}
				if err := r.sim.ScanPayload(r.context(), string(shown.Payload)); err == nil {
					return
				}
			}
		})
	}
}

// TestStoppedClockOfCodesIsCured lets the page's clock end in a moment without network,
// while its connection stays.
func TestStoppedClockOfCodesIsCured(t *testing.T) {
	t.Parallel()
	// The service is tested with the modules.
	for _, fault := range first([]string{"modules=missing:WAWebSocketModel", ""}, 1) {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			o := simulator.Options{Speed: 4}
			if fault != "" {
				o.Faults = []string{fault}
			}
			r := open(t, o)
			r.awaitCode(0)
			if err := r.sim.SetFault("probe=fail"); err != nil {
				t.Fatal(err)
			}
			r.awaitScreen(func(s simulator.Screen) bool { return !s.Online && !s.Alive && s.State == "UNPAIRED" })
			_, mark := r.await(0, "the end of the code", func(b rpc.EventBody) bool { _, ok := b.(rpc.QRGone); return ok })
			r.sim.ClearFaults()
			back := time.Now()
			fresh, _ := r.awaitCode(mark)
			t.Logf("cured %v after the network was back", time.Since(back))
			r.awaitScreen(func(s simulator.Screen) bool { return s.Load > 1 && s.Alive && s.Offered == string(fresh.Payload) })
		})
	}
}

// server serves a page of our own, and the websockets that it opens.
type server struct {
	url string
	// said receives what the page sends.
	said chan string

	mu    sync.Mutex
	conns []*websocket.Conn
}

// newServer serves a body at / and accepts websockets at path, over each of which it
// sends so many frames at once.
func newServer(t *testing.T, body, path string, flood int) *server {
	t.Helper()
	s := &server{said: make(chan string, 1000)}
	mux := http.NewServeMux()
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write([]byte("<!doctype html><body>" + body)) // The browser may have gone.
	})
	mux.Handle(path, websocket.Handler(func(conn *websocket.Conn) {
		s.mu.Lock()
		s.conns = append(s.conns, conn)
		s.mu.Unlock()
		for range flood {
			if websocket.Message.Send(conn, "flood") != nil {
				return
			}
		}
		for {
			var text string
			if websocket.Message.Receive(conn, &text) != nil {
				return
			}
			select {
			case s.said <- text:
			default: // Nobody listens.
			}
		}
	}))
	web := httptest.NewServer(mux)
	s.url = web.URL
	t.Cleanup(func() {
		s.each(func(conn *websocket.Conn) { _ = conn.Close() })
		web.CloseClientConnections()
		web.Close()
	})
	return s
}

func (s *server) each(do func(*websocket.Conn)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, conn := range s.conns {
		do(conn)
	}
}

// connect opens the page's connection as WhatsApp Web does.
const connect = "const chat = new WebSocket(`ws://${location.host}/ws/chat`);"

// TestCodeEndsWithoutAnAnswerOfThePage keeps each observation waiting for ever.
func TestCodeEndsWithoutAnAnswerOfThePage(t *testing.T) {
	t.Parallel()
	stall := `chat.onmessage = () => {
		Promise.race = () => { chat.send("asked"); return new Promise(() => {}); };
		chat.send("stalled");
	};`
	for name, change := range map[string]func(*Options){
		"while it is observed": hurried,
		"at rest": func(o *Options) {
			o.Timings.Interval, o.Timings.Rest = 2*patience, 2*patience
			o.Timings.Classify.Silence = 2 * patience
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, codeOf(t, payloadOf("StalledStalled"))+`<script>`+connect+stall+`</script>`, "/ws/chat", 0)
			r := &rig{t: t, url: s.url, browser: chromes.take(t)}
			r.open(change, func(o *Options) { o.Timings.Deadline = 3 * patience })
			_, mark := r.awaitCode(0)
			s.each(func(conn *websocket.Conn) {
				if err := websocket.Message.Send(conn, "stall"); err != nil {
					t.Error(err)
				}
			})
			want := "stalled"
			if name == "while it is observed" {
				want = "asked"
			}
			for said := ""; said != want; {
				select {
				case said = <-s.said:
				case <-time.After(patience):
					t.Fatalf("the page has not %s", want)
				}
			}
			s.each(func(conn *websocket.Conn) { _ = conn.Close() })
			r.awaitGone(mark, "disconnected")
		})
	}
}

// TestConnectionsToOtherHostsProveNothing gives the page an open websocket elsewhere, with
// the path of the right one.
func TestConnectionsToOtherHostsProveNothing(t *testing.T) {
	t.Parallel()
	decoy := newServer(t, "", "/ws/chat", 0)
	elsewhere := strings.Replace(decoy.url, "http://127.0.0.1", "ws://localhost", 1) + "/ws/chat"
	lies := `window.importNamespace = window.require = (name) => ({ Socket: { state: "UNPAIRED", stream: "CONNECTED" } });`
	s := newServer(t, codeOf(t, payloadOf("DecoyDecoyDecoy"))+`<script>`+lies+connect+`
		new WebSocket("`+elsewhere+`").onopen = () => document.body.append("open");</script>`, "/nowhere", 0)
	r := &rig{t: t, url: s.url, browser: chromes.take(t)}
	r.open(hurried)
	mark := 0
	for range 10 {
		var e event
		e, mark = r.await(mark, "more observations", func(b rpc.EventBody) bool { _, ok := b.(rpc.PageObserved); return ok })
		if o := e.body.(rpc.PageObserved); o.Condition == rpc.PageReady {
			t.Errorf("reported %+v", o)
		}
	}
	events, _ := r.events.all()
	for _, e := range events {
		if _, ok := e.body.(rpc.QRShown); ok {
			t.Fatal("a code is served whose connection is not the page's")
		}
	}
	if o := r.page.views.Get().Reported; !strings.Contains(o.Detail, "its connection to the server is closed") {
		t.Errorf("got %+v", o)
	}
}

// TestSocketsAtFullSpeedAreBounded lets the page open and close websockets, each with a
// new secret, while frames flood the worker.
func TestSocketsAtFullSpeedAreBounded(t *testing.T) {
	t.Parallel()
	encoded, err := json.Marshal(strings.Split(payloadOf("FloodFloodFlood"), ","))
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(t, `<div data-ref="x">x</div><script>
		const parts = `+string(encoded)+`; let n = 0;
		const next = () => {
			const chat = new WebSocket("ws://" + location.host + "/ws/chat");
			chat.onopen = () => {
				parts[3] = btoa(String(n++).padStart(32, "k"));
				document.querySelector("div").setAttribute("data-ref", parts.join(","));
				setTimeout(() => chat.close(), Math.random() * 50);
			};
			chat.onclose = () => setTimeout(next, 20);
		};
		for (let i = 0; i < 4; i++) next();
	</script>`, "/ws/chat", 50)
	r := &rig{t: t, url: s.url, browser: chromes.take(t)}
	r.open(hurried)
	start := time.Now()
	_, mark := r.await(0, "an observation", func(b rpc.EventBody) bool { _, ok := b.(rpc.PageObserved); return ok })
	for time.Since(start) < lasting(4*time.Second) {
		_, mark = r.await(mark, "more observations", func(b rpc.EventBody) bool { _, ok := b.(rpc.PageObserved); return ok })
	}
	took := time.Since(start)
	events, _ := r.events.all()
	t.Logf("%d events in %v", len(events), took)
	if most := 300 * int(took/time.Second+1); len(events) > most {
		t.Errorf("%d events were reported in %v", len(events), took)
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	if m.HeapInuse > 600<<20 {
		t.Errorf("%d MiB are in use", m.HeapInuse>>20)
	}
}
