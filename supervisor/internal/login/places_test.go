package login

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"session-manager/shared/reason"
	"session-manager/supervisor/internal/profile/profiletest"
	"session-manager/supervisor/internal/worker"
)

// inPlace is a rig whose account is linked and whose profile is in one of the places.
func inPlace(t *testing.T, place profiletest.Place) *rig {
	t.Helper()
	tokens, check := place.Put(t, "login")
	t.Cleanup(check)
	r := &rig{t: t, tokens: tokens, now: t0, requests: make(chan worker.RestartRequest, 10)}
	r.start()
	r.link()
	return r
}

func TestLogOutWorksInEveryPlace(t *testing.T) {
	for _, place := range profiletest.Places {
		t.Run(place.Name, func(t *testing.T) {
			t.Parallel()
			r := inPlace(t, place)
			done, err := r.command(false)
			if err != nil || done.Quarantined == "" || done.Detail != "" {
				t.Errorf("got %+v, %v", done, err)
			}
			r.holds("")
			if held, err := os.ReadFile(filepath.Join(r.tokens, "admin.quarantine", done.Quarantined, loginFile)); string(held) != "login" {
				t.Errorf("in quarantine: %q, %v", held, err)
			}
			r.link()
			if done, err := r.command(true); err != nil || done != (LoggedOut{}) {
				t.Errorf("with purge: %+v, %v", done, err)
			}
			r.holds("")
			if left, _ := filepath.Glob(filepath.Join(r.tokens, "admin.quarantine", "*")); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
}

func TestLostLoginIsRestoredInEveryPlace(t *testing.T) {
	for _, place := range profiletest.Places {
		t.Run(place.Name, func(t *testing.T) {
			t.Parallel()
			r := inPlace(t, place)
			r.end(reason.RestartRequested, true)
			r.put("torn")
			r.startsWithQR()
			r.wantRequest(worker.Immediately)
			r.end(reason.Maintenance, true)
			r.spawn()
			r.holds("login")
			if s := r.published(); s.RestoredFrom == "" || !strings.HasSuffix(s.Quarantined, "-login_missing") {
				t.Errorf("published %+v", s)
			}
		})
	}
}

func TestExportAndImportWorkInEveryPlace(t *testing.T) {
	for _, place := range profiletest.Places {
		t.Run(place.Name, func(t *testing.T) {
			t.Parallel()
			r := inPlace(t, place)
			r.end(reason.RestartRequested, true)
			_ = r.folder.Close()
			file := filepath.Join(t.TempDir(), "login.age")
			m, err := r.export(file).Run(t.Context())
			if err != nil || len(m.Files) < len(profiletest.Files("")) {
				t.Fatalf("exported %d files: %v", len(m.Files), err)
			}
			fromBackup := r.export(file + ".backup")
			fromBackup.Backup = true
			if m, err := fromBackup.Run(t.Context()); err != nil || len(m.Files) < len(profiletest.Files("")) {
				t.Errorf("exported %d files from the backup: %v", len(m.Files), err)
			}
			r.put("what was there")
			_, moved, _, err := Import(t.Context(), r.tokens, file, passphrase)
			if err != nil {
				t.Fatal(err)
			}
			r.start()
			r.holds("login")
			if held, err := os.ReadFile(filepath.Join(r.tokens, "admin.quarantine", moved, loginFile)); string(held) != "what was there" {
				t.Errorf("in quarantine: %q, %v", held, err)
			}
		})
	}
}

// A link whose disk is not mounted is an error, and nothing is put in its place.
func TestLinkToNowhereIsNeverFilled(t *testing.T) {
	tokens, target := t.TempDir(), filepath.Join(t.TempDir(), "not", "mounted")
	if err := os.Symlink(target, filepath.Join(tokens, "admin")); err != nil {
		t.Fatal(err)
	}
	e := Export{Tokens: tokens, File: filepath.Join(t.TempDir(), "x"), Passphrase: passphrase, Work: 4}
	if _, err := e.Run(t.Context()); reason.Of(err, "") != reason.ProfileUnwritable || !strings.Contains(err.Error(), "is a link to "+target) {
		t.Errorf("export: %v", err)
	}
	from := newRig(t)
	from.link()
	_ = from.folder.Close()
	file := filepath.Join(t.TempDir(), "login.age")
	if _, err := from.export(file).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := Import(t.Context(), tokens, file, passphrase); reason.Of(err, "") != reason.ProfileUnwritable {
		t.Errorf("import: %v", err)
	}
	if _, err := os.Stat(filepath.Dir(target)); err == nil {
		t.Error("the target was made")
	}
}

func TestProfileWithoutALoginIsNotExported(t *testing.T) {
	r := newRig(t)
	r.put("the page's own settings")
	_ = r.folder.Close()
	file := filepath.Join(t.TempDir(), "login.age")
	if _, err := r.export(file).Run(t.Context()); !errors.Is(err, ErrNothing) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Lstat(file); err == nil {
		t.Error("there is a file")
	}
}

// A lost login is restored once this machine allows it, rather than given up.
func TestRestoreWaitsForRoom(t *testing.T) {
	r := newRig(t)
	r.link()
	r.end(reason.RestartRequested, true)
	r.put("torn")
	r.startsWithQR()
	quarantine := filepath.Join(r.tokens, "admin.quarantine")
	if err := os.Mkdir(quarantine, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", quarantine, "tmpfs", 0, "size=10m"); err != nil {
		t.Skipf("needs the right to mount tmpfs: %v", err)
	}
	for range 5 {
		if err := r.BeforeStart(t.Context(), r.folder, worker.Start{ChromeVersion: "156.0.1.2"}); reason.Of(err, "") != reason.DiskFull {
			t.Errorf("got %v", err)
		}
	}
	r.holds("torn")
	if s := r.published(); !s.RestoredAt.IsZero() {
		t.Errorf("published %+v", s)
	}
	if err := unix.Unmount(quarantine, 0); err != nil {
		t.Fatal(err)
	}
	r.spawn()
	r.holds("login")
}

// The answer does not wait forever for a login to be moved, and does not deny that the
// account was logged out.
func TestLogOutAnswersBeforeTheLoginIsMoved(t *testing.T) {
	r := newRig(t)
	r.link()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-r.requests
		cancel()
	}()
	done, err := r.Manager.LogOut(ctx, false)
	if err != nil || !done.Pending || done.Detail == "" {
		t.Errorf("got %+v, %v", done, err)
	}
	r.spawn()
	r.holds("")
	if s := r.published(); s.Quarantined == "" {
		t.Errorf("published %+v", s)
	}
}

// A quarantine that fails leaves the account logged out.
func TestFailedQuarantineIsExplained(t *testing.T) {
	r := newRig(t)
	r.link()
	if err := os.Symlink(t.TempDir(), filepath.Join(r.folder.Dir(), "Default", "IndexedDB")); err != nil {
		t.Fatal(err)
	}
	if done, err := r.command(false); err != nil || done.Quarantined != "" || !strings.Contains(done.Detail, "could not be moved") {
		t.Errorf("got %+v, %v", done, err)
	}
	if s := r.published(); !s.LinkedAt.IsZero() {
		t.Errorf("published %+v", s)
	}
}

func TestDesktopProfileCanBeExported(t *testing.T) {
	tokens := t.TempDir()
	admin := filepath.Join(tokens, "admin")
	profiletest.Fill(t, admin, "login")
	if err := errors.Join(
		os.Rename(filepath.Join(admin, "Default"), filepath.Join(admin, "Profile 1")),
		os.WriteFile(filepath.Join(admin, "Local State"), []byte(`{"profile":{"last_used":"Profile 1"}}`), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "login.age")
	if _, err := (Export{Tokens: tokens, File: file, Passphrase: passphrase, Work: 4}).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	to := newRig(t)
	_ = to.folder.Close()
	if _, _, _, err := Import(t.Context(), to.tokens, file, passphrase); err != nil {
		t.Fatal(err)
	}
	// What is not known to be linked, as the service has not seen it yet, can be exported.
	if _, err := to.export(file + "2").Run(t.Context()); err != nil {
		t.Error(err)
	}
	to.start()
	to.holds("login")
}
