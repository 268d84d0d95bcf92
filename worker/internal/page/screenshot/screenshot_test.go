package screenshot

import (
	"bytes"
	"context"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"strings"
	"testing"

	qr "github.com/skip2/go-qrcode"
)

// text is as long as a QR payload.
var text = "https://phone.example/link#2@" + strings.Repeat("Ab9+/", 18) + ",k=,k=,k=,1"

// code draws a QR code of a text, size pixels wide.
func code(t testing.TB, text string, size int, ink, paper color.Color) image.Image {
	t.Helper()
	c, err := qr.New(text, qr.Low)
	if err != nil {
		t.Fatal(err)
	}
	c.ForegroundColor, c.BackgroundColor = ink, paper
	return c.Image(size)
}

// bare is a code without its quiet zone.
func bare(t testing.TB, text string, pixelsPerModule int, ink, paper color.Color) image.Image {
	t.Helper()
	c, err := qr.New(text, qr.Low)
	if err != nil {
		t.Fatal(err)
	}
	c.ForegroundColor, c.BackgroundColor, c.DisableBorder = ink, paper, true
	return c.Image(-pixelsPerModule)
}

// page puts images on a background, side by side.
func page(background color.Color, images ...image.Image) *image.RGBA {
	p := image.NewRGBA(image.Rect(0, 0, 750, 500))
	draw.Draw(p, p.Bounds(), image.NewUniform(background), image.Point{}, draw.Src)
	x := 40
	for _, img := range images {
		b := img.Bounds()
		draw.Draw(p, b.Add(image.Pt(x, 100)), img, b.Min, draw.Over)
		x += b.Dx() + 100
	}
	return p
}

func TestReadFindsACodeHoweverItIsShown(t *testing.T) {
	ink, paper := color.RGBA{0x12, 0x2e, 0x31, 0xff}, color.White
	dark := color.RGBA{0x16, 0x17, 0x17, 0xff}
	plain := code(t, text, 264, ink, paper)
	for _, tc := range []struct {
		name string
		img  image.Image
	}{
		{"alone", plain},
		{"on a page", page(color.White, plain)},
		{"on a dark page", page(dark, plain)},
		{"light on dark", page(dark, code(t, text, 264, color.White, ink))},
		{"light on dark, without a margin", bare(t, text, 4, color.White, ink)},
		{"without a margin", bare(t, text, 4, ink, paper)},
		{"small", page(color.White, code(t, text, 150, ink, paper))},
		{"next to another code", page(color.White, code(t, "https://example.org/app", 264, ink, paper), plain)},
		{"with an odd origin", page(color.White, plain).SubImage(image.Rect(20, 50, 400, 450))},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, ok := Read(t.Context(), tc.img, func(s string) bool { return s == text })
			if !ok || got != text {
				t.Fatal("it was not found")
			}
		})
	}
}

func TestReadFindsOnlyWhatAPhoneWould(t *testing.T) {
	faint := code(t, text, 264, color.Gray{245}, color.White)
	for _, tc := range []struct {
		name string
		img  image.Image
	}{
		{"blank", page(color.White)},
		{"faded under an overlay", page(color.White, faint)},
		{"no pixels", image.NewGray(image.Rect(0, 0, 0, 0))},
		{"too many pixels", hugeImage{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got, ok := Read(t.Context(), tc.img, func(string) bool { return true }); ok {
				t.Fatalf("found %q", got)
			}
		})
	}
}

// hugeImage claims to be large, and fails when it is read.
type hugeImage struct{}

func (hugeImage) ColorModel() color.Model { return color.GrayModel }
func (hugeImage) Bounds() image.Rectangle { return image.Rect(0, 0, 1<<20, 1<<20) }
func (hugeImage) At(int, int) color.Color { panic("read") }

func TestReadStopsWhenItsContextEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, ok := Read(ctx, page(color.White, code(t, text, 264, color.Black, color.White)), func(string) bool { return true }); ok {
		t.Fatal("it went on")
	}
}

func FuzzReadSurvivesAnyPicture(f *testing.F) {
	var buf bytes.Buffer
	if err := png.Encode(&buf, code(f, "x", 29, color.Black, color.White)); err != nil {
		f.Fatal(err)
	}
	f.Add(buf.Bytes(), uint8(29))
	f.Fuzz(func(t *testing.T, pixels []byte, width uint8) {
		w := int(width)
		if w == 0 || len(pixels) < w || len(pixels) > 1<<14 {
			return
		}
		img := &image.Gray{Pix: pixels, Stride: w, Rect: image.Rect(0, 0, w, len(pixels)/w)}
		_, _ = Read(t.Context(), img, func(string) bool { return false })
	})
}

func BenchmarkReadScreenshot(b *testing.B) {
	img := page(color.White, code(b, text, 264, color.Black, color.White))
	for b.Loop() {
		if _, ok := Read(b.Context(), img, func(string) bool { return true }); !ok {
			b.Fatal("it was not found")
		}
	}
}
