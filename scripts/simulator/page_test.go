package simulator_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"image"
	"image/color"
	_ "image/png"
	"strings"
	"testing"

	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/qrcode/decoder"

	"session-manager/scripts/simulator"
)

func TestCodeOnCanvasEqualsDataRef(t *testing.T) {
	r := newRig(t, simulator.Options{Speed: 2})
	r.open("")
	seen := r.shown()
	ref := r.eval(`document.querySelector('[data-ref]').getAttribute('data-ref')`)
	if ref != seen.Payload {
		t.Error("data-ref is not what the page reported")
	}
	url := r.eval(`document.querySelector('canvas[role=img]').toDataURL()`)
	if got := decode(t, url); got != ref {
		t.Errorf("canvas decodes to %d bytes other than data-ref", len(got))
	}
	fields := strings.Split(strings.TrimPrefix(ref, "https://wa.me/settings/linked_devices#"), ",")
	if len(fields) != 5 || !strings.HasPrefix(fields[0], "2@") || fields[4] != "1" {
		t.Fatalf("payload has %d fields", len(fields))
	}
	for _, key := range fields[1:4] {
		if raw, err := base64.StdEncoding.DecodeString(key); err != nil || len(raw) != 32 || len(key) != 44 {
			t.Errorf("key has %d bytes, error %v", len(raw), err)
		}
	}
	check(t, r.Order(simulator.Next))
	r.until(func(c simulator.Screen) bool { return c.Visible && c.Ref != seen.Ref })
}

// decode reads the code in a data URL.
func decode(t *testing.T, url string) string {
	t.Helper()
	_, text, _ := strings.Cut(url, ",")
	raw, err := base64.StdEncoding.DecodeString(text)
	check(t, err)
	img, _, err := image.Decode(bytes.NewReader(raw))
	check(t, err)
	payload, err := read(img)
	check(t, err)
	return payload
}

var errNoCode = errors.New("the image is not a code")

// read returns the text of the code that fills the image. It looks at the middle of each
// module: detectors miss one perfect image in forty, and then a quarter of the
// codes that differ from it in the secret alone.
func read(img image.Image) (string, error) {
	dark := threshold(img)
	side := img.Bounds().Dx()
	failed := errNoCode
	for modules := 21; modules <= 177; modules += 4 {
		bits, err := gozxing.NewSquareBitMatrix(modules)
		if err != nil {
			return "", err
		}
		middle := func(i int) int { return (2*i + 1) * side / (2 * modules) }
		for y := range modules {
			for x := range modules {
				if dark(middle(x), middle(y)) {
					bits.Set(x, y)
				}
			}
		}
		if !hasFinders(bits, modules) {
			continue
		}
		result, err := decoder.NewDecoder().DecodeWithoutHint(bits)
		if err == nil {
			return result.GetText(), nil
		}
		failed = err
	}
	return "", failed
}

// threshold returns what decides whether a pixel is dark.
func threshold(img image.Image) func(x, y int) bool {
	b := img.Bounds()
	gray := func(x, y int) int { return int(color.GrayModel.Convert(img.At(b.Min.X+x, b.Min.Y+y)).(color.Gray).Y) }
	darkest, lightest := 255, 0
	for y := range b.Dy() {
		for x := range b.Dx() {
			darkest, lightest = min(darkest, gray(x, y)), max(lightest, gray(x, y))
		}
	}
	return func(x, y int) bool { return 2*gray(x, y) < darkest+lightest }
}

// hasFinders reports whether three corners have the pattern that detectors look for.
func hasFinders(bits *gozxing.BitMatrix, modules int) bool {
	far := modules - 4
	for _, centre := range []image.Point{{3, 3}, {far, 3}, {3, far}} {
		for y := max(centre.Y-4, 0); y <= min(centre.Y+4, modules-1); y++ {
			for x := max(centre.X-4, 0); x <= min(centre.X+4, modules-1); x++ {
				ring := max(x-centre.X, centre.X-x, y-centre.Y, centre.Y-y)
				if bits.Get(x, y) != (ring != 2 && ring != 4) {
					return false
				}
			}
		}
	}
	return true
}
