package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"session-manager/scripts/simulator"
)

// stage is a simulator for one program, and a folder that is thrown away.
type stage struct {
	sim    *simulator.Server
	web    *http.Server
	folder string
	// port is where the page is served, by TLS.
	port int
}

func openStage(ctx context.Context, profile string) (_ *stage, err error) {
	s := &stage{}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.folder, err = os.MkdirTemp("", "peers-"); err != nil {
		return nil, fmt.Errorf("cannot make a folder: %w", err)
	}
	if s.sim, err = simulator.New(simulator.Options{Profile: profile}); err != nil {
		return nil, err
	}
	certificate, err := simulator.NewCertificate()
	if err != nil {
		return nil, err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("cannot serve the page: %w", err)
	}
	s.port = l.Addr().(*net.TCPAddr).Port
	s.web = &http.Server{Handler: s.sim, ReadHeaderTimeout: 5 * time.Second}
	l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12})
	go func() { _ = s.web.Serve(l) }() // ends with Close
	return s, nil
}

// chromeArgs lead a Chrome to the page, and nowhere else.
func (s *stage) chromeArgs() []string {
	args := []string{
		fmt.Sprintf("--host-resolver-rules=MAP %s 127.0.0.1:%d, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", simulator.Host, s.port),
		"--ignore-certificate-errors", "--disable-background-networking", "--disable-component-update",
	}
	if os.Geteuid() == 0 {
		args = append(args, "--no-sandbox")
	}
	return args
}

// close ends the simulator and every process that still has something to do
// with the folder, and removes it.
func (s *stage) close() {
	if s.sim != nil {
		s.sim.Close()
	}
	if s.web != nil {
		_ = s.web.Close()
	}
	if s.folder == "" {
		return
	}
	for _, pid := range naming(s.folder) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	// Chrome's children end after it, and may still write.
	for range 20 {
		if os.RemoveAll(s.folder) == nil && len(naming(s.folder)) == 0 {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// naming returns the processes on whose command line the folder stands. Its name
// is random, so they are ours.
func naming(folder string) []int {
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return nil
	}
	var pids []int
	for _, line := range lines {
		text, err := os.ReadFile(line)
		if err != nil || !strings.Contains(string(text), folder) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(line))); err == nil && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids
}

// rotate makes the page draw another ADV secret under the same ref, and returns
// what it shows then.
func (s *stage) rotate(ctx context.Context) (simulator.Screen, error) {
	before := s.sim.OnScreen()
	if err := s.sim.RotateADV(); err != nil {
		return before, err
	}
	var after simulator.Screen
	err := s.sim.Await(ctx, func(c simulator.Screen) bool {
		after = c
		return c.Visible && c.Payload != before.Payload
	})
	if err == nil && after.Ref != before.Ref {
		err = errors.New("the ref has changed with the secret")
	}
	return after, err
}

// expire makes the list of codes run out, and returns when the page says so.
func (s *stage) expire(ctx context.Context) error {
	if err := s.sim.ExpireNow(); err != nil {
		return err
	}
	return s.sim.Await(ctx, func(c simulator.Screen) bool { return c.Overlay == "idle" || c.State != "UNPAIRED" })
}
