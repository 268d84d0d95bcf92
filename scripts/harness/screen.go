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
	lines, row, column := [][]rune{nil}, 0, 0
	for len(text) > 0 && !begun.MatchString(text[:min(len(text), longestControl)]) {
		if m := control.FindStringSubmatch(text); m != nil {
			text = text[len(m[0]):]
			switch n, _ := strconv.Atoi(m[1]); m[2] {
			case "m":
			case "A":
				row = max(row-n, 0)
			case "H":
				row, column = 0, 0
			case "J":
				if n == 2 {
					lines, row = [][]rune{nil}, 0
				}
				lines = lines[:row+1]
				lines[row] = lines[row][:min(column, len(lines[row]))]
			default:
				return nil, errors.New("unexpected control sequence " + strconv.Quote(m[0]))
			}
			continue
		}
		r, size := utf8.DecodeRuneInString(text)
		text = text[size:]
		switch {
		case r == '\r':
			column = 0
		case r == '\n':
			if row++; row == len(lines) {
				lines = append(lines, nil)
			}
		case r < ' ':
			return nil, errors.New("unexpected control character " + strconv.QuoteRune(r))
		default:
			for len(lines[row]) <= column {
				lines[row] = append(lines[row], ' ')
			}
			lines[row][column] = r
			column++
		}
	}
	shown := make([]string, len(lines))
	for i, line := range lines {
		shown[i] = string(line)
	}
	return shown, nil
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
	const scale = 4
	picture := image.NewGray(image.Rect(0, 0, scale*len(drawn[0]), scale*2*len(drawn)))
	for y := range picture.Rect.Max.Y {
		for x := range picture.Rect.Max.X {
			r := drawn[y/scale/2][x/scale]
			if dark := r == '█' || r == '▀' && y/scale%2 == 0 || r == '▄' && y/scale%2 == 1; !dark {
				picture.SetGray(x, y, color.Gray{Y: 255})
			}
		}
	}
	var encoded bytes.Buffer
	if err := png.Encode(&encoded, picture); err != nil {
		return "", err
	}
	return Decode(encoded.Bytes())
}
