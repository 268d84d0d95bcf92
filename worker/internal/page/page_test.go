package page

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-rod/rod/lib/proto"

	"session-manager/scripts/simulator"
	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/shared/selectors"
	"session-manager/worker/internal/browser/browsertest"
	"session-manager/worker/internal/page/observe"
	"session-manager/worker/internal/page/target"
)

// TestCodeOnTheScreenIsFollowed has one page for all that happens to a code.
func TestCodeOnTheScreenIsFollowed(t *testing.T) {
	t.Parallel()
	browsertest.InChrome(t)
	r := open(t, simulator.Options{})
	shown, mark := r.awaitCode(0)
	// The simulator hears of what was drawn a moment after the worker has seen it.
	if err := r.sim.Await(r.context(), func(s simulator.Screen) bool { return s.Payload == string(shown.Payload) }); err != nil {
		t.Fatalf("the payload reported is not the one on the screen: %v", err)
	}
	if shown.Reader != "dom" || shown.Seq != 1 || shown.TTL <= 20*time.Second || shown.TTL > 62*time.Second {
		t.Fatalf("got %+v", shown)
	}
	phases := []rpc.Phase{}
	events, _ := r.events.all()
	for _, e := range events {
		if p, ok := e.body.(rpc.PhaseChanged); ok {
			phases = append(phases, p.Phase)
		}
	}
	if want := []rpc.Phase{rpc.PhaseNavigate, rpc.PhaseRecognise, rpc.PhasePage}; !slices.Equal(phases, want) {
		t.Fatalf("phases were %v, want %v", phases, want)
	}
	if age := r.page.MainThreadAge(); age < 0 || age > inTime {
		t.Fatalf("main thread's age is %v", age)
	}
	mark = r.renewsItsSecret(shown, mark)
	mark = r.renewsItsCodes(mark)
	r.sim.DropNetwork()
	mark = r.awaitGone(mark, "disconnected")
	r.sim.RestoreNetwork()
	r.awaitCode(mark)
	if screen := r.sim.OnScreen(); screen.Load != 1 {
		t.Error("the page was loaded again")
	}
}

// renewsItsSecret has another secret with the same reference.
func (r *rig) renewsItsSecret(first rpc.QRShown, mark int) int {
	r.t.Helper()
	check(r.t, r.sim.RotateADV())
	second, mark := r.awaitCode(mark)
	if second.Payload == first.Payload || second.Seq != first.Seq+1 {
		r.t.Fatalf("got %+v after %+v", second, first)
	}
	err := r.sim.Await(r.context(), func(s simulator.Screen) bool { return s.Payload == string(second.Payload) })
	if err != nil {
		r.t.Fatalf("the payload reported never came on the screen: %v", err)
	}
	if second.TTL > first.TTL {
		r.t.Fatalf("the reference's life started again: %v after %v", second.TTL, first.TTL)
	}
	return mark
}

// renewsItsCodes uses up the page's codes twice, which its button renews. Each code is reported after its
// observation.
func (r *rig) renewsItsCodes(mark int) int {
	r.t.Helper()
	var shown rpc.QRShown
	for n := range 2 {
		last, err := r.sim.Shown(r.context())
		check(r.t, err)
		check(r.t, r.sim.ExpireNow())
		shown, mark = r.awaitCode(r.awaitGone(mark, "idle"))
		if n == 0 && shown.Renewals != 1 || string(shown.Payload) == last.Payload {
			r.t.Fatalf("got %+v", shown)
		}
	}
	if screen := r.sim.OnScreen(); screen.Load != 1 {
		r.t.Fatal("the page was loaded again")
	}
	var latest rpc.PageObserved
	events, _ := r.events.all()
	for _, e := range events {
		switch b := e.body.(type) {
		case rpc.PageObserved:
			latest = b
		case rpc.QRShown:
			if latest.Condition != rpc.PageUnlinked || latest.Reason != reason.ScanQR || latest.Detail != "" {
				r.t.Errorf("a code was reported after %+v", latest)
			}
		}
	}
	return mark
}

// TestRotationIsFollowedAtOnce makes sure that codes are not found by occasional
// observations, which would be too late for all of them; the benchmark measures how
// long it takes.
func TestRotationIsFollowedAtOnce(t *testing.T) {
	t.Parallel()
	r := open(t, simulator.Options{Speed: 10}, func(o *Options) { o.Timings.Interval = 2 * patience })
	codes := map[rpc.Secret]bool{}
	for mark := 0; len(codes) < 4; {
		var e event
		e, mark = r.await(mark, "the next code", func(b rpc.EventBody) bool { _, ok := b.(rpc.QRShown); return ok })
		codes[e.body.(rpc.QRShown).Payload] = true
	}
}

func TestScanLeadsThroughSyncingToReady(t *testing.T) {
	t.Parallel()
	r := open(t, simulator.Options{Speed: 5})
	_, mark := r.awaitCode(0)
	r.scan()
	mark = r.awaitScanned(mark)
	syncing, mark := r.awaitCondition(mark, rpc.PageSyncing)
	if !syncing.Registered {
		t.Fatalf("got %+v", syncing)
	}
	ready, _ := r.awaitCondition(mark, rpc.PageReady)
	if !ready.Registered || ready.Reason != "" || ready.PageVersion == "" {
		t.Fatalf("got %+v", ready)
	}
}

// link brings the rig to ready and returns the mark behind it.
func (r *rig) link() int {
	r.t.Helper()
	_, mark := r.awaitCode(0)
	r.scan()
	_, mark = r.awaitCondition(mark, rpc.PageReady)
	return mark
}

// TestLinkedPageIsFollowed has one page for all that happens to a linked one.
func TestLinkedPageIsFollowed(t *testing.T) {
	t.Parallel()
	browsertest.InChrome(t)
	r := open(t, simulator.Options{Speed: 20})
	mark := r.link()
	r.hidesItsChats()
	mark = r.reloadsWithoutDisconnecting(mark)

	r.sim.DropNetwork()
	_, mark = r.awaitCondition(mark, rpc.PageDisconnected)
	r.await(mark-1, "that the network is away", func(b rpc.EventBody) bool {
		o, ok := b.(rpc.PageObserved)
		return ok && o.Reason == reason.NetworkUnreachable
	})
	r.sim.RestoreNetwork()
	_, mark = r.awaitCondition(mark, rpc.PageReady)

	check(t, r.sim.SetFault("lock"))
	r.load()
	_, mark = r.awaitReason(mark, reason.ScreenLocked)
	r.sim.ClearFaults()
	r.load()
	_, mark = r.awaitCondition(mark, rpc.PageReady)

	check(t, r.sim.LogOut())
	out, mark := r.awaitCondition(mark, rpc.PageLoggedOut)
	if out.Registered {
		t.Fatalf("got %+v", out)
	}
	o, _ := r.awaitCondition(mark, rpc.PageUnlinked)
	_, mark = r.awaitCode(mark)
	if o.Reason != reason.LoggedOut {
		t.Fatalf("got %+v", o)
	}

	// What is left of a login is reported, too.
	r.scan()
	_, mark = r.awaitCondition(mark, rpc.PageReady)
	check(t, r.sim.SetFault("partial-profile"))
	r.load()
	_, mark = r.awaitCondition(mark, rpc.PageLoggedOut)
	r.awaitCode(mark)
}

// reloadsWithoutDisconnecting has a linked page reload itself.
func (r *rig) reloadsWithoutDisconnecting(mark int) int {
	r.t.Helper()
	before := r.page.views.Get()
	if err := r.sim.Order(simulator.Reload); err != nil {
		r.t.Fatal(err)
	}
	again := func(v observe.View) bool {
		return v.Document > before.Document && v.Reported.Condition == rpc.PageReady
	}
	if _, err := r.page.views.Await(r.context(), again); err != nil {
		r.t.Fatal(err)
	}
	events, _ := r.events.all()
	for _, e := range events[mark:] {
		if o, ok := e.body.(rpc.PageObserved); ok && (o.Condition == rpc.PageDisconnected || o.Condition == rpc.PageLoggedOut || o.Condition == rpc.PageUnlinked) {
			r.t.Errorf("reported %+v", o)
		}
	}
	return len(events)
}

// impatient has a page cured that does not answer twice.
func impatient(o *Options) {
	o.Timings.Interval, o.Timings.Deadline, o.Timings.Misses = 200*time.Millisecond, 4*time.Second, 2
}

// once allows one cure of a kind.
func once(o *Options) { o.Timings.CureLimit = 1 }

func TestHangingPageIsCured(t *testing.T) {
	t.Parallel()
	browsertest.InChrome(t)
	r := open(t, simulator.Options{Speed: 5}, impatient)
	_, mark := r.awaitCode(0)
	if err := r.sim.Order(simulator.Hang); err != nil {
		t.Fatal(err)
	}
	_, mark = r.await(mark, "that the page hangs", func(b rpc.EventBody) bool {
		o, ok := b.(rpc.PageObserved)
		return ok && o.Reason == reason.PageHung
	})
	r.awaitCode(mark)
}

func TestPageThatKeepsHangingIsGivenUp(t *testing.T) {
	t.Parallel()
	r := openAlone(t, simulator.Options{Faults: []string{"hang"}, Speed: 20}, impatient, once)
	r.awaitEnd(reason.PageHung)
}

// crash kills the page's process. The call is never answered.
func crash(r *rig) {
	page := r.page.target.Page.Context(r.context())
	go func() { _ = proto.PageCrash{}.Call(page) }()
}

func TestCrashedPageIsRevivedOnceAndGivenUp(t *testing.T) {
	t.Parallel()
	browsertest.InChrome(t)
	r := open(t, simulator.Options{Speed: 5}, once)
	_, mark := r.awaitCode(0)
	crash(r)
	_, mark = r.awaitReason(mark, reason.PageCrashed)
	r.awaitCode(mark)
	crash(r)
	r.awaitEnd(reason.PageCrashed)
}

func TestStorageOfOtherSitesIsIgnored(t *testing.T) {
	t.Parallel()
	r := &rig{t: t, browser: chromes.take(t)}
	elsewhere := plain(t, "<body>captive portal")
	r.url = plain(t, `<body>x<script>`+storeLogin(t)+`
		setTimeout(() => location.assign("`+elsewhere+`"), 1000)</script>`)
	r.open(eager)
	_, mark := r.await(0, "a login in storage", func(b rpc.EventBody) bool { o, ok := b.(rpc.PageObserved); return ok && o.Registered })
	for range 4 {
		var e event
		e, mark = r.await(mark, "more observations", func(b rpc.EventBody) bool { _, ok := b.(rpc.PageObserved); return ok })
		if o := e.body.(rpc.PageObserved); !o.Registered || o.Condition == rpc.PageLoggedOut {
			t.Fatalf("got %+v", o)
		}
	}
}

func TestNewSelectorsNeedNoReload(t *testing.T) {
	t.Parallel()
	r := &rig{t: t, browser: chromes.take(t)}
	r.url = plain(t, "<body>"+strings.Replace(codeOf(t, payloadOf("InAnotherAttribute")), "data-ref", "data-other", 1))
	r.open()
	_, mark := r.await(0, "an observation", func(b rpc.EventBody) bool { _, ok := b.(rpc.PageObserved); return ok })
	k, err := selectors.Read(nil)
	if err != nil {
		t.Fatal(err)
	}
	k.DOM.Code, k.DOM.CodeAttribute = "[data-other]", "data-other"
	k.Screens[1].Selectors = []string{"[data-other]"}
	file, err := json.Marshal(k)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.page.SetSelectors(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	if shown, _ := r.awaitCode(mark); shown.Reader != "dom" {
		t.Fatalf("got %+v", shown)
	}
}

func TestOtherTabsAreClosed(t *testing.T) {
	t.Parallel()
	browsertest.InChrome(t)
	r := open(t, simulator.Options{Speed: 5}, eager)
	_, mark := r.awaitCode(0)
	for _, url := range []string{"about:blank", r.url} {
		if _, err := (proto.TargetCreateTarget{URL: url}).Call(r.browser.Rod()); err != nil {
			t.Fatal(err)
		}
	}
	pages := func() int {
		list, err := proto.TargetGetTargets{}.Call(r.browser.Rod())
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, info := range list.TargetInfos {
			if target.IsPage(info) {
				n++
			}
		}
		return n
	}
	for range 100 {
		if pages() == 1 {
			return
		}
		_, mark = r.await(mark, "another observation", func(b rpc.EventBody) bool { _, ok := b.(rpc.PageObserved); return ok })
	}
	t.Fatalf("%d pages are left", pages())
}
