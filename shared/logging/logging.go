// Package logging sets up slog for both processes: one JSON object a line, with
// the keys of keys.go, and nothing in it that is secret.
package logging

import (
	"io"
	"log/slog"
	"time"
)

// New returns a logger that writes JSON lines to w: time in UTC, durations in
// milliseconds under keys that end in _ms, and process (supervisor or worker)
// in every line.
func New(w io.Writer, process string, level slog.Leveler) *slog.Logger {
	h := slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: replace})
	return slog.New(h).With(KeyProcess, process)
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
		}
	case slog.KindString:
		a.Value = slog.StringValue(Redact(a.Value.String()))
	}
	return a
}

// Millis is d as an attribute under a key that ends in _ms.
func Millis(key string, d time.Duration) slog.Attr { return slog.Int64(key, d.Milliseconds()) }
