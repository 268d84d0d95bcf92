// Package qr draws QR payloads as QR codes: as a PNG and as text for a terminal. It
// proves that each PNG is readable before it returns it.
package qr

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"image"
	"image/png"
	"strings"

	"github.com/makiuchi-d/gozxing"
	zxing "github.com/makiuchi-d/gozxing/qrcode"
	qrcode "github.com/skip2/go-qrcode"

	"session-manager/shared/rpc"
)

// ErrUnreadable means that the drawn QR did not decode to its payload.
var ErrUnreadable = errors.New("the drawn QR does not decode to its payload")

// Code is one payload, drawn. It must not be changed.
type Code struct {
	// PNG is black on white, with a quiet zone of four modules.
	PNG []byte
	// JSON is the answer of GET /qr: PNG in standard base64, without a data: prefix.
	JSON []byte
	// Text is drawn with half blocks, two modules a character, for a terminal. Escape
	// sequences make it black on white on a dark terminal, too.
	Text string
}

// largest is about the side of the largest image, in pixels. WhatsApp's has about
// 520.
const largest = 800

// scales returns how many pixels a module may get, the best first, for a code with
// this side in modules. Whole pixels keep the edges crisp: an image that was scaled
// to a round size is not readable by every decoder. At a given scale, one image in
// a hundred is not found by every decoder. Looking for a large one would take too
// long, so that there is nothing to choose from.
func scales(side int) []int {
	if best := largest / side; best < 8 {
		return []int{best}
	}
	return []int{8, 9, 7, 10}
}

// Draw draws payload, and decodes the PNG again to prove it. The recovery level is
// L, as on WhatsApp's own page: fewer, larger modules.
func Draw(payload rpc.QRPayload) (*Code, error) {
	if len(payload) == 0 || len(payload) > rpc.MaxQRPayload {
		return nil, fmt.Errorf("cannot draw a QR payload of %d bytes: 1 to %d are allowed", len(payload), rpc.MaxQRPayload)
	}
	q, err := qrcode.New(string(payload), qrcode.Low)
	if err != nil {
		return nil, fmt.Errorf("cannot encode QR: %w", err)
	}
	m := modules(q.Bitmap()) // each call makes another one
	drawn, err := draw(m, payload)
	if err != nil {
		return nil, err
	}
	answer := `{"status":"QR_AVAILABLE","qr":"` + base64.StdEncoding.EncodeToString(drawn) + `"}`
	return &Code{drawn, []byte(answer), m.text()}, nil
}

// draw returns a PNG that decodes to payload both as it is and when it has to be
// found in an image, as a camera does. If no scale satisfies the second, it returns
// the first that satisfies the first.
func draw(m modules, payload rpc.QRPayload) ([]byte, error) {
	var readable []byte
	var unreadable error
	tried := scales(len(m))
	for _, scale := range tried {
		encoded, err := m.png(scale)
		if err != nil {
			return nil, fmt.Errorf("cannot draw QR: %w", err)
		}
		bitmap, err := read(encoded)
		if err != nil {
			return nil, fmt.Errorf("cannot read drawn QR: %w", err)
		}
		if unreadable = verify(bitmap, payload, pure); unreadable != nil {
			continue
		}
		if len(tried) == 1 || verify(bitmap, payload, nil) == nil {
			return encoded, nil
		}
		if readable == nil {
			readable = encoded
		}
	}
	if readable == nil {
		return nil, unreadable
	}
	return readable, nil
}

// read returns what a decoder looks for a code in. gozxing's own function asks for each
// pixel's colour, which takes longer than all the rest.
func read(encoded []byte) (*gozxing.BinaryBitmap, error) {
	decoded, err := png.Decode(bytes.NewReader(encoded))
	if err != nil {
		return nil, err
	}
	img, ok := decoded.(*image.Gray)
	if !ok {
		return nil, fmt.Errorf("unexpected %T", decoded)
	}
	side := img.Rect.Size()
	source, err := gozxing.NewPlanarYUVLuminanceSource(img.Pix, img.Stride, side.Y, 0, 0, side.X, side.Y, false)
	if err != nil {
		return nil, err
	}
	return gozxing.NewBinaryBitmap(gozxing.NewHybridBinarizer(source))
}

// pure makes a decoder expect nothing but a code; without it, the code is looked for.
var pure = map[gozxing.DecodeHintType]any{gozxing.DecodeHintType_PURE_BARCODE: true}

func verify(image *gozxing.BinaryBitmap, payload rpc.QRPayload, hints map[gozxing.DecodeHintType]any) error {
	result, err := zxing.NewQRCodeReader().Decode(image, hints)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	if result.GetText() != string(payload) {
		return ErrUnreadable
	}
	return nil
}

const (
	blackOnWhite = "\x1b[38;5;16;48;5;231m"
	resetColours = "\x1b[0m"
)

// modules are the rows of a code with its quiet zone. Those that are true are dark.
type modules [][]bool

// text draws with half blocks.
func (m modules) text() string {
	blocks := map[[2]bool]string{{true, true}: "█", {true, false}: "▀", {false, true}: "▄", {false, false}: " "}
	var b strings.Builder
	for y := 0; y < len(m); y += 2 {
		b.WriteString(blackOnWhite)
		for x, upper := range m[y] {
			b.WriteString(blocks[[2]bool{upper, y+1 < len(m) && m[y+1][x]}])
		}
		b.WriteString(resetColours + "\n")
	}
	return b.String()
}
