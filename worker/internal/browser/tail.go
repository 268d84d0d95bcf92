package browser

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"session-manager/shared/logging"
)

const (
	tailLines    = 200
	tailLineSize = 4 << 10
)

// noise is in lines that Chrome writes on every server, where there is no desktop,
// and that would push out of the tail what matters.
var noise = []string{":ERROR:dbus/", "/cpufreq/scaling_", ":ERROR:google_apis/gcm/"}

func isNoise(line string) bool {
	return slices.ContainsFunc(noise, func(part string) bool { return strings.Contains(line, part) })
}

// tail keeps the last lines of a stream, without the noise. Its memory is bounded whatever comes: a
// web page can make Chrome write.
type tail struct {
	mu    sync.Mutex
	lines []string // guarded by mu; a ring once it is full
	next  int      // guarded by mu; where the next line goes in a full ring
	noise int      // guarded by mu; how many lines were left out
}

func newTail() *tail { return &tail{} }

// readFrom takes lines until r ends. Of a line that is too long the start is
// kept.
func (t *tail) readFrom(r io.Reader) {
	br := bufio.NewReaderSize(r, tailLineSize)
	for continued := false; ; {
		line, err := br.ReadSlice('\n')
		if len(line) > 0 && !continued {
			t.add(printable(strings.TrimRight(string(line), "\r\n")))
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
		continued = err != nil
	}
}

func (t *tail) add(line string) {
	line = logging.Redact(line)
	if len(line) > tailLineSize {
		line = strings.ToValidUTF8(line[:tailLineSize], "")
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if isNoise(line) {
		t.noise++
		return
	}
	if len(t.lines) < tailLines {
		t.lines = append(t.lines, line)
		return
	}
	t.lines[t.next] = line
	t.next = (t.next + 1) % tailLines
}

// last returns the lines, oldest first.
func (t *tail) last() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := make([]string, 0, len(t.lines))
	lines = append(lines, t.lines[t.next:]...)
	return append(lines, t.lines[:t.next]...)
}

// leftOut is how many lines were noise.
func (t *tail) leftOut() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.noise
}

// printable escapes everything that a terminal or a log reader could take for
// more than text.
func printable(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return r == utf8.RuneError || !unicode.IsPrint(r) }) < 0 {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == utf8.RuneError:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		}
	}
	return b.String()
}
