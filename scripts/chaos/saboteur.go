package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/go-plugin"

	"session-manager/shared/rpc"
)

// What the saboteur can do.
const (
	deadlock    = "deadlock"
	leak        = "leak"
	hostileLog  = "hostile log"
	floodStdout = "flood stdout"
	floodStderr = "flood stderr"
	leaveChild  = "leave child"
	floodEvents = "flood events"
	hugeEvent   = "huge event"
)

// saboteurFaults are what no worker can be made to do from outside. This program takes
// the worker's place, forwards everything to the real one, which it runs, and does harm
// on SIGUSR1.
func saboteurFaults() []fault {
	flooded := one("worker_flooded")
	faults := []fault{
		{name: "worker deadlocked", expect: restarts, reasons: one("worker_hung"), freezes: true, inject: sabotage(deadlock)},
		{name: "worker leaks memory", expect: rolls, reasons: one("memory_limit"), inject: sabotage(leak),
			prepare: simply(func(h *hit) error {
				h.args = []string{"--memory-limit", "1G"}
				return placeSaboteur(h)
			})},
		{name: "worker's log is hostile", expect: nothing, hold: 5 * time.Second, inject: sabotage(hostileLog)},
		{name: "worker writes a gigabyte to stdout", expect: restarts, reasons: flooded, inject: sabotage(floodStdout)},
		{name: "worker writes a gigabyte to stderr", expect: restarts, reasons: flooded, inject: sabotage(floodStderr)},
		{name: "worker floods with events", expect: restarts, reasons: flooded, freezes: true, inject: sabotage(floodEvents)},
		{name: "worker reports 60 MB", expect: restarts, reasons: flooded, freezes: true, inject: sabotage(hugeEvent)},
		{name: "worker leaves a child with its pipes, and dies", expect: restarts, reasons: one("worker_crashed"), inject: sabotage(leaveChild)},
	}
	for i := range faults {
		if faults[i].prepare == nil {
			faults[i].prepare = simply(placeSaboteur)
		}
	}
	return faults
}

// A link to the real worker, and the name of the harm to do, are next to the saboteur.
func realWorker(worker string) string { return worker + ".real" }
func harmFile(worker string) string   { return worker + ".harm" }

// placeSaboteur puts this program in the worker's place.
func placeSaboteur(h *hit) error {
	h.afterwards(func() error { return h.files.replaceWorker(nil) })
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("cannot find this program: %w", err)
	}
	return h.files.placeWorker(self, nil)
}

func sabotage(harm string) action {
	return all(
		simply(func(h *hit) error { return os.WriteFile(harmFile(h.files.worker), []byte(harm), 0o600) }),
		toWorker(syscall.SIGUSR1))
}

// saboteur is the worker, as the supervisor sees it.
type saboteur struct {
	*rpc.Client
	self           string
	stdout, stderr *os.File
	hoard          [][]byte      // sabotage's own
	hoarded        atomic.Uint64 // its bytes

	mu   sync.Mutex            // every event passes it
	last uint64                // guarded by mu; the generation of the last event
	emit func(rpc.Event) error // guarded by mu; nil before the first event
}

// playWorker serves as the worker until the supervisor ends it.
func playWorker() error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("cannot find this program: %w", err)
	}
	// Serve replaces these by pipes of its own.
	w := &saboteur{self: self, stdout: os.Stdout, stderr: os.Stderr}
	config := rpc.ClientConfig()
	variable, err := rpc.Secure(config)
	if err != nil {
		return err
	}
	// Its standard input is ours, and with it the request. The end of the connection
	// ends it.
	config.Cmd, config.Stderr, config.SkipHostEnv = exec.Command(realWorker(self)), w.stderr, true
	config.Cmd.Env = append(os.Environ(), variable) // instead of the one for us
	client := plugin.NewClient(config)
	defer client.Kill()
	if w.Client, err = rpc.Connect(client); err != nil {
		return fmt.Errorf("cannot run the real worker: %w", err)
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1)
	go func() {
		for range signals {
			w.sabotage()
		}
	}()
	rpc.Serve(w)
	return nil
}

// Events implements rpc.Worker.
func (w *saboteur) Events(ctx context.Context, emit func(rpc.Event) error) error {
	return w.Client.Events(ctx, func(e rpc.Event) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if beat, ok := e.Body.(rpc.Heartbeat); ok {
			beat.ResidentBytes += w.hoarded.Load()
			e.Body = beat
		}
		w.last, w.emit = e.Generation, emit
		return emit(e)
	})
}

const gigabyte, chunk = 1 << 30, 1 << 20

// flood writes a gigabyte of lines.
func flood(to io.Writer) {
	lines := bytes.Repeat([]byte(strings.Repeat("z", 127)+"\n"), chunk/128)
	for range gigabyte / chunk {
		if _, err := to.Write(lines); err != nil {
			return
		}
	}
}

// sabotage does the harm that the file names.
func (w *saboteur) sabotage() {
	harm, err := os.ReadFile(harmFile(w.self))
	if err != nil {
		_, _ = fmt.Fprintln(w.stderr, err)
		return
	}
	switch string(harm) {
	case deadlock:
		w.mu.Lock()
	case leak:
		for ; w.hoarded.Load() < gigabyte; w.hoarded.Add(16 * chunk) {
			w.hoard = append(w.hoard, bytes.Repeat([]byte("x"), 16*chunk))
		}
	case hostileLog:
		_, _ = io.WriteString(w.stderr, `{"@message":5}`+"\n"+`{"@level":true,"@message":"x"}`+"\n"+
			"<0>\x00\x1b[2J\n"+strings.Repeat("y", 10*chunk)+"\n")
	case floodStdout:
		flood(w.stdout)
	case floodStderr:
		flood(w.stderr)
	case floodEvents:
		w.report(strings.Repeat("x", 1000), 1<<20)
	case hugeEvent:
		w.report(strings.Repeat("2@ABCDEFGH", 6*chunk), 1)
	case leaveChild:
		child := exec.Command("sleep", "1000")
		child.Stdout, child.Stderr, child.Dir = w.stdout, w.stderr, filepath.Dir(w.self)
		child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := child.Start(); err != nil {
			_, _ = fmt.Fprintln(w.stderr, err)
		}
		os.Exit(3)
	}
}

// report sends an observation again and again, until one is not taken.
func (w *saboteur) report(detail string, times int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	conditions := []rpc.Condition{rpc.PageLoading, rpc.PageReady}
	for n := range times {
		if w.emit == nil || w.emit(rpc.Event{
			Generation: w.last, Body: rpc.PageObserved{Condition: conditions[n%len(conditions)], Detail: detail, Progress: -1},
		}) != nil {
			return
		}
	}
}
