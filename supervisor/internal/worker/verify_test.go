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

	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/profile"
)

// verifier is a Hooks that has copies verified before the first generation, and
// lets none begin.
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
	return errors.New("no generation is wanted")
}

// verifying runs verify when a Hooks may, with a worker that is made by
// r.program.
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

func TestVerdictOfAWorkerOnACopy(t *testing.T) {
	tests := []struct{ name, worker, want string }{
		{"it opens", `echo '{"exit":0,"databases":3}'`, ""},
		{"it is refused", `echo '{"exit":65,"reason":"localStorage lacks x"}'; exit 65`, "of no use: localStorage lacks x"},
		{"it could not be tried", `echo '{"exit":75,"reason":"no memory"}'; exit 75`, "cannot verify copy: no memory"},
		{"an older worker", `echo usage >&2; exit 64`, "no verdict"},
		{"a worker that says nothing", ``, "no verdict"},
		{"one that dies with a verdict", `echo '{"exit":65}'; kill -9 $$`, "no verdict"},
		{"one that is no program", ``, "cannot use worker binary"},
		{"one that floods", `head -c 1000000 /dev/zero; head -c 1000000 /dev/zero >&2`, "no verdict"},
	}
	got := map[string]error{}
	r := verifying(t, func(ctx context.Context, r *rig) {
		for _, tt := range tests {
			r.program("worker", "cat > "+r.path("request")+"\n"+tt.worker)
			if tt.name == "one that is no program" {
				_ = os.Chmod(r.path("worker"), 0o600)
			}
			got[tt.name] = r.VerifyBackup(ctx, "/the/copy")
		}
	})
	for _, tt := range tests {
		err := got[tt.name]
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) || errors.Is(err, ErrCopyRefused) != strings.HasPrefix(tt.want, "of no use") {
			t.Errorf("%s: got %v", tt.name, err)
		}
	}
	data, err := os.ReadFile(r.path("request"))
	var req rpc.VerifyRequest
	if err := errors.Join(err, json.Unmarshal(data, &req)); err != nil {
		t.Fatal(err)
	}
	if req.CopyDir != "/the/copy" || req.ChromePath != r.path("chrome") || req.ChromeVersion != "156.0.8078.79" || req.URL != r.o.URL ||
		req.Limit != defaultVerifyCopy || len(req.ChromeArgs) != 1 || string(req.Selectors) != "selectors" ||
		filepath.Dir(req.RoomDir) != r.path("tokens") || req.ScratchDir != r.path("run/g0/c") {
		t.Errorf("asked for %+v", req)
	}
}

// The worker hangs, and so does what it started in a session of its own.
func TestVerificationEndsWithItsContextAndNothingIsLeft(t *testing.T) {
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
		got = r.VerifyBackup(ctx, "/the/copy")
	})
	if !errors.Is(got, context.Canceled) {
		t.Errorf("got %v", got)
	}
}
