// Package screenshot reads QR codes in images, as a phone's camera would. It knows
// nothing of the page that they come from.
package screenshot

import (
	"context"
	"image"
	"image/draw"

	"github.com/makiuchi-d/gozxing"
	multi "github.com/makiuchi-d/gozxing/multi/qrcode"
	"github.com/makiuchi-d/gozxing/qrcode"
)

// MaxPixels bounds an image. Larger ones are not read.
const MaxPixels = 8 << 20

// attempt is one way of reading an image.
type attempt struct {
	scale    int // of both sides
	inverted bool
	global   bool // one threshold for the whole image instead of many
	several  bool // look for more than one code
}

// attempts go from cheap to expensive. On screenshots of 1366x813 with a code of 228
// pixels the first took 10 to 50 ms, and found it in every case but two: light on
// dark (the third does), and a second code next to it (the second does). The
// others are for the one perfect image in thirty that the detector misses.
var attempts = []attempt{
	{scale: 1},
	{scale: 1, several: true},
	{scale: 1, inverted: true},
	{scale: 1, global: true},
	{scale: 2},
	{scale: 2, several: true},
	{scale: 2, inverted: true},
	{scale: 2, global: true},
	{scale: 3},
}

// Read returns the first text in the image that accept accepts. It tries
// until ctx ends.
func Read(ctx context.Context, img image.Image, accept func(string) bool) (string, bool) {
	size := img.Bounds().Size()
	if size.X <= 0 || size.Y <= 0 || size.X > MaxPixels/size.Y {
		return "", false
	}
	sheets := map[bool]*image.Gray{} // by whether the margin is dark
	for _, a := range attempts {
		if ctx.Err() != nil {
			return "", false
		}
		if size.X*a.scale > MaxPixels/(size.Y*a.scale) {
			continue
		}
		if sheets[a.inverted] == nil {
			sheets[a.inverted] = toGray(img, a.inverted)
		}
		for _, text := range a.read(enlarge(sheets[a.inverted], a.scale)) {
			if accept(text) {
				return text, true
			}
		}
	}
	return "", false
}

// read returns what it can decode.
func (a attempt) read(img *image.Gray) (texts []string) {
	// The decoder indexes without checks; an image of a broken code has made ports
	// of it panic before.
	defer func() {
		if recover() != nil {
			texts = nil
		}
	}()
	// gozxing's function for images would ask for each pixel's colour.
	size := img.Rect.Size()
	source, err := gozxing.NewPlanarYUVLuminanceSource(img.Pix, img.Stride, size.Y, 0, 0, size.X, size.Y, false)
	if err != nil {
		return nil
	}
	if a.inverted {
		source = source.Invert()
	}
	binarizer := gozxing.NewHybridBinarizer(source)
	if a.global {
		binarizer = gozxing.NewGlobalHistgramBinarizer(source)
	}
	bitmap, err := gozxing.NewBinaryBitmap(binarizer)
	if err != nil {
		return nil
	}
	hints := map[gozxing.DecodeHintType]any{gozxing.DecodeHintType_TRY_HARDER: true}
	if a.several {
		results, err := multi.NewQRCodeMultiReader().DecodeMultiple(bitmap, hints)
		if err != nil {
			return nil
		}
		for _, r := range results {
			texts = append(texts, r.GetText())
		}
		return texts
	}
	result, err := qrcode.NewQRCodeReader().Decode(bitmap, hints)
	if err != nil {
		return nil
	}
	return []string{result.GetText()}
}

// toGray puts the image on white paper, with a margin as codes need it: in the
// colour of their light modules, or of what is read as such.
func toGray(img image.Image, darkMargin bool) *image.Gray {
	const margin = 16
	outside := image.White
	if darkMargin {
		outside = image.Black
	}
	b := img.Bounds()
	gray := image.NewGray(image.Rect(0, 0, b.Dx()+2*margin, b.Dy()+2*margin))
	line := image.NewRGBA(image.Rect(0, 0, gray.Rect.Dx(), 1)) // image/draw is slow on a Gray
	inner := image.Rect(margin, 0, margin+b.Dx(), 1)
	for y := range gray.Rect.Dy() {
		draw.Draw(line, line.Rect, outside, image.Point{}, draw.Src)
		if y >= margin && y < margin+b.Dy() {
			draw.Draw(line, inner, image.White, image.Point{}, draw.Src)
			draw.Draw(line, inner, img, image.Pt(b.Min.X, b.Min.Y+y-margin), draw.Over)
		}
		row := gray.Pix[y*gray.Stride:][:gray.Rect.Dx()]
		for x := range row {
			p := line.Pix[4*x:][:3]
			row[x] = byte((19595*uint32(p[0]) + 38470*uint32(p[1]) + 7471*uint32(p[2]) + 1<<15) >> 16) // as color.GrayModel
		}
	}
	return gray
}

// enlarge repeats each pixel n times in both directions.
func enlarge(src *image.Gray, n int) *image.Gray {
	if n == 1 {
		return src
	}
	b := src.Bounds()
	dst := image.NewGray(image.Rect(0, 0, b.Dx()*n, b.Dy()*n))
	for y := range b.Dy() {
		row := dst.Pix[y*n*dst.Stride:][:dst.Stride]
		for x := range b.Dx() {
			v := src.Pix[y*src.Stride+x]
			for i := range n {
				row[x*n+i] = v
			}
		}
		for i := 1; i < n; i++ {
			copy(dst.Pix[(y*n+i)*dst.Stride:], row)
		}
	}
	return dst
}
