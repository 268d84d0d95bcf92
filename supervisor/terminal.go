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
			_, _ = io.WriteString(w, draw(qr.Code.Text, sizeOf(unix.Stderr), address))
			drawn = qr
		}
		select {
		case <-ctx.Done():
			return
		case <-replaced:
		}
	}
}

// size is that of a terminal in characters, 0 where it is unknown.
type size struct{ columns, rows int }

// sizeOf returns the size of the terminal that is open as fd.
func sizeOf(fd int) size {
	s, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ)
	if err != nil {
		return size{}
	}
	return size{int(s.Col), int(s.Row)}
}

// draw returns the QR with what to do with it, or where it is if the terminal would break its
// lines.
func draw(code string, s size, address string) string {
	const modulesPerLine = 2 // of a code that is as wide as it is high
	height := strings.Count(code, "\n")
	if s.columns > 0 && s.columns < modulesPerLine*height {
		return "this terminal is too narrow for the QR; open " + address + "/ to scan it\n"
	}
	text := code + "scan it with the phone: WhatsApp, Linked devices, Link a device\n"
	if s.rows > 0 && s.rows < height+2 {
		text += fmt.Sprintf("this window is too low for the QR: make it %d lines high, or open %s/ to scan it\n", height+2, address)
	}
	return text
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
