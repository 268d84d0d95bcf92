package worker

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/profile"
)

// verifier are Hooks that have backups verified before the first instance, and let
// none begin.
type verifier struct {
	idleHooks
	verify func(ctx context.Context)
	done   chan struct{}
}

// BeforeStart implements Hooks.
func (v verifier) BeforeStart(ctx context.Context, _ *profile.Profile, _ Start) error {
	select {
	case <-v.done:
	default:
		v.verify(ctx)
		close(v.done)
	}
	return errors.New("no instance is wanted")
}

// verifying runs verify when Hooks may.
func verifying(t *testing.T, verify func(ctx context.Context, r *rig)) *rig {
	t.Helper()
	var r *rig
	v := verifier{done: make(chan struct{})}
	v.verify = func(ctx context.Context) { verify(ctx, r) }
	r = newRig(t, "", func(o *Options) {
		o.ChromeArgs = []string{"--lang=es"}
		o.Selectors = func() []byte { return []byte("selectors") }
	})
	r.hooks = v
	r.start()
	<-v.done
	if left, err := filepath.Glob(r.path("tokens/admin.partial*")); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	return r
}

func TestVerifyBackupReturnsWhatTheWorkerFound(t *testing.T) {
	tests := []struct{ mode, want string }{
		{"verified", ""},
		{"rejected", "of no use: the fake worker"},
		{"inconclusive", "cannot verify backup: the fake worker"},
		{"other version", "protocol version"},
		{"exit7", "cannot verify backup"},
		{"leaves", "the worker gave no result"},
		{"garbage", "not a worker of this service"},
		{"endless line", "not a worker of this service"},
		{"not a program", "cannot use worker binary"},
	}
	got := map[string]error{}
	r := verifying(t, func(ctx context.Context, r *rig) {
		for _, tt := range tests {
			r.mode(tt.mode)
			if tt.mode == "not a program" {
				_ = os.Rename(r.path("worker"), r.path("away"))
			}
			got[tt.mode] = r.VerifyBackup(ctx, "/the/backup")
		}
	})
	for _, tt := range tests {
		err := got[tt.mode]
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) || errors.Is(err, ErrBackupRejected) != (tt.mode == "rejected") {
			t.Errorf("%s: got %v", tt.mode, err)
		}
	}
	r.wantVerifyRequest()
}

// wantVerifyRequest compares what the worker was asked.
func (r *rig) wantVerifyRequest() {
	r.t.Helper()
	data, err := os.ReadFile(r.path("request"))
	var got rpc.RunRequest
	if err := errors.Join(err, json.Unmarshal(data, &got)); err != nil {
		r.t.Fatal(err)
	}
	want := rpc.RunRequest{
		Mode: rpc.ModeVerify, BackupDir: "/the/backup", VerifyLimit: r.o.Timings.Start.VerifyBackup,
		ChromePath: r.path("chrome"), ChromeVersion: "156.0.8078.79", ChromeArgs: []string{"--lang=es"}, URL: r.o.URL,
		ProfileDir: got.ProfileDir, ScratchDir: r.path("run/g0/c"), Selectors: []byte("selectors"),
	}
	if diff := cmp.Diff(want, got); diff != "" || filepath.Dir(got.ProfileDir) != r.path("tokens") {
		r.t.Errorf("asked for %s (-want +got):\n%s", got.ProfileDir, diff)
	}
}

// The worker hangs, and so does what it started in a session of its own.
func TestVerificationEndsWithItsContextLeavingNothing(t *testing.T) {
	var got error
	verifying(t, func(ctx context.Context, r *rig) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		started := r.path("started")
		if err := syscall.Mkfifo(started, 0o600); err != nil {
			t.Error(err)
			return
		}
		r.program("worker", "setsid sleep 600 &\necho > "+started+"\nexec sleep 600")
		go func() {
			_, _ = os.ReadFile(started)
			cancel()
		}()
		got = r.VerifyBackup(ctx, "/the/backup")
	})
	if !errors.Is(got, context.Canceled) {
		t.Errorf("got %v", got)
	}
}
