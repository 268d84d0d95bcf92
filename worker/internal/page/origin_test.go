package page

import (
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"session-manager/scripts/simulator"
	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/shared/selectors"
	"session-manager/worker/internal/browser/browsertest"
	"session-manager/worker/internal/page/classify"
	"session-manager/worker/internal/page/command"
	"session-manager/worker/internal/page/observe"
)

// site serves pages of our own, and remembers what was done in them.
type site struct {
	url string

	mu       sync.Mutex
	pages    map[string]string // bodies by path
	redirect string            // of all requests for /
	done     []string
}

// spy reports what reaches a page: keys, clicks and texts.
const spy = `<script>
	for (const type of ["keydown", "pointerdown", "click", "input"])
		addEventListener(type, (e) => navigator.sendBeacon("/done?" + type + "+" + (e.key || e.target.value || "")), true);
</script>`

// newSite serves body at /.
func newSite(t *testing.T, body string) *site {
	t.Helper()
	s := &site{pages: map[string]string{"/": body}}
	server := httptest.NewServer(s)
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	s.url = server.URL
	return s
}

// ServeHTTP implements http.Handler.
func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	body, known := s.pages[r.URL.Path]
	switch {
	case r.URL.Path == "/done":
		s.done = append(s.done, r.URL.RawQuery)
	case r.URL.Path == "/" && s.redirect != "":
		http.Redirect(w, r, s.redirect, http.StatusFound)
	case !known:
		http.NotFound(w, r)
	default:
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write([]byte("<!doctype html><body>" + body)) // The browser may have gone.
	}
}

// serve makes the site serve another body.
func (s *site) serve(body string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pages["/"] = body
}

// redirectTo makes the site send its visitors to an address; to its own page if that
// is empty.
func (s *site) redirectTo(address string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.redirect = address
}

// wantUntouched wants that nobody has done anything in the site's pages.
func (s *site) wantUntouched(t *testing.T) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.done) > 0 {
		t.Errorf("somebody did %q", s.done)
	}
}

// atName is an address of the loopback by its name, which is another origin, and
// another site.
func atName(address string) string { return strings.Replace(address, "127.0.0.1", "localhost", 1) }

// loggedIn puts the keys of a login into the page's storage.
func loggedIn(t *testing.T) string {
	t.Helper()
	return `<script>` + storeLogin(t) + `</script>`
}

// goTo is a script by which a page leaves for an address as soon as it is asked to.
func goTo(address string) string {
	return fmt.Sprintf(`<script>const go = %q; setTimeout(() => location.assign(go), 1500)</script>`, address)
}

// openSite opens a site's page.
func openSite(t *testing.T, s *site, change ...func(*Options)) *rig {
	t.Helper()
	r := &rig{t: t, url: s.url, site: s, browser: chromes.take(t)}
	r.open(change...)
	return r
}

// awaitElsewhere waits until the page is known to be on the other origin, and wants
// that no event up to then, or in the next observations, comes from there.
func (r *rig) awaitElsewhere(mark int, origin string, believed func(rpc.EventBody) bool) int {
	r.t.Helper()
	check := func(b rpc.EventBody) {
		if believed(b) {
			r.t.Errorf("something of the other origin was believed: %T %+v", b, b)
		}
	}
	_, next := r.await(mark, "the other origin", func(b rpc.EventBody) bool {
		check(b)
		o, ok := b.(rpc.PageObserved)
		if ok && o.Reason == reason.WrongOrigin && !strings.Contains(o.Detail, origin) {
			r.t.Errorf("the detail is %q", o.Detail)
		}
		return ok && o.Reason == reason.WrongOrigin
	})
	return next
}

// foreign is a page of another origin that must not be believed.
type foreign struct {
	name string
	// linked: our page holds a login.
	linked bool
	body   string
	query  string
	// believed reports whether an event is due to the page.
	believed func(rpc.EventBody) bool
}

func isCondition(c rpc.Condition) func(rpc.EventBody) bool {
	return func(b rpc.EventBody) bool {
		o, ok := b.(rpc.PageObserved)
		return ok && o.Condition == c
	}
}

func isCode(payload string) func(rpc.EventBody) bool {
	return func(b rpc.EventBody) bool {
		shown, ok := b.(rpc.QRShown)
		return ok && (payload == "" || string(shown.Payload) == payload)
	}
}

// foreigners has a page for each reader, and for each kind of event.
func foreigners(t *testing.T) []foreign {
	t.Helper()
	payload := payloadOf("SomebodyElsesCode")
	picture := imageOf(t, payload)
	return []foreign{
		{name: "reader screenshot", body: `<div style="width:264px;height:264px;background:url(` + picture + `)"></div>`, believed: isCode(payload)},
		{name: "ready", linked: true, body: `<div id="side">chats</div>`, believed: isCondition(rpc.PageReady)},
		{name: "logged out by storage", linked: true, body: codeOf(t, payload) + `<script>localStorage.clear()</script>`, believed: func(b rpc.EventBody) bool {
			o, ok := b.(rpc.PageObserved)
			return ok && o.Condition == rpc.PageLoggedOut
		}},
		{name: "unlinked", linked: true, body: `<h1>Scan to log in</h1><div data-ref="">x</div>`, believed: isCondition(rpc.PageUnlinked)},
		{name: "conflict", linked: true, body: `<div role=dialog>WhatsApp is open in another window. <button>Use here</button></div>`, believed: func(b rpc.EventBody) bool {
			o, ok := b.(rpc.PageObserved)
			return ok && o.Reason == reason.Conflict
		}},
		{name: "reader dom", body: codeOf(t, payload), believed: isCode(payload)},
		{name: "logged out by address", linked: true, query: "?post_logout=1&logout_reason=3", believed: isCondition(rpc.PageLoggedOut)},
		{name: "reader image", body: `<img width=264 height=264 src="` + picture + `">`, believed: isCode(payload)},
		{name: "syncing", linked: true, body: `<div data-testid="wa-web-loading-screen">Loading your chats [50%] <progress value=50 max=100></progress></div>`, believed: isCondition(rpc.PageSyncing)},
	}
}

func TestOtherOriginIsNotBelieved(t *testing.T) {
	t.Parallel()
	for i, tc := range first(foreigners(t), 3) {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			other := newSite(t, spy+tc.body)
			address := other.url
			if i%2 == 1 {
				address = atName(address)
			}
			first := `<div>ours</div>`
			if tc.linked {
				first += loggedIn(t)
			}
			ours := newSite(t, first+goTo(address+"/"+tc.query))
			pace := hurried
			if strings.HasPrefix(tc.name, "reader") {
				pace = eager
			}
			r := openSite(t, ours, pace)
			_, mark := r.await(0, "the first page", func(b rpc.EventBody) bool {
				o, ok := b.(rpc.PageObserved)
				return ok && o.Registered == tc.linked
			})
			mark = r.awaitElsewhere(mark, address, tc.believed)
			// The page is loaded again, and leaves again.
			mark = r.awaitElsewhere(mark, address, tc.believed)
			events, _ := r.events.all()
			if o := events[mark-1].body.(rpc.PageObserved); o.Registered != tc.linked || tc.linked && o.Condition != rpc.PageDisconnected || !tc.linked && o.Condition != rpc.PageBlocked {
				t.Errorf("got %+v", o)
			}
			other.wantUntouched(t)
		})
	}
}

// TestPageIsLoadedAgainAfterARedirect covers the ways of getting there.
func TestPageIsLoadedAgainAfterARedirect(t *testing.T) {
	t.Parallel()
	stolen, own := payloadOf("SomebodyElsesCode"), payloadOf("OurVeryOwnCode")
	there := func(t *testing.T) *site { return newSite(t, codeOf(t, stolen)) }
	script := func(code string) func(string) string {
		return func(address string) string {
			return fmt.Sprintf(`<script>const go = %q; const once = !sessionStorage.getItem("gone"); sessionStorage.setItem("gone", 1); if (once) { %s }
				else document.body.innerHTML = '%s'</script>`, address, code, codeOf(t, own))
		}
	}
	type way struct {
		name string
		away func(address string) string
	}
	for _, tc := range first([]way{
		{"redirect", nil},
		{"location before the document is complete", script(`location.replace(go)`)},
		{"history", script(`history.pushState(1, "", "/elsewhere"); setTimeout(() => location = go, 1000)`)},
		{"location", script(`setTimeout(() => location = go, 1000)`)},
		{"form", script(`setTimeout(() => { document.body.innerHTML = '<form method=get action="' + go + '/">'; document.forms[0].submit() }, 1000)`)},
		{"meta element", script(`document.head.insertAdjacentHTML("beforeend", '<meta http-equiv=refresh content="1;url=' + go + '">')`)},
		{"blank page on the way", script(`setTimeout(() => { const w = open(); setTimeout(() => location = go, 500) }, 500)`)},
	}, 2) {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			other := there(t)
			ours := newSite(t, codeOf(t, own))
			if tc.away == nil {
				ours.redirectTo(other.url)
			} else {
				ours.pages["/"] = tc.away(other.url)
			}
			r := openSite(t, ours, eager)
			mark := r.awaitElsewhere(0, other.url, isCode(stolen))
			ours.redirectTo("")
			shown, _ := r.awaitCode(mark)
			if string(shown.Payload) != own {
				t.Error("the code is not that of our page")
			}
		})
	}
}

func TestRedirectWithinTheOriginIsFine(t *testing.T) {
	t.Parallel()
	ours := newSite(t, "")
	ours.pages["/elsewhere"] = codeOf(t, payloadOf("AfterTheRedirect"))
	ours.redirectTo("/elsewhere?x=1")
	r := openSite(t, ours)
	r.await(0, "a code", func(b rpc.EventBody) bool {
		if o, ok := b.(rpc.PageObserved); ok && o.Reason == reason.WrongOrigin {
			t.Errorf("got %+v", o)
		}
		return isCode("")(b)
	})
}

// TestPerfectCopyIsNotRead has the modules, too.
func TestPerfectCopyIsNotRead(t *testing.T) {
	t.Parallel()
	for _, profile := range first([]string{"no-data-ref", "renamed", ""}, 1) {
		t.Run(profile, func(t *testing.T) {
			t.Parallel()
			r := open(t, simulator.Options{Profile: profile, Speed: 5, Faults: []string{"elsewhere=redirect:localhost"}}, eager)
			r.awaitScreen(func(s simulator.Screen) bool { return s.Offered != "" })
			mark := r.awaitElsewhere(0, "http://localhost:", isCode(""))
			r.sim.ClearFaults()
			shown, _ := r.awaitCode(mark)
			err := r.sim.Await(r.context(), func(s simulator.Screen) bool { return s.Offered == string(shown.Payload) })
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}

// fakeForm is a form for a phone number, with a code as soon as it has one, by hand
// and by module.
func fakeForm(t *testing.T) string {
	t.Helper()
	return strings.Replace(codeOf(t, payloadOf("SomebodyElsesCode")), `</div>`, `<button>Click to reload QR code</button></div>`, 1) + form
}

// form is the form itself.
const form = `
	<div role=button onclick="document.forms[0].hidden = false">Log in with phone number</div>
	<form hidden onsubmit="return false"><input type=text autofocus><button>Next</button></form>
	<div role=button>Log in with QR code</div><button aria-label="Menu">Menu</button><div role=button>Log out</div><div id=code></div>
	<script>
		document.forms[0].onclick = () => { document.querySelector("#code").setAttribute("data-link-code", "A,B,C,D,1,2,3,4"); document.querySelector("#code").textContent = "ABCD1234" };
		window.require = window.importNamespace = (name) => new Proxy({}, { get: (_, method) => () => {
			navigator.sendBeacon("/done?call"); return Promise.resolve("ABCD1234") } });
	</script>`

func TestCommandsDoNothingOnAnotherOrigin(t *testing.T) {
	t.Parallel()
	for i, login := range []string{"", loggedIn(t)} {
		for j, way := range []string{"modules", "hand"} {
			if i != j && !*thorough { // Each way once, and each kind of page.
				continue
			}
			t.Run(fmt.Sprintf("by %s, linked %t", way, login != ""), func(t *testing.T) {
				t.Parallel()
				other := newSite(t, spy+fakeForm(t))
				ours := newSite(t, `<div>ours</div>`+login+goTo(other.url))
				r := openSite(t, ours, eager, withSelectors(t, func(k *selectors.Set) {
					if way == "hand" {
						k.Pairing.Calls, k.LogOut.Calls = nil, nil
					}
				}), func(o *Options) { o.Timings.Classify.Pace = 0.01 }) // The loop does not load the page again so soon.
				for _, tc := range []struct {
					name    string
					command func() error
				}{
					{"pair", func() error { _, err := r.page.Pair(r.context(), somePhone); return err }},
					{"log out", func() error { return r.page.LogOut(r.context()) }},
					{"press", func() error { return r.page.commands.Press(r.context(), command.Reload) }},
					{"return", func() error { return r.page.commands.Return(r.context()) }},
				} {
					if _, err := r.page.views.Await(r.context(), func(v observe.View) bool { return v.Address == other.url+"/" }); err != nil {
						t.Fatal(err)
					}
					if err := tc.command(); err == nil || (tc.name == "pair" || tc.name == "log out") && !errors.Is(err, rpc.ErrNoPage) {
						t.Errorf("%s: got %v", tc.name, err)
					}
				}
				other.wantUntouched(t)
			})
		}
	}
}

// TestNumberIsNotTypedIntoTheNextDocument leaves in the middle of it.
func TestNumberIsNotTypedIntoTheNextDocument(t *testing.T) {
	t.Parallel()
	for _, event := range first([]string{"focus", "selectionchange", "input"}, 1) {
		t.Run(event, func(t *testing.T) {
			t.Parallel()
			other := newSite(t, spy+`<input autofocus onblur="this.focus()"><script>document.querySelector("input").focus()</script>`)
			honest := strings.NewReplacer(`window.require = window.importNamespace`, `let unused`, `<button>Click to reload QR code</button>`, "").Replace(fakeForm(t))
			ours := newSite(t, honest+fmt.Sprintf(`<script>
				for (const target of [document, document.querySelector("input")])
					target.addEventListener(%q, (e) => { if (document.activeElement === document.querySelector("input")) location.replace(%q) })</script>`, event, other.url))
			r := openSite(t, ours, eager, withSelectors(t, func(k *selectors.Set) { k.Pairing.Calls = nil }))
			r.awaitCode(0)
			if made, err := r.page.Pair(r.context(), somePhone); err == nil {
				t.Errorf("got a code of %d letters", len(made.Code))
			}
			r.awaitElsewhere(0, other.url, isCode(payloadOf("")))
			other.wantUntouched(t)
		})
	}
}

// frame is a frame that shows a code over our page.
type frame struct {
	name string
	html func(t *testing.T, body string) string
	ours bool
}

func frames() []frame {
	const box = `style="position:fixed;left:0;top:0;width:400px;height:400px;border:0"`
	at := func(address func(*site) string) func(*testing.T, string) string {
		return func(t *testing.T, body string) string {
			return `<iframe ` + box + ` src="` + address(newSite(t, body)) + `"></iframe>`
		}
	}
	script := func(code string) func(*testing.T, string) string {
		return func(_ *testing.T, body string) string {
			quoted, _ := json.Marshal(body)
			return `<iframe ` + box + `></iframe><script>{ const f = document.querySelector("iframe"), body = ` + string(quoted) + `; ` + code + ` }</script>`
		}
	}
	attribute := func(name, more string, encode func(string) string) func(*testing.T, string) string {
		return func(_ *testing.T, body string) string {
			return `<iframe ` + box + ` ` + more + ` ` + name + `="` + html.EscapeString(encode(body)) + `"></iframe>`
		}
	}
	same := func(body string) string { return body }
	data := func(body string) string { return "data:text/html," + url.PathEscape(body) }
	return []frame{
		{"other site", at(func(s *site) string { return atName(s.url) }), false},
		{"sandboxed srcdoc", attribute("srcdoc", `sandbox="allow-scripts"`, same), false},
		{"in a closed shadow tree", func(t *testing.T, body string) string {
			return `<div></div><script>document.querySelector("div").attachShadow({mode: "closed"}).innerHTML = '<iframe ` + box + ` src="` + newSite(t, body).url + `"></iframe>'</script>`
		}, false},
		{"srcdoc", attribute("srcdoc", "", same), true},
		{"same origin", func(*testing.T, string) string { return `<iframe ` + box + ` src="/frame"></iframe>` }, true},
		{"same site, other port", at(func(s *site) string { return s.url }), false},
		{"data", attribute("src", "", data), false},
		{"blob", script(`f.src = URL.createObjectURL(new Blob([body], {type: "text/html"}))`), true},
		{"embed", func(t *testing.T, body string) string {
			return `<embed ` + box + ` type="text/html" src="` + newSite(t, body).url + `">`
		}, false},
		{"within a frame of the same origin", func(t *testing.T, body string) string {
			inner := `<iframe ` + box + ` src="` + newSite(t, body).url + `"></iframe>`
			return `<iframe style="margin:30px;width:500px;height:500px" srcdoc='` + inner + `'></iframe>`
		}, false},
		{"that moves", func(t *testing.T, body string) string {
			return `<iframe ` + box + ` src="` + newSite(t, body).url + `"></iframe><script>
				let n = 0; const f = document.querySelector("iframe"); const move = () => { f.style.left = (n++ % 2) * 420 + "px"; requestAnimationFrame(move) }; move()</script>`
		}, false},
		{"sandboxed srcdoc of the same origin", attribute("srcdoc", `sandbox="allow-scripts allow-same-origin"`, same), true},
		{"object", func(t *testing.T, body string) string {
			return `<object ` + box + ` type="text/html" data="` + newSite(t, body).url + `"></object>`
		}, false},
		{"turned", func(t *testing.T, body string) string {
			return `<iframe style="margin:100px;width:400px;height:400px;transform:rotate(45deg)" src="` + newSite(t, body).url + `"></iframe>`
		}, false},
		{"that comes and goes", func(t *testing.T, body string) string {
			return `<iframe ` + box + ` src="` + newSite(t, body).url + `"></iframe><script>
				const f = document.querySelector("iframe"); setInterval(() => { f.style.display = f.style.display ? "" : "none" }, 20)</script>`
		}, false},
		{"blank and written", script(`f.contentDocument.write(body)`), true},
	}
}

// TestFramesAreReadByTheirOrigin shows a code as an image, and as a background that
// only a screenshot finds.
func TestFramesAreReadByTheirOrigin(t *testing.T) {
	t.Parallel()
	payload := payloadOf("WithinAFrame")
	picture := imageOf(t, payload)
	img, background := `<img width=264 height=264 src="`+picture+`">`, `<div style="width:264px;height:264px;background:url(`+picture+`)"></div>`
	for i, tc := range first(frames(), 5) {
		shows := map[string]string{"image": img, "screenshot": background}
		if !tc.ours { // Both are searched.
			shows = map[string]string{"both": background + img}
		}
		for reader, body := range shows {
			if tc.ours && !*thorough && (reader == "image") != (i%2 == 0) { // The two take turns.
				continue
			}
			t.Run(tc.name+" for the "+reader, func(t *testing.T) {
				t.Parallel()
				s := newSite(t, tc.html(t, body))
				s.pages["/frame"] = body
				r := openSite(t, s, eager)
				if tc.ours {
					if shown, _ := r.awaitCode(0); string(shown.Payload) != payload || shown.Reader != reader {
						t.Errorf("got %+v", shown)
					}
					return
				}
				r.awaitSearches(2)
				events, _ := r.events.all()
				for _, e := range events {
					if isCode("")(e.body) {
						t.Fatalf("got %+v", e.body)
					}
				}
			})
		}
	}
}

// awaitSearches waits until so many screenshots were searched.
func (r *rig) awaitSearches(n int) {
	r.t.Helper()
	searches, last := 0, time.Time{}
	_, err := r.page.views.Await(r.context(), func(v observe.View) bool {
		i := slices.IndexFunc(v.Readings, func(reading classify.Reading) bool { return reading.Reader == selectors.ReaderScreenshot })
		if i >= 0 && v.Readings[i].At.After(last) {
			searches, last = searches+1, v.Readings[i].At
		}
		return searches == n
	})
	if err != nil {
		r.t.Error(err)
	}
}

// TestOwnCodeIsReadNextToForeignFrames has its picture in the page's own pixels.
func TestOwnCodeIsReadNextToForeignFrames(t *testing.T) {
	t.Parallel()
	browsertest.InChrome(t)
	own := payloadOf("InOurOwnPixels")
	other := newSite(t, `<img width=264 height=264 src="`+imageOf(t, payloadOf("WithinAFrame"))+`">`)
	r := openSite(t, newSite(t, `<img width=264 height=264 src="`+imageOf(t, own)+`">
		<iframe style="width:300px;height:300px" src="`+other.url+`"></iframe><iframe style="width:300px;height:300px" src="`+atName(other.url)+`"></iframe>`), eager)
	if shown, _ := r.awaitCode(0); string(shown.Payload) != own || shown.Reader != "image" {
		t.Errorf("got %+v", shown)
	}
}
