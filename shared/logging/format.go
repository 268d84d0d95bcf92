package logging

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Format is how lines are written; the zero Format is JSON.
type Format struct {
	// Text means lines for people: the local time, the level, the id, and the attributes.
	Text bool
	// Priorities means that each line begins with its priority, as systemd's journal
	// expects it (sd-daemon(3)).
	Priorities bool
}

// Logger returns a logger that writes lines to w, with process (supervisor or worker) in
// each JSON object.
func (f Format) Logger(w io.Writer, process string, level slog.Leveler) *slog.Logger {
	if !f.Priorities {
		return slog.New(f.handler(w, process, level))
	}
	var h byPriority
	for i, prefix := range priorities {
		h[i] = f.handler(prefixed{w, prefix}, process, level)
	}
	return slog.New(h)
}

func (f Format) handler(w io.Writer, process string, level slog.Leveler) slog.Handler {
	if f.Text {
		return text{w: w, level: level}
	}
	h := slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: replace})
	return h.WithAttrs([]slog.Attr{slog.String(KeyProcess, process)})
}

// priorities are those of debug, info, warn and error.
var priorities = [...]string{"<7>", "<6>", "<4>", "<3>"}

// readByJournal reports whether what is written to fd goes to systemd's journal
// (JOURNAL_STREAM in systemd.exec(5)).
func readByJournal(fd int) bool {
	var stat unix.Stat_t
	return unix.Fstat(fd, &stat) == nil && os.Getenv("JOURNAL_STREAM") == fmt.Sprintf("%d:%d", stat.Dev, stat.Ino)
}

// prefixed puts prefix before each line; slog writes one at a time.
type prefixed struct {
	io.Writer
	prefix string
}

func (p prefixed) Write(line []byte) (int, error) {
	if _, err := p.Writer.Write(slices.Concat([]byte(p.prefix), line)); err != nil {
		return 0, err
	}
	return len(line), nil
}

// byPriority has a handler for each of priorities.
type byPriority [len(priorities)]slog.Handler

func (h byPriority) Enabled(ctx context.Context, level slog.Level) bool {
	return h[0].Enabled(ctx, level)
}

func (h byPriority) Handle(ctx context.Context, r slog.Record) error {
	i := int(r.Level-slog.LevelDebug) / int(slog.LevelInfo-slog.LevelDebug)
	return h[min(max(i, 0), len(h)-1)].Handle(ctx, r)
}

func (h byPriority) WithAttrs(attrs []slog.Attr) slog.Handler {
	for i := range h {
		h[i] = h[i].WithAttrs(attrs)
	}
	return h
}

func (h byPriority) WithGroup(name string) slog.Handler {
	for i := range h {
		h[i] = h[i].WithGroup(name)
	}
	return h
}

// text is the handler of lines for people.
type text struct {
	w     io.Writer
	level slog.Leveler
	// attrs are those of the logger, written; group is put before the names of others.
	attrs, group string
}

func (h text) Enabled(_ context.Context, level slog.Level) bool { return level >= h.level.Level() }

func (h text) Handle(_ context.Context, r slog.Record) error {
	line := fmt.Sprintf("%s %-5s %s%s", r.Time.Format(time.TimeOnly), r.Level, r.Message, h.attrs)
	r.Attrs(func(a slog.Attr) bool {
		line += h.written(a)
		return true
	})
	_, err := io.WriteString(h.w, line+"\n")
	return err
}

func (h text) WithAttrs(attrs []slog.Attr) slog.Handler {
	for _, a := range attrs {
		h.attrs += h.written(a)
	}
	return h
}

func (h text) WithGroup(name string) slog.Handler {
	h.group += name + "."
	return h
}

// written returns " name=value". A value is quoted where it would be ambiguous, or could
// control the terminal.
func (h text) written(a slog.Attr) string {
	a.Value = a.Value.Resolve()
	if a.Value.Kind() == slog.KindGroup {
		return h.WithGroup(a.Key).WithAttrs(a.Value.Group()).(text).attrs[len(h.attrs):]
	}
	a = replace(nil, a)
	value := a.Value.String()
	if raw, ok := a.Value.Any().(json.RawMessage); ok { // of the worker's line
		if json.Unmarshal(raw, &value) != nil {
			value = string(raw)
		}
	}
	if quoted := strconv.Quote(value); value == "" || quoted != `"`+value+`"` || strings.ContainsAny(value, " =") {
		value = quoted
	}
	return " " + h.group + a.Key + "=" + value
}
