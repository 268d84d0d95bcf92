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

	"session-manager/shared/logging"
)

const (
	tailLines    = 200
	tailLineSize = 4 << 10
)

// noise is in lines that Chrome writes on every server, where there is no desktop,
// and that would push what matters out of the tail.
var noise = []string{":ERROR:dbus/", "/cpufreq/scaling_", ":ERROR:google_apis/gcm/"}

// tail keeps the last lines of a stream, without the noise. Its memory is bounded: a
// web page can make Chrome write.
type tail struct {
	mu    sync.Mutex
	lines []string // guarded by mu
	noise int      // guarded by mu; how many lines were left out
}

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
	if slices.ContainsFunc(noise, func(part string) bool { return strings.Contains(line, part) }) {
		t.noise++
		return
	}
	if len(t.lines) == tailLines {
		t.lines = slices.Delete(t.lines, 0, 1)
	}
	t.lines = append(t.lines, line)
}

// last returns the lines, oldest first, after one that counts the noise.
func (t *tail) last() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.noise == 0 {
		return slices.Clone(t.lines)
	}
	return append([]string{fmt.Sprintf("(%d lines about D-Bus and the like are left out)", t.noise)}, t.lines...)
}

// readable undoes what strconv.Quote escapes for the sake of its quotes.
var readable = strings.NewReplacer(`\\`, `\`, `\"`, `"`)

// printable escapes everything that a terminal or a log reader could take for
// more than text.
func printable(s string) string {
	quoted := strconv.Quote(s)
	return readable.Replace(quoted[1 : len(quoted)-1])
}
