package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"session-manager/supervisor/internal/session"
)

// showOnTerminal writes to w, until ctx ends, what the person who started the service
// needs: where it answers, each state in words, and each QR while it can be scanned.
func showOnTerminal(ctx context.Context, w io.Writer, address string, changed func() (*session.Snapshot, <-chan struct{})) {
	var last string
	var drawn *session.QR
	for {
		snapshot, replaced := changed()
		if text := inWords(snapshot); text != last {
			_, _ = fmt.Fprintf(w, "%s is %s\n", address, text)
			last = text
		}
		if qr := snapshot.FreshQR(time.Now()); qr != nil && !qr.Same(drawn) {
			_, _ = io.WriteString(w, draw(qr.Code.Text, columns(), address))
			drawn = qr
		}
		select {
		case <-ctx.Done():
			return
		case <-replaced:
		}
	}
}

// draw returns the QR with what to do with it, or where it is if a terminal of that many
// columns, 0 if unknown, would break its lines.
func draw(code string, columns int, address string) string {
	const modulesPerLine = 2 // of a code that is as wide as it is high
	if columns > 0 && columns < modulesPerLine*strings.Count(code, "\n") {
		return "this terminal is too narrow for the QR; open " + address + "/ to scan it\n"
	}
	return code + "scan it with the phone: WhatsApp, Linked devices, Link a device\n"
}

// columns returns the width of the terminal, 0 if it is unknown.
func columns() int {
	size, err := unix.IoctlGetWinsize(unix.Stderr, unix.TIOCGWINSZ)
	if err != nil {
		return 0
	}
	return int(size.Col)
}

// inWords returns the state and its warnings for people, in one line.
func inWords(snapshot *session.Snapshot) string {
	text := string(snapshot.State)
	if snapshot.Reason.Code != "" {
		text += ": " + snapshot.Reason.Message
	}
	words := []string{text}
	for _, w := range snapshot.Warnings {
		words = append(words, "Warning: "+w.Message)
	}
	return strings.Join(words, " ")
}
