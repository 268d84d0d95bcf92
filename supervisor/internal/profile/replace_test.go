package profile

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"session-manager/shared/reason"
	"session-manager/supervisor/internal/profile/profiletest"
)

// inEachPlace runs a test on a profile in each of the places, which must still be there
// afterwards, with nothing unfinished.
func inEachPlace(t *testing.T, test func(t *testing.T, p *Profile)) {
	t.Helper()
	for _, place := range profiletest.Places {
		t.Run(place.Name, func(t *testing.T) {
			t.Parallel()
			tokens, check := place.Put(t, "login")
			p, err := Open(tokens)
			must(t, err)
			test(t, p)
			check()
			must(t, p.Close())
			p, err = Open(tokens)
			must(t, err)
			defer func() { _ = p.Close() }()
			check()
			for _, folder := range []string{tokens, p.Dir(), p.tokens.path("backups"), p.tokens.path("quarantine")} {
				for _, name := range namesIn(t, folder) {
					if unfinished(name) || strings.HasSuffix(name, ".incoming") {
						t.Errorf("%s is left in %s", name, folder)
					}
				}
			}
		})
	}
}

// wantIn wants a profile at path to be a whole one with this login, or empty.
func wantIn(t *testing.T, path, login string) {
	t.Helper()
	want := map[string]string{}
	if login != "" {
		want = profiletest.Files(login)
	}
	if d := cmp.Diff(want, profiletest.Content(t, path)); d != "" {
		t.Errorf("in %s: %s", path, d)
	}
}

func TestBackupHoldsTheLoginInEveryPlace(t *testing.T) {
	inEachPlace(t, func(t *testing.T, p *Profile) {
		b := backUp(t, p, t0)
		if len(b.Files) != len(profiletest.Files("login")) {
			t.Errorf("backed up %v", b.Files)
		}
		wantIn(t, p.Backups.Path(b), "login")
		wantIn(t, p.Dir(), "login")
	})
}

func TestRestoreWorksInEveryPlace(t *testing.T) {
	inEachPlace(t, func(t *testing.T, p *Profile) {
		b := backUp(t, p, t0)
		profiletest.Fill(t, p.Dir(), "broken")
		moved, err := p.Restore(t.Context(), b, Former{QuarantinedAt: t0, Why: "login_missing"})
		must(t, err)
		wantIn(t, p.Dir(), "login")
		wantIn(t, filepath.Join(p.tokens.path("quarantine"), moved), "broken")
	})
}

func TestQuarantineWorksInEveryPlace(t *testing.T) {
	inEachPlace(t, func(t *testing.T, p *Profile) {
		f := Former{QuarantinedAt: t0, Why: "logged_out", ReadyAt: t0}
		moved, err := p.Quarantine(t.Context(), f)
		must(t, err)
		wantIn(t, p.Dir(), "")
		wantIn(t, filepath.Join(p.tokens.path("quarantine"), moved), "login")
		var known Former
		must(t, JSONFile(filepath.Join(p.tokens.path("quarantine"), moved, formerFile)).Load(&known))
		if known != f {
			t.Errorf("in quarantine: %+v", known)
		}
		// The next login has nothing of the former's.
		profiletest.Fill(t, p.Dir(), "next")
		_, err = p.Quarantine(t.Context(), Former{QuarantinedAt: t0.Add(time.Second), Why: "logged_out"})
		must(t, err)
		wantIn(t, p.Dir(), "")
	})
}

func TestPurgeWorksInEveryPlace(t *testing.T) {
	inEachPlace(t, func(t *testing.T, p *Profile) {
		// Of what a name leads to nothing may be left, not even where the name has gone.
		var behind []string
		for _, path := range []string{p.Dir(), p.tokens.path("quarantine"), p.tokens.path("backups")} {
			if real, err := filepath.EvalSymlinks(path); err == nil {
				behind = append(behind, real)
			}
		}
		backUp(t, p, t0)
		_, err := p.Quarantine(t.Context(), Former{QuarantinedAt: t0, Why: "logged_out"})
		must(t, err)
		profiletest.Fill(t, p.Dir(), "login")
		must(t, p.Erase(t.Context()))
		for _, path := range append(behind, p.Dir(), p.tokens.path("quarantine"), p.tokens.path("backups")) {
			if left, err := os.ReadDir(path); len(left) > 0 || err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("left in %s: %v, %v", path, left, err)
			}
		}
	})
}

func TestDamagedBackupChangesNothingInAnyPlace(t *testing.T) {
	inEachPlace(t, func(t *testing.T, p *Profile) {
		b := backUp(t, p, t0)
		must(t, os.Remove(filepath.Join(p.Backups.Path(b), "Local State")))
		if _, err := p.Restore(t.Context(), b, Former{QuarantinedAt: t0, Why: "x"}); !errors.Is(err, ErrDamaged) {
			t.Errorf("got %v", err)
		}
		// Nor does one that is interrupted.
		ctx, cancel := context.WithCancel(t.Context())
		moved, err := p.Replace(ctx, func(string) error { cancel(); return ctx.Err() }, Former{QuarantinedAt: t0, Why: "x"})
		if moved != "" || !errors.Is(err, context.Canceled) {
			t.Errorf("interrupted: %q, %v", moved, err)
		}
		wantIn(t, p.Dir(), "login")
		if left := namesIn(t, p.tokens.path("quarantine")); len(left) > 0 {
			t.Errorf("in quarantine: %v", left)
		}
	})
}

// A quarantine on a disk of its own that is too small changes nothing.
func TestSmallQuarantineChangesNothing(t *testing.T) {
	tokens, target := t.TempDir(), t.TempDir()
	profiletest.Fill(t, target, "login")
	symlink(t, target, filepath.Join(tokens, session))
	mkdir(t, filepath.Join(tokens, "admin.quarantine"))
	mount(t, filepath.Join(tokens, "admin.quarantine"), 0, "size=10m")
	p, err := Open(tokens)
	must(t, err)
	defer func() { _ = p.Close() }()
	if !p.QuarantineFull(t0) {
		t.Error("it does not count as full")
	}
	moved, err := p.Quarantine(t.Context(), Former{QuarantinedAt: t0, Why: "x"})
	wantReason(t, err, reason.DiskFull)
	if moved != "" {
		t.Errorf("moved to %s", moved)
	}
	wantIn(t, p.Dir(), "login")
}

// What is in the profile's folder can't be elsewhere: a backup would lack it, and a
// purge would leave it.
func TestLinkWithinTheProfileIsRefused(t *testing.T) {
	p := open(t)
	elsewhere := t.TempDir()
	profiletest.Fill(t, elsewhere, "login")
	symlink(t, filepath.Join(elsewhere, "Default"), filepath.Join(p.Dir(), "Default"))
	_, backupErr := p.Backups.Create(t.Context(), Manifest{CreatedAt: t0})
	_, err := p.Quarantine(t.Context(), Former{QuarantinedAt: t0, Why: "x"})
	for _, err := range []error{backupErr, err, p.Erase(t.Context())} {
		if wantReason(t, err, reason.ProfileUnwritable); !errors.Is(err, ErrElsewhere) {
			t.Errorf("got %v", err)
		}
	}
	// Caches may well be.
	remove(t, filepath.Join(p.Dir(), "Default"))
	profiletest.Fill(t, p.Dir(), "login")
	remove(t, filepath.Join(p.Dir(), "Default/Cache"))
	symlink(t, t.TempDir(), filepath.Join(p.Dir(), "Default/Cache"))
	backUp(t, p, t0)
}

func TestMountPointWithinTheProfileIsRefused(t *testing.T) {
	p := open(t)
	mkdir(t, filepath.Join(p.Dir(), "Default"))
	mount(t, filepath.Join(p.Dir(), "Default"), 0, "")
	profiletest.Fill(t, p.Dir(), "login")
	if moved, err := p.Quarantine(t.Context(), Former{QuarantinedAt: t0, Why: "x"}); moved != "" || !errors.Is(err, ErrElsewhere) {
		t.Errorf("got %q, %v", moved, err)
	}
	wantIn(t, p.Dir(), "login")
}

// A disk that is mounted has a folder of its own, which only root may read.
func TestLostAndFoundIsLeftAlone(t *testing.T) {
	p := open(t)
	mount(t, p.Dir(), 0, "")
	profiletest.Fill(t, p.Dir(), "login")
	found := filepath.Join(p.Dir(), lostAndFound)
	must(t, os.Mkdir(found, 0))
	b := backUp(t, p, t0)
	moved, err := p.Quarantine(t.Context(), Former{QuarantinedAt: t0, Why: "x"})
	must(t, err)
	_, err = p.Restore(t.Context(), b, Former{QuarantinedAt: t0.Add(time.Second), Why: "x"})
	must(t, err)
	must(t, p.Preflight())
	wantIn(t, filepath.Join(p.tokens.path("quarantine"), moved), "login")
	wantIn(t, p.Dir(), "login")
	must(t, p.Erase(t.Context()))
	if left := namesIn(t, p.Dir()); !cmp.Equal(left, []string{lostAndFound}) {
		t.Errorf("left: %v", left)
	}
}

// What is in the folder that is meant would be erased with the profile.
func TestLinkToAFolderAboveIsRefused(t *testing.T) {
	above := t.TempDir()
	must(t, os.Chmod(above, 0o755))
	for name, target := range map[string]string{"the folder itself": ".", "above": above} {
		tokens := filepath.Join(above, name, "tokens")
		mkdir(t, tokens)
		put(t, filepath.Join(tokens, "precious"), "x")
		symlink(t, target, filepath.Join(tokens, session))
		p, err := Open(tokens)
		if err == nil {
			_ = p.Close()
		}
		for _, err := range []error{err, Inspect(tokens)} {
			if wantReason(t, err, reason.ProfileUnwritable); err != nil && !strings.Contains(err.Error(), "holds the tokens folder") {
				t.Errorf("%s: %v", name, err)
			}
		}
		info, err := os.Stat(above)
		must(t, err)
		if contents(t, tokens)["precious"] == "" || info.Mode().Perm() != 0o755 {
			t.Errorf("%s: a file is gone, or the folder is private: %v", name, info.Mode())
		}
	}
}

// An archive must not look like a replacement that has begun.
func TestProfileWithOurOwnNamesIsRefused(t *testing.T) {
	p := open(t)
	profiletest.Fill(t, p.Dir(), "login")
	for _, name := range []string{incomingFolder, arrivedFolder, partial + "1"} {
		moved, err := p.Replace(t.Context(), func(folder string) error {
			put(t, filepath.Join(folder, name, "x"), "x")
			return nil
		}, Former{QuarantinedAt: t0, Why: "x"})
		if moved != "" || !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %q, %v", name, moved, err)
		}
	}
	wantIn(t, p.Dir(), "login")
}

func TestBackupWithoutALoginIsAnError(t *testing.T) {
	p := open(t)
	put(t, filepath.Join(p.Dir(), "Default/Preferences"), "{}")
	if _, err := p.Backups.Create(t.Context(), Manifest{CreatedAt: t0}); !errors.Is(err, ErrNoLogin) {
		t.Errorf("got %v", err)
	}
	if left := namesIn(t, p.tokens.path("backups")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if err := CheckFiles(nil, nil); !errors.Is(err, ErrNoLogin) || !errors.Is(err, ErrDamaged) {
		t.Errorf("a backup of nothing: %v", err)
	}
}

func TestProfileThatWasUsedLastIsAdopted(t *testing.T) {
	desktop := map[string]string{
		"Local State":            `{"profile":{"info_cache":{"Default":{},"Profile 1":{}},"last_used":"Profile 1"}}`,
		"Default/Preferences":    "of Default",
		"Profile 1/Preferences":  "of Profile 1",
		"Guest Profile/Bookmark": "x",
	}
	with := func(changes map[string]string) map[string]string {
		files := maps.Clone(desktop)
		maps.Copy(files, changes)
		maps.DeleteFunc(files, func(_, content string) bool { return content == "" })
		return files
	}
	for name, tt := range map[string]struct {
		files      map[string]string
		want, from string // content of Default, and what it was called
	}{
		"another":               {desktop, "of Profile 1", "Profile 1"},
		"the only one":          {with(map[string]string{"Default/Preferences": ""}), "of Profile 1", "Profile 1"},
		"Default":               {with(map[string]string{"Local State": `{"profile":{"last_used":"Default"}}`}), "of Default", ""},
		"it does not say":       {with(map[string]string{"Local State": "{}"}), "of Default", ""},
		"no state, only one":    {with(map[string]string{"Local State": "", "Default/Preferences": ""}), "of Profile 1", "Profile 1"},
		"damaged":               {with(map[string]string{"Local State": "{"}), "of Default", ""},
		"of a headless shell":   {with(map[string]string{"Local State": "", "Default/Preferences": "", "Default/Local Storage/x": "x"}), "", ""},
		"without preferences":   {with(map[string]string{"Profile 1/Preferences": "", "Profile 1/Local Storage/x": "x"}), "", "Profile 1"},
		"not there":             {with(map[string]string{"Profile 1/Preferences": ""}), "of Default", ""},
		"a path":                {with(map[string]string{"Local State": `{"profile":{"last_used":"../admin/Profile 1"}}`}), "of Default", ""},
		"above":                 {with(map[string]string{"Local State": `{"profile":{"last_used":".."}}`, "../Preferences": "x"}), "of Default", ""},
		"the folder itself":     {with(map[string]string{"Local State": `{"profile":{"last_used":"."}}`, "Preferences": "x"}), "of Default", ""},
		"the guest":             {with(map[string]string{"Local State": `{"profile":{"last_used":"Guest Profile"}}`, "Guest Profile/Preferences": "x"}), "of Default", ""},
		"decided before":        {with(map[string]string{stampFile: `"stamp"`}), "of Default", ""},
		"stamped without":       {with(map[string]string{stampFile: `"stamp"`, "Default/Preferences": ""}), "of Profile 1", "Profile 1"},
		"died after half of it": {with(map[string]string{"Default/Preferences": "", "Default.before-1/Preferences": "of Default"}), "of Profile 1", "Profile 1"},
		"died at its end":       {with(map[string]string{"Default/Preferences": "of Profile 1", "Profile 1/Preferences": "", "Default.before-1/Preferences": "of Default"}), "of Profile 1", ""},
		"empty":                 {nil, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := open(t)
			for path, content := range tt.files {
				put(t, filepath.Join(p.Dir(), path), content)
			}
			from, err := p.Adopt()
			must(t, err)
			_, err = p.Stamp()
			must(t, err)
			// It is decided once.
			again, err := p.Adopt()
			must(t, err)
			all := contents(t, p.Dir())
			if got := all["Default/Preferences"]; got != tt.want || from != tt.from || again != "" {
				t.Errorf("Default is %q, was %q, then %q", got, from, again)
			}
			kept := strings.Join(slicesOf(all), " ")
			if before := tt.files["Default/Preferences"]; !strings.Contains(kept, before) {
				t.Errorf("the former Default is gone: %v", all)
			}
		})
	}
}

// A profile that can neither be renamed nor wholly removed, as after a crash, does not
// take the place of its copy.
func TestHalfRemovedProfileIsNotAdoptedAgain(t *testing.T) {
	p := open(t)
	from := filepath.Join(p.Dir(), "Profile 1")
	stays := filepath.Join(from, "Local Storage/leveldb/CURRENT")
	put(t, filepath.Join(p.Dir(), "Local State"), `{"profile":{"last_used":"Profile 1"}}`)
	put(t, stays, "x")
	put(t, filepath.Join(from, "IndexedDB/wa/000004.ldb"), "login")
	for _, path := range []string{from, stays} {
		if err := unix.Mount(path, path, "", unix.MS_BIND, ""); err != nil {
			t.Skip("needs the right to mount: ", err)
		}
		defer func() { must(t, unix.Unmount(path, unix.MNT_DETACH)) }()
	}
	if _, err := p.Adopt(); err == nil {
		t.Error("a mounted file was removed")
	}
	for range 2 {
		from, err := p.Adopt()
		if got := contents(t, p.Dir())["Default/IndexedDB/wa/000004.ldb"]; err != nil || from != "" || got != "login" {
			t.Errorf("adopted %q, %v, with %q", from, err, got)
		}
	}
}

func slicesOf(files map[string]string) (all []string) {
	for _, content := range files {
		all = append(all, content)
	}
	return all
}

func TestAdoptionWorksInEveryPlace(t *testing.T) {
	inEachPlace(t, func(t *testing.T, p *Profile) {
		must(t, os.Rename(filepath.Join(p.Dir(), "Local State"), filepath.Join(p.Dir(), "x")))
		put(t, filepath.Join(p.Dir(), "Local State"), `{"profile":{"last_used":"Profile 1"}}`)
		put(t, filepath.Join(p.Dir(), "Profile 1/Preferences"), "chosen")
		from, err := p.Adopt()
		if got := contents(t, p.Dir()+"/Default")["Preferences"]; from != "Profile 1" || err != nil || got != "chosen" {
			t.Errorf("got %q, %q, %v", from, got, err)
		}
	})
}
