// Package qr draws login strings as QR codes: as a PNG and as text for a
// terminal. It proves each picture readable before it hands it out.
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

// MaxLength is the longest login string that is drawn, in bytes. WhatsApp's has
// about 240; past 400 the code gets too dense to be scanned from a screen.
const MaxLength = 400

// ErrUnreadable means that the drawn picture did not decode to its string.
var ErrUnreadable = errors.New("the drawn QR does not decode to its string")

// Code is one login string, drawn. It is immutable.
type Code struct {
	login  rpc.QRPayload
	png    []byte
	base64 string
	text   string
}

// pixelsPerModule are the scales that are tried, the best first. Whole pixels
// keep the edges crisp: a picture that was scaled to a round size is not readable
// by every decoder. One picture in a hundred is not found by every decoder at one
// scale, though it is at another.
var pixelsPerModule = [...]int{8, 9, 7, 10}

// Draw renders login, and decodes the PNG again to prove it. The recovery level
// is L, as on WhatsApp's own page: fewer, larger modules.
func Draw(login rpc.QRPayload) (*Code, error) {
	if len(login) == 0 || len(login) > MaxLength {
		return nil, fmt.Errorf("cannot draw a login string of %d bytes: 1 to %d are allowed", len(login), MaxLength)
	}
	q, err := qrcode.New(string(login), qrcode.Low)
	if err != nil {
		return nil, fmt.Errorf("cannot encode QR: %w", err)
	}
	picture, err := draw(q, login)
	if err != nil {
		return nil, err
	}
	return &Code{
		login:  login,
		png:    picture,
		base64: base64.StdEncoding.EncodeToString(picture),
		text:   terminal(q.Bitmap()),
	}, nil
}

// Login returns the string that the code encodes.
func (c *Code) Login() rpc.QRPayload { return c.login }

// PNG returns the picture: black on white, with a quiet zone of four modules.
// The caller must not change it.
func (c *Code) PNG() []byte { return c.png }

// Base64 returns the picture in standard base64, without a data: prefix.
func (c *Code) Base64() string { return c.base64 }

// Text returns the code drawn with half blocks, two modules a character, for a
// terminal. Colours are set by escape sequences, so that it is black on white
// on a dark terminal too.
func (c *Code) Text() string { return c.text }

// draw returns a PNG that decodes to login both as it is and when it has to be
// found in a picture, as a camera does. Where no scale satisfies the second, the
// first that satisfies the first will do.
func draw(q *qrcode.QRCode, login rpc.QRPayload) ([]byte, error) {
	var good []byte
	var last error
	for _, scale := range pixelsPerModule {
		// go-qrcode's own PNG compresses harder, for no fewer bytes and three
		// times as long.
		var encoded bytes.Buffer
		if err := png.Encode(&encoded, q.Image(-scale)); err != nil {
			return nil, fmt.Errorf("cannot draw QR: %w", err)
		}
		picture := encoded.Bytes()
		drawn, err := png.Decode(bytes.NewReader(picture))
		if err != nil {
			return nil, fmt.Errorf("cannot read drawn QR: %w", err)
		}
		bitmap, err := gozxing.NewBinaryBitmapFromImage(drawn)
		if err != nil {
			return nil, fmt.Errorf("cannot read drawn QR: %w", err)
		}
		if err := verify(bitmap, login, pure); err != nil {
			last = err
			continue
		}
		if verify(bitmap, login, searched) == nil {
			return picture, nil
		}
		if good == nil {
			good = picture
		}
	}
	if good == nil {
		return nil, last
	}
	return good, nil
}

// decoding is how a decoder looks at a picture.
type decoding map[gozxing.DecodeHintType]any

var (
	// pure takes the picture for nothing but a code.
	pure = decoding{gozxing.DecodeHintType_PURE_BARCODE: true}
	// searched looks for a code in it.
	searched decoding
)

func verify(picture *gozxing.BinaryBitmap, login rpc.QRPayload, how decoding) error {
	result, err := zxing.NewQRCodeReader().Decode(picture, how)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	if result.GetText() != string(login) {
		return ErrUnreadable
	}
	return nil
}

const (
	blackOnWhite = "\x1b[38;5;16;48;5;231m"
	resetColours = "\x1b[0m"
)

// terminal draws the bitmap, quiet zone included, true being dark.
func terminal(bitmap [][]bool) string {
	var b strings.Builder
	for y := 0; y < len(bitmap); y += 2 {
		b.WriteString(blackOnWhite)
		for x := range bitmap[y] {
			upper := bitmap[y][x]
			lower := y+1 < len(bitmap) && bitmap[y+1][x]
			b.WriteString(halfBlock(upper, lower))
		}
		b.WriteString(resetColours + "\n")
	}
	return b.String()
}

func halfBlock(upper, lower bool) string {
	switch {
	case upper && lower:
		return "█"
	case upper:
		return "▀"
	case lower:
		return "▄"
	default:
		return " "
	}
}
