package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"session-manager/scripts/harness"
	"session-manager/scripts/peers"
	"session-manager/scripts/simulator"
	"session-manager/shared/proctree"
)

const (
	// peersFolder is that of package peers, seen from the top of the tree.
	peersFolder = "scripts/peers"
	// peersPage is a page that all programs can read.
	peersPage = "2026-08"
	// peerLimit bounds what a program takes to the first QR; wppconnect misses the first
	// code at times, and reports the second after a minute.
	peerLimit = 90 * time.Second
)

// first is a program's way to its first QR.
type first struct {
	took   time.Duration
	memory float64 // when it had settled, in MB
}

// measurePeers compares the first QR and the memory then with those of other programs on
// the same page, where they are installed.
func measurePeers(ctx context.Context, b *bench) error {
	if !peersInstalled() {
		return nil
	}
	ours, err := firsts(ctx, b, "")
	if err != nil {
		return err
	}
	for _, name := range []string{"whatsapp-web.js", "wppconnect"} {
		theirs, err := firsts(ctx, b, name)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		b.table.add(ratio("exec to QR, compared with "+name, "ms", ours.took.Seconds()*1000, theirs.took.Seconds()*1000, 1),
			ratio("memory then, compared with "+name, "MB", ours.memory, theirs.memory, 1))
	}
	return nil
}

// peersInstalled reports whether there are other programs, and what is missing if there are none.
func peersInstalled() bool {
	_, err := os.Stat(peersFolder + "/.cache/node_modules")
	if err == nil {
		_, err = exec.LookPath("node")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench: other programs are not compared: scripts/install/npm.sh "+peersFolder+" installs them;", err)
	}
	return err == nil
}

// firsts returns the median of some starts of a program, or of the service, and the memory of the
// last.
func firsts(ctx context.Context, b *bench, name string) (first, error) {
	var took []time.Duration
	again := func(one time.Duration) bool {
		// A slow one won't do better, and the others have to be measured too.
		return len(took)+1 < min(3, b.rounds) && one <= peerLimit/3
	}
	for {
		last, err := startOn(ctx, b, name, again)
		if err != nil {
			return last, err
		}
		over := !again(last.took)
		if took = append(took, last.took); over {
			last.took = time.Duration(median(took) * float64(time.Millisecond))
			return last, nil
		}
	}
}

// startOn starts a program, or the service, on a stage of its own. Its memory is 0 if it is
// to be started again after it took so long.
func startOn(ctx context.Context, b *bench, name string, again func(took time.Duration) bool) (f first, err error) {
	stage, err := peers.OpenStage(simulator.Options{Profile: peersPage})
	if err != nil {
		return f, err
	}
	defer stage.Close()
	begun := time.Now()
	var pid int
	if name == "" {
		var args []string
		for _, arg := range stage.ChromeArgs() {
			args = append(args, "--chrome-arg="+arg)
		}
		s, err := harness.Start(ctx, harness.Options{Supervisor: b.supervisor, Folder: stage.Folder, Args: append(args, "--chrome", b.browser)})
		if err != nil {
			return f, err
		}
		defer func() { err = errors.Join(err, s.Stop()) }()
		if _, _, err := s.NextQR(ctx, ""); err != nil {
			return f, err
		}
		pid = s.PID()
	} else {
		p, err := stage.Start(ctx, peersFolder, name, b.browser)
		if err != nil {
			return f, err
		}
		defer p.Stop()
		if !p.Await(ctx, peerLimit, func(e peers.Event) bool { return e.Name == "qr" }) {
			return f, fmt.Errorf("it reported no QR; %s", p.Complaint())
		}
		pid = p.PID
	}
	if f.took = time.Since(begun); again(f.took) {
		return f, nil
	}
	if err := harness.Pause(ctx, settle); err != nil {
		return f, err
	}
	f.memory = megabytes(proctree.TreeMemory(pid))
	return f, nil
}
