package harness

import (
	"bytes"
	"errors"
	"image"
	"image/color"
	"image/png"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// control is a control sequence of a terminal (console_codes(4)), and begun one of which the
// end was not written yet.
var (
	control = regexp.MustCompile(`^\x1b\[([0-9;]*)([A-Za-z])`)
	begun   = regexp.MustCompile(`^\x1b(\[[0-9;]*)?$`)
)

// longestControl is enough to recognise one, in bytes.
const longestControl = 50

// Render returns the lines that an endless terminal shows after text was written to it, and an
// error if text has anything but what our programs need.
func Render(text string) ([]string, error) {
	s := &screen{lines: [][]rune{nil}}
	for len(text) > 0 && !begun.MatchString(text[:min(len(text), longestControl)]) {
		if m := control.FindStringSubmatch(text); m != nil {
			text = text[len(m[0]):]
			n, _ := strconv.Atoi(m[1])
			if err := s.control(m[2], n); err != nil {
				return nil, err
			}
			continue
		}
		r, size := utf8.DecodeRuneInString(text)
		text = text[size:]
		if err := s.put(r); err != nil {
			return nil, err
		}
	}
	shown := make([]string, len(s.lines))
	for i, line := range s.lines {
		shown[i] = string(line)
	}
	return shown, nil
}

// screen is what a terminal shows, and where its cursor is.
type screen struct {
	lines       [][]rune
	row, column int
}

func (s *screen) control(name string, n int) error {
	switch name {
	case "m":
	case "A":
		s.row = max(s.row-n, 0)
	case "H":
		s.row, s.column = 0, 0
	case "J":
		if n == 2 {
			s.lines, s.row = [][]rune{nil}, 0
		}
		s.lines = s.lines[:s.row+1]
		s.lines[s.row] = s.lines[s.row][:min(s.column, len(s.lines[s.row]))]
	default:
		return errors.New("unexpected control sequence " + strconv.Quote(name))
	}
	return nil
}

func (s *screen) put(r rune) error {
	switch {
	case r == '\r':
		s.column = 0
	case r == '\n':
		if s.row++; s.row == len(s.lines) {
			s.lines = append(s.lines, nil)
		}
	case r < ' ':
		return errors.New("unexpected control character " + strconv.QuoteRune(r))
	default:
		for len(s.lines[s.row]) <= s.column {
			s.lines[s.row] = append(s.lines[s.row], ' ')
		}
		s.lines[s.row][s.column] = r
		s.column++
	}
	return nil
}

// DecodeBlocks returns the payload of the QR that is drawn with half blocks in lines, the
// payload of the last one if there are several.
func DecodeBlocks(lines []string) (string, error) {
	const least = 25 // columns of a QR with a margin
	var drawn [][]rune
	for _, line := range lines {
		runes := []rune(line)
		if len(runes) < least || strings.Trim(line, " ▀▄█") != "" {
			continue
		}
		if len(drawn) > 0 && len(drawn[0]) != len(runes) || 2*len(drawn) > len(runes) {
			drawn = nil
		}
		drawn = append(drawn, runes)
	}
	if drawn == nil {
		return "", errors.New("nothing is drawn")
	}
	var encoded bytes.Buffer
	if err := png.Encode(&encoded, pictureOf(drawn)); err != nil {
		return "", err
	}
	return Decode(encoded.Bytes())
}

// pictureOf returns half blocks as an image.
func pictureOf(drawn [][]rune) image.Image {
	const scale = 4
	dark := map[rune][2]bool{'█': {true, true}, '▀': {true, false}, '▄': {false, true}}
	picture := image.NewGray(image.Rect(0, 0, scale*len(drawn[0]), scale*2*len(drawn)))
	for y := range picture.Rect.Max.Y {
		for x := range picture.Rect.Max.X {
			if !dark[drawn[y/scale/2][x/scale]][y/scale%2] {
				picture.SetGray(x, y, color.Gray{Y: 255})
			}
		}
	}
	return picture
}
