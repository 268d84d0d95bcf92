package worker

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"session-manager/shared/rpc"
	"session-manager/shared/rpc/rpctest"
)

func TestFakeWorkerKeepsTheContract(t *testing.T) {
	rpctest.Run(t, rpctest.Worker{
		Command: func(t *testing.T) *exec.Cmd {
			r := newRig(t, "")
			cmd := exec.CommandContext(t.Context(), r.path("worker"))
			cmd.Env = append(os.Environ(), "TMPDIR="+r.dir)
			return cmd
		},
		Request: func(t *testing.T) rpc.RunRequest {
			dir := t.TempDir()
			return rpc.RunRequest{Generation: 7, ProfileDir: dir, LeaseFile: filepath.Join(dir, "lease"), ScratchDir: t.TempDir()}
		},
	})
}
