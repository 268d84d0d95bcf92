// Package logging sets up slog for both processes: one JSON object per line, or one for
// people, the same keys everywhere, and no secrets.
package logging

import (
	"io"
	"log/slog"
	"strings"
	"time"
)

// Attribute keys. A duration's key ends in _ms.
const (
	KeyProcess    = "process"
	KeyGeneration = "gen"
	KeyReason     = "reason"
	KeyDetail     = "detail"
	KeyPhase      = "phase"
	KeyState      = "state"
	KeyFrom       = "from"
	KeyTo         = "to"
	KeyEvent      = "event"
	KeyPID        = "pid"
	KeyError      = "err"
	KeyReader     = "reader"
	KeySeq        = "seq"
	KeyPath       = "path"
	KeyLine       = "line"
	KeyOrigin     = "origin"
)

// New returns a logger that writes JSON lines to w: time in UTC, durations in
// milliseconds, and process (supervisor or worker) in every line.
func New(w io.Writer, process string, level slog.Leveler) *slog.Logger {
	return Format{}.Logger(w, process, level)
}

func replace(_ []string, a slog.Attr) slog.Attr {
	switch a.Value.Kind() {
	case slog.KindTime:
		a.Value = slog.TimeValue(a.Value.Time().UTC())
	case slog.KindDuration:
		return slog.Int64(a.Key, a.Value.Duration().Milliseconds())
	case slog.KindAny:
		switch v := a.Value.Any().(type) {
		case error:
			a.Value = slog.StringValue(Redact(v.Error()))
		case []string:
			redacted := make([]string, len(v))
			for i := range v {
				redacted[i] = Redact(v[i])
			}
			a.Value = slog.AnyValue(redacted)
		default:
			a.Value = slog.AnyValue(redactJSON(v))
		}
	case slog.KindString:
		a.Value = slog.StringValue(Redact(a.Value.String()))
	}
	return a
}

// Millis returns d as an attribute; key ends in _ms.
func Millis(key string, d time.Duration) slog.Attr { return slog.Int64(key, d.Milliseconds()) }

// Truncate returns s if it has at most n bytes, and otherwise its beginning and an
// ellipsis.
func Truncate(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}
