// Package qr draws QR payloads as QR codes: as a PNG and as text for a terminal. It
// proves that each PNG is readable before it returns it.
package qr

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
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
	// Base64 is PNG in standard base64, without a data: prefix.
	Base64 string
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
	image, err := draw(q, payload)
	if err != nil {
		return nil, err
	}
	return &Code{image, base64.StdEncoding.EncodeToString(image), terminal(q)}, nil
}

// draw returns a PNG that decodes to payload both as it is and when it has to be
// found in an image, as a camera does. If no scale satisfies the second, it returns
// the first that satisfies the first.
func draw(q *qrcode.QRCode, payload rpc.QRPayload) ([]byte, error) {
	var readable []byte
	var unreadable error
	tried := scales(len(q.Bitmap()))
	for _, scale := range tried {
		// go-qrcode's own PNG is no smaller, and takes three times as long.
		var encoded bytes.Buffer
		if err := png.Encode(&encoded, q.Image(-scale)); err != nil {
			return nil, fmt.Errorf("cannot draw QR: %w", err)
		}
		drawn, err := png.Decode(bytes.NewReader(encoded.Bytes()))
		if err != nil {
			return nil, fmt.Errorf("cannot read drawn QR: %w", err)
		}
		bitmap, err := gozxing.NewBinaryBitmapFromImage(drawn)
		if err != nil {
			return nil, fmt.Errorf("cannot read drawn QR: %w", err)
		}
		if unreadable = verify(bitmap, payload, pure); unreadable != nil {
			continue
		}
		if len(tried) == 1 || verify(bitmap, payload, nil) == nil {
			return encoded.Bytes(), nil
		}
		if readable == nil {
			readable = encoded.Bytes()
		}
	}
	if readable == nil {
		return nil, unreadable
	}
	return readable, nil
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

// terminal draws q with half blocks, including its quiet zone.
func terminal(q *qrcode.QRCode) string {
	var b strings.Builder
	for line := range strings.Lines(q.ToSmallString(true)) {
		b.WriteString(blackOnWhite + strings.TrimSuffix(line, "\n") + resetColours + "\n")
	}
	return b.String()
}
