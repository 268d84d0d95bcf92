package page

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	qr "github.com/skip2/go-qrcode"

	"session-manager/scripts/simulator"
)

// payloadOf returns a well-formed QR payload.
func payloadOf(ref string) string {
	key := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("k", 32)))
	return fmt.Sprintf("2@%s,%s,%s,%s,1", ref, key, key, key)
}

// imageOf returns a data URL of its code.
func imageOf(t *testing.T, payload string) string {
	t.Helper()
	c, err := qr.New(payload, qr.Low)
	if err != nil {
		t.Fatal(err)
	}
	img, err := c.PNG(264)
	if err != nil {
		t.Fatal(err)
	}
	return "data:image/png;base64," + base64.StdEncoding.EncodeToString(img)
}

// codeOf returns a container of the payload with its picture.
func codeOf(t *testing.T, payload string) string {
	t.Helper()
	return `<div data-ref="` + payload + `"><img width=264 height=264 src="` + imageOf(t, payload) + `"></div>`
}

// eager searches images soon and often, and observes often. A search is half a second of work.
func eager(o *Options) {
	o.Timings.Interval, o.Timings.SearchAgain, o.Timings.SearchAgainMax = 200*time.Millisecond, 500*time.Millisecond, 500*time.Millisecond
	o.Timings.Rest = 200 * time.Millisecond
	o.Timings.Classify.Silence, o.Timings.Classify.Repeat = 200*time.Millisecond, time.Second
}

func TestCodeIsFoundInAnyImage(t *testing.T) {
	t.Parallel()
	r := openSite(t, newSite(t, ""), eager)
	r.await(0, "an observation", isObserved)
	const img = `<img width=264 height=264 src="DATA">`
	for i, tc := range []struct{ name, body, reader string }{
		{"image", img, "image"},
		{"canvas", `<canvas width=264 height=264></canvas><script>
			const i = new Image(); i.onload = () => document.querySelector("canvas").getContext("2d").drawImage(i, 0, 0); i.src = "DATA"</script>`, "image"},
		{"drawing", `<svg width=264 height=264 xmlns:xlink="http://www.w3.org/1999/xlink"><image width=264 height=264 xlink:href="DATA"/></svg>`, "image"},
		{"open shadow tree", `<div></div><script>document.querySelector("div").attachShadow({mode: "open"}).innerHTML = '` + img + `'</script>`, "image"},
		{"closed shadow tree", `<div></div><script>document.querySelector("div").attachShadow({mode: "closed"}).innerHTML = '` + img + `'</script>`, "image"},
		{"frame", `<iframe width=300 height=300 srcdoc='` + img + `'></iframe>`, "image"},
		{"behind another image", `<img width=100 height=100 src="` + imageOf(t, "https://example.org/") + `">` + img, "image"},
		{"background, which is not an image", `<div style="width:264px;height:264px;background:url(DATA)"></div>`, "screenshot"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r.t = t
			payload := payloadOf(fmt.Sprintf("PicturePicture%d", i))
			mark := r.show(strings.ReplaceAll(tc.body, "DATA", imageOf(t, payload)))
			if shown, _ := r.awaitCode(mark); string(shown.Payload) != payload || shown.Reader != tc.reader {
				t.Fatalf("got %+v", shown)
			}
		})
	}
}

func TestUnscannableImagesAreIgnored(t *testing.T) {
	t.Parallel()
	data := imageOf(t, payloadOf("PicturePicture"))
	r := openSite(t, newSite(t, ""), eager)
	r.await(0, "an observation", isObserved)
	for _, tc := range []struct{ name, body string }{
		{"faded", `<div style="opacity:.04"><img width=264 height=264 src="` + data + `"></div>`},
		{"hidden", `<img style="visibility:hidden" width=264 height=264 src="` + data + `">`},
		{"under a button", `<div style="position:relative;width:264px"><img width=264 height=264 src="` + data + `">
			<button style="position:absolute;left:66px;top:80px;width:132px;height:100px">reload</button></div>`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r.t = t
			r.show(tc.body)
			r.awaitSearches(1) // without success
			events, _ := r.events.all()
			for _, e := range events {
				if isCode("")(e.body) {
					t.Error("it was mistaken for a code")
				}
			}
		})
	}
}

func TestRenamedPageIsReadFromImages(t *testing.T) {
	t.Parallel()
	r := open(t, simulator.Options{Profile: "renamed", Speed: 8})
	first, mark := r.awaitCode(0)
	if first.Reader != "image" && first.Reader != "screenshot" {
		t.Fatalf("got %+v", first)
	}
	second, mark := r.awaitCode(mark)
	if second.Payload == first.Payload {
		t.Fatal("the second code is the first")
	}
	// The screen may change between the two.
	for tries := 5; r.sim.OnScreen().Payload != string(second.Payload); second, mark = r.awaitCode(mark) {
		if tries--; tries == 0 {
			t.Fatal("the payloads reported are not those on the screen")
		}
	}
}
