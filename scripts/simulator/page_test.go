package simulator_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"image"
	"image/color"
	"image/draw"
	_ "image/png"
	"strings"
	"testing"

	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/qrcode"

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

// decode reads the code in a data URL, with the white around it that a person's
// screen would have.
func decode(t *testing.T, url string) string {
	t.Helper()
	_, text, _ := strings.Cut(url, ",")
	raw, err := base64.StdEncoding.DecodeString(text)
	check(t, err)
	img, _, err := image.Decode(bytes.NewReader(raw))
	check(t, err)
	const quiet = 20
	size := img.Bounds().Size()
	framed := image.NewRGBA(image.Rect(0, 0, size.X+2*quiet, size.Y+2*quiet))
	draw.Draw(framed, framed.Bounds(), image.NewUniform(color.White), image.Point{}, draw.Src)
	draw.Draw(framed, image.Rectangle{image.Pt(quiet, quiet), image.Pt(quiet, quiet).Add(size)}, img,
		img.Bounds().Min, draw.Over)
	payload, err := read(framed)
	check(t, err)
	return payload
}

func read(img image.Image) (string, error) {
	source := gozxing.NewLuminanceSourceFromImage(img)
	hints := map[gozxing.DecodeHintType]any{gozxing.DecodeHintType_TRY_HARDER: true}
	var failures []error
	for _, binarizer := range []gozxing.Binarizer{gozxing.NewHybridBinarizer(source), gozxing.NewGlobalHistgramBinarizer(source)} {
		bitmap, err := gozxing.NewBinaryBitmap(binarizer)
		if err != nil {
			return "", err
		}
		result, err := qrcode.NewQRCodeReader().Decode(bitmap, hints)
		if err == nil {
			return result.GetText(), nil
		}
		failures = append(failures, err)
	}
	return "", errors.Join(failures...)
}
