package worker

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"session-manager/shared/logging"
)

// workerOrigin marks log lines that tell what the worker wrote. Their process is
// the supervisor, which writes them.
const workerOrigin = "worker"

// noContext is for log lines that belong to no request.
var noContext = context.Background()

// record is one log line of the worker's.
type record struct {
	level slog.Level
	msg   string
	attrs []slog.Attr
}

// parseLine understands the lines of slog's JSON handler, and those of hclog,
// which go-plugin uses in the worker. The line comes from a process that shows a
// stranger's web page: nothing about its form is taken for granted.
func parseLine(text string) (record, bool) {
	if !strings.HasPrefix(text, "{") {
		return record{}, false
	}
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var fields map[string]any
	if err := decoder.Decode(&fields); err != nil || decoder.InputOffset() != int64(len(text)) {
		return record{}, false
	}
	if r, ok := build(fields, "level", "msg"); ok {
		return r, true
	}
	return build(fields, "@level", "@message")
}

func build(fields map[string]any, levelKey, msgKey string) (record, bool) {
	levelText, ok := fields[levelKey].(string)
	if !ok {
		return record{}, false
	}
	msg, ok := fields[msgKey].(string)
	if !ok {
		return record{}, false
	}
	level, ok := parseLevel(levelText)
	if !ok {
		return record{}, false
	}
	r := record{level: level, msg: cut(logging.Redact(msg))}
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		if key != levelKey && key != msgKey && !ours(key) {
			r.attrs = append(r.attrs, slog.Any(logging.Redact(key), value(fields[key])))
		}
	}
	return r, true
}

// ours are the keys whose values this process knows better, or adds itself.
func ours(key string) bool {
	switch key {
	case slog.TimeKey, "@timestamp", slog.LevelKey, slog.MessageKey,
		logging.KeyProcess, logging.KeyGeneration, logging.KeyOrigin:
		return true
	}
	return false
}

func parseLevel(text string) (slog.Level, bool) {
	if text == "trace" {
		return slog.LevelDebug, true
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(text)); err != nil {
		return 0, false
	}
	return level, true
}

// value gives a number back its type, and takes from text what JSON's escapes have
// hidden from the redaction of the line.
func value(v any) any {
	switch v := v.(type) {
	case string:
		return logging.Redact(v)
	case []any:
		for i := range v {
			v[i] = value(v[i])
		}
		return v
	case map[string]any:
		redacted := make(map[string]any, len(v))
		for key, inner := range v {
			redacted[logging.Redact(key)] = value(inner)
		}
		return redacted
	}
	number, ok := v.(json.Number)
	if !ok {
		return v
	}
	if i, err := number.Int64(); err == nil {
		return i
	}
	if f, err := number.Float64(); err == nil {
		return f
	}
	return number.String()
}

func (r record) logTo(log *slog.Logger) {
	attrs := append(r.attrs, slog.String(logging.KeyOrigin, workerOrigin))
	log.LogAttrs(noContext, r.level, r.msg, attrs...) //nolint:sloglint // the message is the worker's
}
