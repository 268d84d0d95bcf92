package e2e

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"session-manager/scripts/harness"
	"session-manager/scripts/simulator"
)

func TestStartRightAfterAKillSucceeds(t *testing.T) {
	t.Parallel()
	tokens, address := t.TempDir(), freeAddress(t)
	s := launch(t, tokens, append(noChrome, "--listen", address)...)
	s.awaitListening()
	for range 4 {
		s.signal(syscall.SIGKILL) // nobody waits for its end
		s = launch(t, tokens, append(noChrome, "--listen", address)...)
		s.awaitListening()
		s.await("ERROR")
	}
}

// temporary returns a short folder, as sockets are made below it, and the variables that
// make a service use it instead of the one that systemd would give it.
func temporary(t *testing.T) (folder string, env []string) {
	t.Helper()
	folder, err := os.MkdirTemp("/tmp", "e")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	return folder, []string{"RUNTIME_DIRECTORY=", "TMPDIR=" + folder}
}

func TestRuntimeFolderOfAnotherUserIsAvoided(t *testing.T) {
	t.Parallel()
	needBrowser(t)
	folder, env := temporary(t)
	o := harness.Options{Tokens: t.TempDir(), URL: newPhone(t, simulator.Options{}).URL, Args: light, Env: env}
	s := launchWith(t, harness.Options{Tokens: o.Tokens, Args: noChrome, Env: env})
	s.awaitListening()
	s.await("ERROR")
	ours, err := filepath.Glob(filepath.Join(folder, "session-manager-*"))
	if err != nil || len(ours) != 1 {
		t.Fatalf("%v, %v", ours, err)
	}
	if code := s.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if _, err := os.Stat(ours[0]); err == nil {
		t.Error("it was left behind")
	}
	// To anybody but root it could not belong, so others may write to it as well.
	if err := os.Mkdir(ours[0], 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(ours[0], 0o777); err != nil {
		t.Fatal(err)
	}
	s = launchWith(t, o)
	s.awaitListening()
	s.awaitQR()
	s.awaitLog("runtime_folder_rejected")
	if entries, err := os.ReadDir(ours[0]); err != nil || len(entries) > 0 {
		t.Errorf("it was used: %v, %v", entries, err)
	}
}
