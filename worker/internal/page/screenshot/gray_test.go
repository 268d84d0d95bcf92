package screenshot

import (
	"image"
	"image/color"
	"testing"
)

// TestGrayIsWhatIsSeenOnPaper compares with the standard library's own, slower conversion.
func TestGrayIsWhatIsSeenOnPaper(t *testing.T) {
	transparent := image.NewNRGBA(image.Rect(3, 5, 10, 9))
	opaque := image.NewRGBA(transparent.Rect)
	for i := range transparent.Pix {
		transparent.Pix[i] = byte(37 * i)
		opaque.Pix[i] = byte(91*i) | 255*byte(i%4/3)
	}
	for name, img := range map[string]image.Image{
		"transparent": transparent, "opaque": opaque, "a part": opaque.SubImage(image.Rect(4, 6, 8, 8)),
		"palette": image.NewPaletted(image.Rect(0, 0, 2, 2), color.Palette{color.RGBA{200, 10, 30, 255}}),
	} {
		for _, dark := range []bool{false, true} {
			got, b := toGray(img, dark), img.Bounds()
			for y := range got.Rect.Dy() {
				for x := range got.Rect.Dx() {
					at := image.Pt(b.Min.X+x-16, b.Min.Y+y-16)
					want := byte(255)
					if at.In(b) {
						r, g, b, a := img.At(at.X, at.Y).RGBA()
						white := 0xffff - a
						want = color.GrayModel.Convert(color.RGBA64{uint16(r + white), uint16(g + white), uint16(b + white), 0xffff}).(color.Gray).Y
					} else if dark {
						want = 0
					}
					if d := int(got.GrayAt(x, y).Y) - int(want); d < -1 || d > 1 {
						t.Fatalf("%s, dark %v: %d at %d,%d, want %d", name, dark, got.GrayAt(x, y).Y, x, y, want)
					}
				}
			}
		}
	}
}
