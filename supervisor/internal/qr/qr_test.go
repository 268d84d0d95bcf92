package qr

import (
	"bytes"
	"crypto/rand"
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

func login(t testing.TB) rpc.Login {
	t.Helper()
	return rpc.Login(fmt.Sprintf("https://wa.me/settings/linked_devices#2@%s%s,%s,%s,%s,1",
		strings.TrimRight(key(t), "="), strings.TrimRight(key(t), "="), key(t), key(t), key(t)))
}

func TestDrawnPNGDecodesToItsStringWithAnIndependentDecoder(t *testing.T) {
	zbarimg, err := exec.LookPath("zbarimg")
	if err != nil {
		t.Skip("zbarimg is missing: apt-get install zbar-tools")
	}
	for range 10 {
		want := login(t)
		code, err := Draw(want)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "qr.png")
		if err := os.WriteFile(file, code.PNG(), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), zbarimg, "--quiet", "--raw", file).Output()
		if err != nil {
			t.Fatalf("zbarimg: %v", err)
		}
		if got := strings.TrimSuffix(string(out), "\n"); got != string(want) {
			t.Fatal("zbarimg read another string than the one drawn")
		}
	}
}

func TestBase64IsThePNG(t *testing.T) {
	code, err := Draw(login(t))
	if err != nil {
		t.Fatal(err)
	}
	got, err := base64.StdEncoding.DecodeString(code.Base64())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, code.PNG()) {
		t.Fatal("base64 holds another picture")
	}
}

func TestPNGHasAQuietZoneOfFourModules(t *testing.T) {
	code, err := Draw(login(t))
	if err != nil {
		t.Fatal(err)
	}
	img, err := png.Decode(bytes.NewReader(code.PNG()))
	if err != nil {
		t.Fatal(err)
	}
	b := img.Bounds()
	for x := range b.Dx() {
		for y := range b.Dy() {
			inZone := x < 4*pixelsPerModule || y < 4*pixelsPerModule ||
				x >= b.Dx()-4*pixelsPerModule || y >= b.Dy()-4*pixelsPerModule
			if inZone && !white(img, x, y) {
				t.Fatalf("pixel %d,%d of the quiet zone is not white", x, y)
			}
		}
	}
}

func white(img image.Image, x, y int) bool {
	return color.GrayModel.Convert(img.At(x, y)) == color.Gray{Y: 255}
}

func TestTextDecodesToItsString(t *testing.T) {
	want := login(t)
	code, err := Draw(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := decode(picture(code.Text()))
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Fatal("the text shows another string")
	}
}

// picture paints what a terminal shows of text.
func picture(text string) image.Image {
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

func TestDrawRefusesEmptyAndOverlongStrings(t *testing.T) {
	for _, l := range []rpc.Login{"", rpc.Login(strings.Repeat("a", MaxLength+1))} {
		if _, err := Draw(l); err == nil {
			t.Errorf("a string of %d bytes was drawn", len(l))
		} else if strings.Contains(err.Error(), "aaa") {
			t.Error("the error holds the string")
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
