package client

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
)

// Output is where a command writes.
type Output struct {
	io.Writer
	// JSON means that it writes for programs.
	JSON bool
	// Size returns the size of the terminal in characters. It is nil without a
	// terminal.
	Size func() (columns, rows int)
}

// View shows a QR and lines of text. On a terminal what it shows replaces what it has shown
// before; elsewhere it follows it, if it is new. Its methods are safe for concurrent use.
type View struct {
	out Output
	// address is where the QR can be seen otherwise.
	address string

	mu     sync.Mutex
	code   string // guarded by mu
	text   string // guarded by mu
	height int    // of what is on the terminal, in lines; guarded by mu
}

// NewView returns an empty view.
func NewView(out Output, address string) *View { return &View{out: out, address: address} }

// show replaces what is shown. Without code there is no QR.
func (v *View) show(code, text string) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	before, beforeText := v.code, v.text
	v.code, v.text = code, text
	if v.out.Size != nil {
		return v.paintLocked()
	}
	var fresh string
	if code != before {
		fresh = code
	}
	if fresh != "" || text != beforeText {
		fresh += text
	}
	_, err := io.WriteString(v.out, fresh)
	return err
}

// Resized paints again what was painted for another size of the terminal, which may have
// moved it.
func (v *View) Resized() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.height == 0 {
		return nil
	}
	v.height = 0
	if _, err := io.WriteString(v.out, "\x1b[H\x1b[2J"); err != nil {
		return err
	}
	return v.paintLocked()
}

func (v *View) paintLocked() error {
	columns, rows := v.out.Size()
	lines := compose(v.code, v.text, v.address, columns, rows)
	var b strings.Builder
	if v.height > 0 {
		fmt.Fprintf(&b, "\x1b[%dA\r\x1b[J", v.height)
	}
	for _, line := range lines {
		b.WriteString(line + "\n")
	}
	v.height = len(lines)
	_, err := io.WriteString(v.out, b.String())
	return err
}

// The size of a terminal that does not know its own.
const usualColumns, usualRows = 80, 24

// compose returns the lines to show on a terminal of this size, none wider and not more than
// fit: the QR, and below it the text.
func compose(code, text, address string, columns, rows int) []string {
	columns, rows = cmp.Or(max(columns, 0), usualColumns), cmp.Or(max(rows, 0), usualRows)
	below := wrap(text, columns-1)
	if code == "" {
		return below[:min(len(below), rows-1)]
	}
	drawn := strings.Split(strings.TrimSuffix(code, "\n"), "\n")
	const modulesPerLine = 2 // of a code that is as wide as it is high
	width, height := modulesPerLine*len(drawn), len(drawn)+len(below)+1
	if width > columns || height > rows {
		hint := fmt.Sprintf("This window is too small for the QR, which needs %d columns and %d lines: make it larger", width, height)
		if strings.HasPrefix(address, "http") {
			hint += ", or open " + address + "/ in a browser"
		}
		below = append(wrap(hint+".\n", columns-1), below...)
		return below[:min(len(below), rows-1)]
	}
	return append(drawn, below...)
}

// wrap breaks each line of text at spaces so that none has more than width columns. What is
// longer is cut.
func wrap(text string, width int) (lines []string) {
	width = max(width, 1)
	for line := range strings.Lines(text) {
		now, used := "", 0
		for word := range strings.FieldsSeq(line) {
			size := columnsOf(word)
			if used > 0 && used+1+size > width {
				lines, now, used = append(lines, now), "", 0
			}
			if used > 0 {
				now, used = now+" ", used+1
			}
			for size > width {
				runes := []rune(word)
				word = string(runes[:len(runes)-1])
				size = columnsOf(word)
			}
			now, used = now+word, used+size
		}
		lines = append(lines, now)
	}
	return lines
}

// columnsOf is an upper bound: from the first wide letters on, each rune counts as two.
func columnsOf(word string) (n int) {
	const firstWide = 0x1100
	for _, r := range word {
		n++
		if r >= firstWide {
			n++
		}
	}
	return n
}

// blocks is a line of a drawn QR, with the colours that make it black on white.
var blocks = regexp.MustCompile(`^(?:\x1b\[[0-9;]+m)?([ ▀▄█]+)(?:\x1b\[[0-9;]*m)?$`)

// The colours of a QR, and the largest one, in lines and in bytes of a line.
const (
	blackOnWhite = "\x1b[38;5;16;48;5;231m"
	resetColours = "\x1b[0m"
	tallest      = 200
	widest       = 1200
)

var errNotDrawn = errors.New("its QR is not one")

// redraw returns the QR that was received, drawn by nothing but blocks.
func redraw(received string) (string, error) {
	var b strings.Builder
	lines := strings.Split(strings.TrimSuffix(received, "\n"), "\n")
	if len(lines) > tallest {
		return "", errNotDrawn
	}
	for _, line := range lines {
		found := blocks.FindStringSubmatch(line)
		if found == nil || len(found[1]) > widest {
			return "", errNotDrawn
		}
		b.WriteString(blackOnWhite + found[1] + resetColours + "\n")
	}
	return b.String(), nil
}
