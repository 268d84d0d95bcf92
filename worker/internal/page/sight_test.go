package page

import (
	"slices"
	"strings"
	"testing"

	"github.com/go-rod/rod/lib/proto"

	"session-manager/scripts/simulator"
	"session-manager/shared/reason"
	"session-manager/shared/rpc"
)

// refused waits until the page has been reported as one without a readable code, and
// wants no code reported until then.
func (r *rig) refused() {
	r.t.Helper()
	r.await(0, "that no code can be read", func(b rpc.EventBody) bool {
		if _, ok := b.(rpc.QRShown); ok {
			r.t.Fatal("a code was reported")
		}
		o, ok := b.(rpc.PageObserved)
		return ok && o.Reason == reason.QRUnreadable
	})
}

// TestCodeThatNobodyCouldScanIsNotServed hides the picture, but not the payload, in
// each way that the simulator knows.
func TestCodeThatNobodyCouldScanIsNotServed(t *testing.T) {
	t.Parallel()
	// Each of these is noticed as one of the others is.
	alike := []string{"picture=below", "picture=blank", "picture=clip-path", "picture=covered", "picture=dialog", "picture=display", "picture=filter", "picture=mask", "picture=scale", "picture=skipped", "picture=visibility"}
	for _, fault := range simulator.FaultNames() {
		if !strings.HasPrefix(fault, "picture=") || fault == "picture=glass" || !*thorough && slices.Contains(alike, fault) {
			continue
		}
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			open(t, simulator.Options{Speed: 5, Faults: []string{fault}}, fast).refused()
		})
	}
	for _, profile := range []string{"cookie-banner", "modules-only"} {
		t.Run(profile, func(t *testing.T) {
			t.Parallel()
			open(t, simulator.Options{Speed: 5, Profile: profile}, fast).refused()
		})
	}
}

// TestPictureBeatsTheAttribute draws another payload than that of the attribute: what a
// person could scan is served.
func TestPictureBeatsTheAttribute(t *testing.T) {
	t.Parallel()
	drawn := payloadOf("DrawnDrawnDrawn")
	r := openPlain(t, `<!doctype html><body><div data-ref="`+payloadOf("WrittenWritten")+`"><img width=264 height=264 src="`+imageOf(t, drawn)+`"></div>`, eager)
	if shown, _ := r.awaitCode(0); string(shown.Payload) != drawn || shown.Reader != "image" {
		t.Errorf("served was another payload, or by %s", shown.Reader)
	}
}

// TestCodeIsServedOnceItsPictureIsDrawn draws the picture, which fires no event, after
// the attribute was set, and hides and changes it later.
func TestCodeIsServedOnceItsPictureIsDrawn(t *testing.T) {
	t.Parallel()
	payload := payloadOf("DrawnLaterLater")
	r := openPlain(t, `<!doctype html><body><div data-ref="`+payload+`"><canvas width=264 height=264></canvas></div><script>
		const canvas = document.querySelector("canvas"), pen = canvas.getContext("2d"), i = new Image(), veil = document.createElement("p");
		veil.style = "position:fixed;inset:0;background:#fff;pointer-events:none";
		setTimeout(() => { i.onload = () => pen.drawImage(i, 0, 0); i.src = "`+imageOf(t, payload)+`" }, 1500);
		</script>`, hurried)
	_, mark := r.awaitCode(0)
	for _, change := range []struct{ hide, show string }{
		{`document.querySelector("div").style.display = "none"`, `document.querySelector("div").style.display = ""`},
		{`document.querySelector("canvas").style.visibility = "hidden"`, `document.querySelector("canvas").style.visibility = ""`},
		{`pen.fillRect(0, 0, 264, 264)`, `pen.drawImage(i, 0, 0)`},
		{`var copy = canvas.cloneNode(); canvas.replaceWith(copy)`, `copy.getContext("2d").drawImage(i, 0, 0)`},
		{`copy.replaceWith(canvas); canvas.after(veil)`, `veil.remove()`},
	} {
		r.evaluate(change.hide)
		mark = r.awaitGone(mark, "page_changed")
		r.evaluate(change.show)
		_, mark = r.awaitCode(mark)
	}
}

// evaluate runs a statement in the page's own world.
func (r *rig) evaluate(statement string) {
	r.t.Helper()
	if _, err := (proto.RuntimeEvaluate{Expression: statement}).Call(r.page.target.Page.Context(r.context())); err != nil {
		r.t.Fatal(err)
	}
}

// TestVisibleContainerIsTheCode finds it among thousands.
func TestVisibleContainerIsTheCode(t *testing.T) {
	t.Parallel()
	const img = `<img width=264 height=264 src="DATA">`
	hidden := `<div data-ref="` + payloadOf("HiddenHidden") + `" style="display:none">` + img + `</div>`
	r := openSite(t, newSite(t, ""), hurried)
	r.await(0, "an observation", isObserved)
	for name, body := range map[string]string{
		"among others":         strings.Repeat(hidden, 5) + `<div data-ref="PAYLOAD">` + img + `</div>`,
		"behind thousands":     strings.Repeat(`<i data-ref="2@x"></i>`, 5000) + `<div data-ref="PAYLOAD" style="position:fixed;top:0;left:0">` + img + `</div>`,
		"the container itself": strings.Replace(img, "<img", `<img data-ref="PAYLOAD"`, 1),
	} {
		t.Run(name, func(t *testing.T) {
			r.t = t
			payload := payloadOf(strings.ReplaceAll(name, " ", ""))
			mark := r.show(strings.NewReplacer("PAYLOAD", payload, "DATA", imageOf(t, payload)).Replace(body))
			if shown, _ := r.awaitCode(mark); string(shown.Payload) != payload {
				t.Error("it is another payload")
			}
		})
	}
}

func TestCodeUnderSomethingTransparentIsServed(t *testing.T) {
	t.Parallel()
	for _, o := range first([]simulator.Options{
		{Faults: []string{"picture=glass"}}, {Faults: []string{"overlay=debug", "modules=missing:WAWebSocketModel"}}, {Profile: "logo"},
	}, 2) {
		r := open(t, o)
		if shown, _ := r.awaitCode(0); shown.Reader != "dom" {
			t.Errorf("it was read by %s", shown.Reader)
		}
	}
}

// TestCodeIsServedNextToAForeignFrame needs the screen for it, and has no other reader.
func TestCodeIsServedNextToAForeignFrame(t *testing.T) {
	t.Parallel()
	payload := payloadOf("FadedFadedFaded")
	r := openPlain(t, `<!doctype html><body><div data-ref="`+payload+`" style="opacity:.9"><img width=264 height=264 src="`+imageOf(t, payload)+`"></div>
		<iframe src="data:text/html,x"></iframe><iframe src="data:text/html,x" style="display:none"></iframe>`,
		func(o *Options) { o.Timings.Classify.Silence = 2 * patience })
	if shown, _ := r.awaitCode(0); shown.Reader != "dom" || string(shown.Payload) != payload {
		t.Errorf("it is another payload, or read by %s", shown.Reader)
	}
}
