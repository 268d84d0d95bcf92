package logging

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// What may wait to be written. The longest line, that of an exit, has 30 KiB.
const (
	maxQueuedBytes = 1 << 20
	maxQueuedLines = 8192
)

// pipeSize makes room for the stacks of a process that dies (fcntl(2), F_SETPIPE_SZ).
const pipeSize = 1 << 20

// Writer passes log lines on to a file in the background. Write never blocks and never
// fails, regardless of what the file is: lines that a slow, stalled, full or closed file
// does not take are dropped and counted, and a line reports how many once it takes some
// again. Its methods are safe for concurrent use.
type Writer struct {
	fd      int
	process string
	id      string
	format  Format
	dropped atomic.Uint64

	mu    sync.Mutex
	queue []byte // guarded by mu
	lines int    // guarded by mu; in queue
	lost  uint64 // guarded by mu; dropped because queue was full
	// idle is closed when everything has been written; nil while nothing waits.
	idle chan struct{} // guarded by mu

	// What follows is owned by the goroutine that drains the queue.
	spare   []byte
	missing uint64 // dropped, and not yet reported
	torn    bool   // the file ends with a part of a line
}

// NewWriter returns a Writer to the descriptor fd, which must stay open. process and id
// are those of the line that reports how many lines were dropped.
func NewWriter(fd int, process, id string) *Writer {
	return &Writer{fd: fd, process: process, id: id}
}

// Stderr returns a Writer to standard error, and makes sure that nothing else that writes
// there can be blocked for long either, such as a library or the Go runtime when it panics.
func Stderr(process, id string) *Writer {
	w := NewWriter(unix.Stderr, process, id)
	w.format.Priorities = readByJournal(unix.Stderr)
	unblock(unix.Stderr)
	return w
}

// SetText has the lines written for people. It must be called before the first one.
func (w *Writer) SetText() { w.format.Text = true }

// Logger returns a logger that writes to w.
func (w *Writer) Logger(level slog.Leveler) *slog.Logger {
	return w.format.Logger(w, w.process, level)
}

// Fail writes the one line about an error that ends the process, which is named as it was called.
func (w *Writer) Fail(err error) {
	line := filepath.Base(os.Args[0]) + ": " + Plain(err.Error()) + "\n"
	if w.format.Priorities {
		line = priorities[len(priorities)-1] + line
	}
	_, _ = w.Write([]byte(line))
}

// unblock keeps writes to fd from blocking. A terminal or pipe is replaced by a description
// of this process's own, as the inherited one is shared with other programs; what can't be
// opened stays as it is. A socket, as that of systemd's journal, can't be opened again, and
// is rarely shared.
func unblock(fd int) {
	var stat unix.Stat_t
	if unix.Fstat(fd, &stat) != nil {
		return
	}
	switch stat.Mode & unix.S_IFMT {
	case unix.S_IFSOCK:
		_ = unix.SetNonblock(fd, true)
	case unix.S_IFIFO, unix.S_IFCHR:
		own, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_WRONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
		if err != nil {
			return
		}
		_, _ = unix.FcntlInt(uintptr(own), unix.F_SETPIPE_SZ, pipeSize)
		_ = unix.Dup3(own, fd, 0)
		_ = unix.Close(own)
	}
}

// Write queues p, which is one line or several whole ones. It returns len(p) and nil even
// when it drops them.
func (w *Writer) Write(p []byte) (int, error) {
	lines := max(1, bytes.Count(p, []byte{'\n'}))
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue)+len(p) > maxQueuedBytes || w.lines+lines > maxQueuedLines {
		w.lost += uint64(lines)
		w.dropped.Add(uint64(lines))
	} else {
		w.queue = append(w.queue, p...)
		w.lines += lines
	}
	if w.idle == nil {
		w.idle = make(chan struct{})
		go w.drain()
	}
	return len(p), nil
}

// Dropped returns how many lines have been dropped so far.
func (w *Writer) Dropped() uint64 { return w.dropped.Load() }

// Flush returns when everything has been written or dropped, and after limit at the
// latest.
func (w *Writer) Flush(limit time.Duration) {
	w.mu.Lock()
	idle := w.idle
	w.mu.Unlock()
	if idle == nil {
		return
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-idle:
	case <-timer.C:
	}
}

// drain writes the queue until it is empty.
func (w *Writer) drain() {
	for {
		w.mu.Lock()
		batch, lost := w.queue, w.lost
		if len(batch) == 0 && lost == 0 {
			close(w.idle)
			w.idle = nil
			w.mu.Unlock()
			return
		}
		w.queue, w.lines, w.lost = w.spare[:0], 0, 0
		w.mu.Unlock()
		w.spare = batch

		if w.missing > 0 {
			w.report()
		}
		if left := w.put(batch); len(left) > 0 {
			lines := uint64(max(1, bytes.Count(left, []byte{'\n'})))
			w.dropped.Add(lines)
			w.missing += lines
		}
		// The queue was full after the batch.
		if w.missing += lost; lost > 0 {
			w.report()
		}
	}
}

// report writes the line with the number of those that are missing. If it can't be written either,
// the next batch is preceded by another attempt.
func (w *Writer) report() {
	var line bytes.Buffer
	w.format.Logger(&line, w.process, slog.LevelWarn).Warn(w.id, "lines", w.missing)
	if len(w.put(line.Bytes())) == 0 {
		w.missing = 0
	}
}

// put writes p, waits for as long as the file takes nothing, and returns what is left
// when the file has failed.
func (w *Writer) put(p []byte) (left []byte) {
	for w.torn {
		if n, err := w.write([]byte{'\n'}); err != nil {
			return p
		} else if n > 0 {
			w.torn = false
		}
	}
	left = p
	for len(left) > 0 {
		n, err := w.write(left)
		left = left[n:]
		if err != nil {
			w.torn = len(left) < len(p) && p[len(p)-len(left)-1] != '\n'
			return left
		}
	}
	return nil
}

// write writes a part of p, or waits until the file may take more. Not by os.File, which
// ends the process when standard error is a closed pipe, and which doesn't wait for a
// file that doesn't block.
func (w *Writer) write(p []byte) (int, error) {
	n, err := unix.Write(w.fd, p)
	switch {
	case err == nil, errors.Is(err, unix.EINTR):
		return max(0, n), nil
	case errors.Is(err, unix.EAGAIN):
		_, err = unix.Poll([]unix.PollFd{{Fd: int32(w.fd), Events: unix.POLLOUT}}, -1)
		if errors.Is(err, unix.EINTR) {
			err = nil
		}
		return 0, err
	default:
		return 0, err
	}
}
