package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"session-manager/shared/logging"
	"session-manager/shared/rpc"
	"session-manager/worker/internal/backupcheck"
	"session-manager/worker/internal/logid"
)

// maxRequest bounds what is read of a request, in bytes. Most of it is the
// selectors file.
const maxRequest = 4 << 20

// verifyCopy is rpc.VerifyCommand. A signal ends it early, and nothing is left.
func verifyCopy(stdin io.Reader, stdout, stderr *os.File) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	log := logging.New(stderr, "worker", slog.LevelDebug)
	if err := raiseOOMScore("/proc/self/oom_score_adj"); err != nil {
		log.Warn(logid.OOMScoreRaiseFailed, slog.Any(logging.KeyError, err))
	}
	var req rpc.VerifyRequest
	if err := json.NewDecoder(io.LimitReader(stdin, maxRequest)).Decode(&req); err != nil {
		_, _ = fmt.Fprintln(stderr, "worker: cannot read what to verify from the standard input:", err)
		return exitUsage
	}
	checked := backupcheck.Check(ctx, rpc.RunRequest{
		ProfileDir: req.RoomDir, BackupDir: req.CopyDir, ScratchDir: req.ScratchDir, ChromePath: req.ChromePath,
		ChromeVersion: req.ChromeVersion, ChromeArgs: req.ChromeArgs, URL: req.URL, Selectors: req.Selectors, VerifyLimit: req.Limit,
	}, log)
	verdict := rpc.Verdict{Exit: rpc.VerifyUntried, Reason: checked.Detail, Databases: checked.Databases}
	switch checked.Outcome {
	case rpc.BackupVerified:
		verdict.Exit = rpc.VerifyOpens
	case rpc.BackupRejected:
		verdict.Exit = rpc.VerifyRefused
	}
	if err := json.NewEncoder(stdout).Encode(verdict); err != nil {
		log.Warn(logid.StopFailed, slog.Any(logging.KeyError, err))
	}
	return verdict.Exit
}
