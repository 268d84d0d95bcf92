package qr

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/makiuchi-d/gozxing"

	"session-manager/shared/rpc"
)

func key(t testing.TB) string {
	t.Helper()
	b := make([]byte, 32)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(b)
}

func login(t testing.TB) rpc.QRPayload {
	t.Helper()
	return rpc.QRPayload(fmt.Sprintf("https://wa.me/settings/linked_devices#2@%s%s,%s,%s,%s,1",
		strings.TrimRight(key(t), "="), strings.TrimRight(key(t), "="), key(t), key(t), key(t)))
}

// The image is checked as it is, and as a browser scales it, by decoders that share
// nothing with each other or with the product.
func TestPNGDecodesWithTwoDecodersAtUsualSizes(t *testing.T) {
	dir, wanted := t.TempDir(), map[string]rpc.QRPayload{}
	for n, side := range []int{0, 0, 200, 264, 300, 400, 500, 600} {
		want := fixed(n)
		file := filepath.Join(dir, fmt.Sprintf("%d-%d.png", n, side))
		if err := os.WriteFile(file, drawn(t, want, side), 0o600); err != nil {
			t.Fatal(err)
		}
		wanted[file] = want
	}
	for _, decoder := range []struct {
		name, debian string
		args         []string
	}{
		{"zbarimg", "zbar-tools", []string{"--quiet", "--raw"}},
		{"ZXingReader", "zxing-cpp-tools", []string{"-bytes"}},
	} {
		t.Run(decoder.name, func(t *testing.T) {
			program, err := exec.LookPath(decoder.name)
			if err != nil {
				t.Skipf("%s is missing: apt-get install %s", decoder.name, decoder.debian)
			}
			for file, want := range wanted {
				out, err := exec.CommandContext(t.Context(), program, append(decoder.args, file)...).Output()
				if got := strings.TrimSuffix(string(out), "\n"); err != nil || got != string(want) {
					t.Errorf("%s: %v", filepath.Base(file), err)
				}
			}
		})
	}
}

// Rows end within a byte at most of these sizes.
func TestPNGHasThePixelsOfTheModules(t *testing.T) {
	for side := range 30 {
		for _, scale := range []int{1, 7, 8, 9, 10} {
			m := make(modules, side+1)
			for y := range m {
				m[y] = make([]bool, len(m))
				for x := range m[y] {
					m[y][x] = (x*x+3*y)%5 < 2
				}
			}
			encoded, err := m.png(scale)
			if err != nil {
				t.Fatal(err)
			}
			img, err := png.Decode(bytes.NewReader(encoded))
			if err != nil || img.Bounds() != image.Rect(0, 0, len(m)*scale, len(m)*scale) {
				t.Fatalf("%d modules of %d pixels: %v", len(m), scale, err)
			}
			for y := range len(m) * scale {
				for x := range len(m) * scale {
					want := color.Gray{255}
					if m[y/scale][x/scale] {
						want = color.Gray{0}
					}
					if got := img.At(x, y); got != want {
						t.Fatalf("%d modules of %d pixels: %v at %d, %d", len(m), scale, got, x, y)
					}
				}
			}
		}
	}
}

// fixed is the same payload in each run: scaled to a size that is not a multiple of
// its modules, one image in a hundred is too hard for one of the decoders.
func fixed(n int) rpc.QRPayload {
	part := func(name string) string {
		sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", name, n))
		return base64.StdEncoding.EncodeToString(sum[:])
	}
	return rpc.QRPayload(fmt.Sprintf("https://wa.me/settings/linked_devices#2@%s%s,%s,%s,%s,1",
		strings.TrimRight(part("ref"), "="), strings.TrimRight(part("ref2"), "="), part("noise"), part("identity"), part("adv")))
}

// drawn returns a PNG of the code with the given side; 0 means its own.
func drawn(t *testing.T, want rpc.QRPayload, side int) []byte {
	t.Helper()
	code, err := Draw(want)
	if err != nil {
		t.Fatal(err)
	}
	if side == 0 {
		return code.PNG
	}
	img, err := png.Decode(bytes.NewReader(code.PNG))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := png.Encode(&b, scaled(img, side)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// scaled returns img with the given side, each pixel the mean of what it covers.
func scaled(img image.Image, side int) image.Image {
	from := img.Bounds()
	to := image.NewGray(image.Rect(0, 0, side, side))
	const samples = 4 // in each direction
	for y := range side {
		for x := range side {
			sum := 0
			for i := range samples * samples {
				at := func(pixel, sample, size int) int { return (pixel*samples + sample) * size / (side * samples) }
				sum += int(color.GrayModel.Convert(img.At(at(x, i%samples, from.Dx()), at(y, i/samples, from.Dy()))).(color.Gray).Y)
			}
			to.SetGray(x, y, color.Gray{Y: uint8(sum / (samples * samples))})
		}
	}
	return to
}

func TestJSONHasThePNG(t *testing.T) {
	code, err := Draw(login(t))
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"status":"QR_AVAILABLE","qr":"` + base64.StdEncoding.EncodeToString(code.PNG) + `"}`; string(code.JSON) != want {
		t.Errorf("got %s, not %s", code.JSON, want)
	}
}

func TestPNGHasAQuietZoneOfFourModules(t *testing.T) {
	code, err := Draw(login(t))
	if err != nil {
		t.Fatal(err)
	}
	img, err := png.Decode(bytes.NewReader(code.PNG))
	if err != nil {
		t.Fatal(err)
	}
	zone := 4 * scales(65)[0] // no scale that is tried first has fewer
	b := img.Bounds()
	for x := range b.Dx() {
		for y := range b.Dy() {
			inZone := x < zone || y < zone ||
				x >= b.Dx()-zone || y >= b.Dy()-zone
			if inZone && !white(img, x, y) {
				t.Fatalf("pixel %d,%d of the quiet zone is not white", x, y)
			}
		}
	}
}

func white(img image.Image, x, y int) bool {
	return color.GrayModel.Convert(img.At(x, y)) == color.Gray{Y: 255}
}

func TestTextDecodesToItsPayload(t *testing.T) {
	want := login(t)
	code, err := Draw(want)
	if err != nil {
		t.Fatal(err)
	}
	bitmap, err := gozxing.NewBinaryBitmapFromImage(terminalImage(code.Text))
	if err != nil {
		t.Fatal(err)
	}
	if err := verify(bitmap, want, pure); err != nil {
		t.Fatal(err)
	}
}

// terminalImage draws what a terminal shows for text.
func terminalImage(text string) image.Image {
	text = strings.NewReplacer(blackOnWhite, "", resetColours, "").Replace(text)
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	const scale = 4
	img := image.NewGray(image.Rect(0, 0, len([]rune(lines[0]))*scale, len(lines)*2*scale))
	for row, line := range lines {
		for col, r := range []rune(line) {
			fill(img, col*scale, row*2*scale, scale, r == '█' || r == '▀')
			fill(img, col*scale, (row*2+1)*scale, scale, r == '█' || r == '▄')
		}
	}
	return img
}

func fill(img *image.Gray, x0, y0, n int, dark bool) {
	c := color.Gray{Y: 255}
	if dark {
		c.Y = 0
	}
	for y := y0; y < y0+n; y++ {
		for x := x0; x < x0+n; x++ {
			img.SetGray(x, y, c)
		}
	}
}

func TestLargestPayloadIsDrawnInABoundedImage(t *testing.T) {
	code, err := Draw(rpc.QRPayload(rand.Text() + strings.Repeat("k", rpc.MaxQRPayload-26))) // Text has 26 letters.
	if err != nil {
		t.Fatal(err)
	}
	size, err := png.DecodeConfig(bytes.NewReader(code.PNG))
	if err != nil {
		t.Fatal(err)
	}
	const modules = 177 + 2*4
	if size.Width < 4*modules || size.Width > 1000 || len(code.PNG) > 64<<10 {
		t.Errorf("the image has %d pixels a side and %d bytes", size.Width, len(code.PNG))
	}
	if lines := strings.Count(code.Text, "\n"); lines != (modules+1)/2 {
		t.Errorf("the text has %d lines", lines)
	}
}

func TestDrawRejectsEmptyAndOverlongPayloads(t *testing.T) {
	for _, l := range []rpc.QRPayload{"", rpc.QRPayload(strings.Repeat("a", rpc.MaxQRPayload+1))} {
		if _, err := Draw(l); err == nil {
			t.Errorf("a payload of %d bytes was drawn", len(l))
		} else if strings.Contains(err.Error(), "aaa") {
			t.Error("the error holds the payload")
		}
	}
}

func BenchmarkDraw(b *testing.B) {
	l := login(b)
	for b.Loop() {
		if _, err := Draw(l); err != nil {
			b.Fatal(err)
		}
	}
}
