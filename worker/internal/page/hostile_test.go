package page

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/go-rod/rod/lib/proto"

	"session-manager/shared/rpc"
	"session-manager/worker/internal/browser/browsertest"
	"session-manager/worker/internal/page/target"
)

// watch observes a hostile page for a while, and checks that it is observed in
// time, that memory stays bounded, and that only its own code is reported. It
// returns what was reported.
func (r *rig) watch(code string, d time.Duration) []event {
	r.t.Helper()
	_, mark := r.await(0, "an observation", func(b rpc.EventBody) bool { _, ok := b.(rpc.PageObserved); return ok })
	start := time.Now()
	for time.Since(start) < d {
		_, mark = r.await(mark, "more observations", func(b rpc.EventBody) bool { _, ok := b.(rpc.PageObserved); return ok })
		if age := r.page.MainThreadAge(); age > inTime {
			r.t.Errorf("the page was last observed %v ago", age)
		}
	}
	events, _ := r.events.all()
	for _, e := range events {
		if shown, ok := e.body.(rpc.QRShown); ok && string(shown.Payload) != code {
			r.t.Error("something other than the code was reported")
		}
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	if m.HeapInuse > 600<<20 {
		r.t.Errorf("%d MiB are in use", m.HeapInuse>>20)
	}
	return events
}

// hurried repeats its observations often.
func hurried(o *Options) {
	o.Timings.Interval = 200 * time.Millisecond
	o.Timings.Classify.Silence, o.Timings.Classify.Repeat = 200*time.Millisecond, 500*time.Millisecond
}

func TestHostilePageIsObservedInTime(t *testing.T) {
	t.Parallel()
	payload := payloadOf("AmongTheHostile")
	img := `<img width=264 height=264 style="position:fixed;left:0;top:0" src="` + imageOf(t, payload) + `">`
	decoy := imageOf(t, "https://example.org/")
	type hostile struct {
		name, body string
		found      bool // the code must be
	}
	for _, tc := range first([]hostile{
		{"a canvas of 20,000 pixels", `<canvas width=20000 height=1000></canvas><canvas width=20000 height=20000></canvas>` + img + `<script>
			document.querySelector("canvas").getContext("2d").fillRect(0, 0, 20000, 1000)</script>`, true},
		{"50 MB of elements", `<script>
			const text = "t".repeat(2000);
			for (let i = 0; i < 250; i++) {
				const box = document.createElement("div"); box.style.cssText = "height:20px;content-visibility:hidden";
				for (let j = 0; j < 100; j++) { const e = document.createElement("p"); e.textContent = text; box.append(e); }
				document.body.append(box);
			}</script>` + img, true},
		{"payloads and pictures at full speed", `<div data-ref=""><canvas width=264 height=264></canvas></div><script>
			const d = document.querySelector("div"), pen = document.querySelector("canvas").getContext("2d"), c = new MessageChannel(); let n = 0;
			c.port1.onmessage = () => {
				d.setAttribute("data-ref", "` + payload + `".replace("AmongTheHostile", "AmongTheHostile" + n++));
				pen.fillStyle = n % 2 ? "#000" : "#fff"; pen.fillRect(n % 264, n % 200, 30, 30);
				c.port2.postMessage(0);
			};
			c.port2.postMessage(0)</script>`, false},
		{"elements that throw", `<div data-ref="` + payload + `">` + img + `</div><script>
			for (const e of document.querySelectorAll("div, img")) for (const name of ["getBoundingClientRect", "checkVisibility", "getRootNode", "matches", "clientWidth"]) {
				Object.defineProperty(e, name, { get() { throw new Error("no") } });
			}</script>`, false},
		{"a hundred codes", img + strings.Repeat(`<img width=120 height=120 style="margin-top:280px" src="`+decoy+`">`, 100), true},
		{"an attribute of 5 MB", `<div>x</div>` + img + `<script>document.querySelector("div").setAttribute("data-ref", "2@".padEnd(5e6, "A"))</script>`, true},
		{"events at full speed", `<div data-ref="` + payload + `">` + img + `</div><script>
			let listener = () => {};
			window.importNamespace = window.require = (name) => ({ Conn: { on: (_, f) => { listener = f } }, Socket: { on: (_, f) => { listener = f } } });
			const c = new MessageChannel();
			c.port1.onmessage = () => { for (let i = 0; i < 1000; i++) listener(); c.port2.postMessage(0) };
			c.port2.postMessage(0)</script>`, true},
		{"changes at full speed", `<div data-ref="` + payload + `">` + img + `</div><p></p><script>
			const c = new MessageChannel(); let n = 0;
			c.port1.onmessage = () => {
				for (let i = 0; i < 200; i++) { n++; document.querySelector("p").style.left = n + "px"; document.querySelector("p").textContent = n; }
				c.port2.postMessage(0);
			};
			c.port2.postMessage(0)</script>`, true},
		{"a code on a gigantic canvas", `<div data-ref="` + payload + `"><canvas width=8000 height=8000 style="width:264px;height:264px"></canvas></div><script>
			document.querySelector("canvas").getContext("2d").fillRect(0, 0, 8000, 8000)</script>`, false},
		{"a code of three thousand letters", `<img width=1000 height=1000 src="` + imageOf(t, strings.Repeat("k", 2900)) + `">
			<div data-ref="2@` + strings.Repeat("A", 3000) + `">x</div>`, false},
		{"thousands of codes", strings.Repeat(`<div data-ref="`+payload+`"><canvas></canvas></div>`, 5000), false},
	}, 4) {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			begun := time.Now()
			r := openPlain(t, "<!doctype html><body>"+tc.body, hurried)
			if tc.found {
				r.awaitCode(0)
			}
			before, events := runtime.NumGoroutine(), r.watch(payload, time.Second)
			if n, took := len(events), time.Since(begun); n > max(100, 3*int(took/time.Second)) {
				t.Errorf("%d events were reported in %v", n, took)
			}
			if after := runtime.NumGoroutine(); after > before+50 {
				t.Errorf("from %d to %d goroutines", before, after)
			}
			d, err := r.page.Diagnose(r.context())
			if err != nil || len(d.Outline) > 64<<10+100 {
				t.Errorf("diagnosis: %d bytes, %v", len(d.Outline), err)
			}
			if strings.Contains(fmt.Sprint(d), "AmongTheHostile") {
				t.Error("the diagnosis holds the code")
			}
		})
	}
}

// What a page stores can't fill the disk: neither that of our page, nor that of another one
// which it shows.
func TestStorageIsBoundedWhateverTheDisk(t *testing.T) {
	t.Parallel()
	browsertest.InChrome(t)
	r := openPlain(t, "<!doctype html><body>")
	for origin, want := range map[string]float64{r.url: target.MaxStorage, "https://example.org": 4.5 * (1 << 30)} {
		quota, err := proto.StorageGetUsageAndQuota{Origin: origin}.Call(r.page.target.Page.Context(r.context()))
		if err != nil {
			t.Fatal(err)
		}
		if quota.Quota != want {
			t.Errorf("%s may store %.0f bytes, want %.0f", origin, quota.Quota, want)
		}
	}
}
