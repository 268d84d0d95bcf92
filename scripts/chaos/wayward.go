package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"

	"session-manager/scripts/harness"
	"session-manager/shared/rpc"
)

// What a wayward worker does when it is told to.
const (
	deadlock    = "deadlock"
	leak        = "leak"
	hostileLog  = "hostile log"
	floodStdout = "flood stdout"
	floodStderr = "flood stderr"
	leaveChild  = "leave child"
)

// waywardFaults are what no worker can be made to do from outside. This program takes
// the worker's place, hands everything on to the real one, which it runs, and goes
// wrong when it is told to.
func waywardFaults() []fault {
	const flood = 15 * time.Second
	quiet := func(name, deed string, hold time.Duration) fault {
		f := waywardly(name, deed, nothing)
		f.hold = hold
		return f
	}
	memory := waywardly("worker leaks memory", leak, rolls, "memory_limit")
	memory.prepare = func(_ context.Context, r *rig) error {
		r.args = []string{"--memory-limit", "1G"}
		return r.placeWayward()
	}
	return []fault{
		waywardly("worker deadlocked", deadlock, restarts, "worker_hung"),
		memory,
		quiet("worker's log is hostile", hostileLog, 5*time.Second),
		quiet("worker writes a gigabyte to stdout", floodStdout, flood),
		quiet("worker writes a gigabyte to stderr", floodStderr, flood),
		waywardly("worker leaves a child with its pipes, and dies", leaveChild, restarts, "worker_crashed"),
	}
}

func waywardly(name, deed string, expect effect, reasons ...string) fault {
	return fault{
		name: name, expect: expect, reasons: reasons,
		prepare: func(_ context.Context, r *rig) error { return r.placeWayward() },
		clear: func(_ context.Context, r *rig) error {
			r.args = nil
			return r.replaceWorker(nil)
		},
		inject: func(ctx context.Context, r *rig, t target) error {
			if err := os.WriteFile(deedFile(r.places.worker), []byte(deed), 0o600); err != nil {
				return err
			}
			return toWorker(syscall.SIGUSR1)(ctx, r, t)
		},
	}
}

// The real worker, and the name of what to do, lie beside the wayward one.
func realWorker(worker string) string { return worker + ".real" }
func deedFile(worker string) string   { return worker + ".deed" }

// placeWayward puts this program in the worker's place.
func (r *rig) placeWayward() error {
	return errors.Join(harness.CopyProgram(r.o.worker, realWorker(r.places.worker)), harness.PlaceSelf(r.places.worker))
}

// wayward is the worker, as the supervisor sees it.
type wayward struct {
	*rpc.Client
	self           string
	stdout, stderr *os.File
	hoard          [][]byte      // misbehave's own
	hoarded        atomic.Uint64 // its bytes

	mu sync.Mutex // every event passes it
}

// playWorker serves as the worker until the supervisor ends it.
func playWorker() error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("cannot find this program: %w", err)
	}
	// Serve puts pipes of its own in the place of these.
	w := &wayward{self: self, stdout: os.Stdout, stderr: os.Stderr}
	client := plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig: rpc.Handshake(), Plugins: rpc.Plugins(), GRPCDialOptions: rpc.DialOptions(), AutoMTLS: true,
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		// Its standard input is ours, and with it the request.
		Cmd:    exec.Command(realWorker(self)), // the end of the connection ends it
		Stderr: w.stderr, Logger: hclog.NewNullLogger(),
	})
	defer client.Kill()
	protocol, err := client.Client()
	if err == nil {
		w.Client, err = rpc.Dispense(protocol)
	}
	if err != nil {
		return fmt.Errorf("cannot run the real worker: %w", err)
	}
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGUSR1)
	go func() {
		for range told {
			w.misbehave()
		}
	}()
	rpc.Serve(w, slog.New(slog.DiscardHandler))
	return nil
}

// Events implements rpc.Worker.
func (w *wayward) Events(ctx context.Context, emit func(rpc.Event) error) error {
	return w.Client.Events(ctx, func(e rpc.Event) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if beat, ok := e.Body.(rpc.Heartbeat); ok {
			beat.ResidentBytes += w.hoarded.Load()
			e.Body = beat
		}
		return emit(e)
	})
}

// misbehave does what the file says.
func (w *wayward) misbehave() {
	deed, err := os.ReadFile(deedFile(w.self))
	if err != nil {
		_, _ = fmt.Fprintln(w.stderr, err)
		return
	}
	const gigabyte, chunk = 1 << 30, 1 << 20
	switch string(deed) {
	case deadlock:
		w.mu.Lock()
	case leak:
		for ; w.hoarded.Load() < gigabyte; w.hoarded.Add(16 * chunk) {
			w.hoard = append(w.hoard, bytes.Repeat([]byte("x"), 16*chunk))
		}
	case hostileLog:
		_, _ = io.WriteString(w.stderr, `{"@message":5}`+"\n"+`{"@level":true,"@message":"x"}`+"\n"+
			"<0>\x00\x1b[2J\n"+strings.Repeat("y", 10*chunk)+"\n")
	case floodStdout, floodStderr:
		to, line := w.stdout, bytes.Repeat([]byte(strings.Repeat("z", 127)+"\n"), chunk/128)
		if string(deed) == floodStderr {
			to = w.stderr
		}
		for range gigabyte / chunk {
			if _, err := to.Write(line); err != nil {
				return
			}
		}
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
