package logging

import (
	"context"
	"log/slog"

	"github.com/hashicorp/go-hclog"
)

// HCLog returns l as the logger that go-plugin wants. All of go-plugin's lines have the
// level Debug: it logs every exit of the worker as an error, and its caller knows
// better.
//
// GetLevel returns Off, which go-plugin v1.8.0 uses for one thing: it does not parse the
// plugin's stderr, where a line such as {"@message":5} would make it panic.
func HCLog(l *slog.Logger) hclog.Logger {
	return hclogAdapter{Logger: hclog.NewNullLogger(), log: l.With("component", "go-plugin")}
}

// hclogAdapter has from the null logger what go-plugin does not need.
type hclogAdapter struct {
	hclog.Logger
	log *slog.Logger
}

var _ hclog.Logger = hclogAdapter{}

func (a hclogAdapter) write(msg string, args []any) {
	a.log.Log(context.Background(), slog.LevelDebug, msg, args...)
}

func (a hclogAdapter) Log(_ hclog.Level, msg string, args ...any) { a.write(msg, args) }
func (a hclogAdapter) Trace(string, ...any)                       {}
func (a hclogAdapter) Debug(msg string, args ...any)              { a.write(msg, args) }
func (a hclogAdapter) Info(msg string, args ...any)               { a.write(msg, args) }
func (a hclogAdapter) Warn(msg string, args ...any)               { a.write(msg, args) }
func (a hclogAdapter) Error(msg string, args ...any)              { a.write(msg, args) }

func (a hclogAdapter) GetLevel() hclog.Level { return hclog.Off }

func (a hclogAdapter) With(args ...any) hclog.Logger {
	return hclogAdapter{Logger: a.Logger, log: a.log.With(args...)}
}
func (a hclogAdapter) Named(string) hclog.Logger      { return a }
func (a hclogAdapter) ResetNamed(string) hclog.Logger { return a }
