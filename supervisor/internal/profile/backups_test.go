package profile

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"session-manager/shared/reason"
)

var t0 = time.Date(2026, 11, 24, 3, 0, 0, 0, time.UTC)

// fill makes a small profile like Chrome's.
func fill(t *testing.T, p *Profile, login string) {
	t.Helper()
	for path, content := range map[string]string{
		"Local State":         "{}",
		"Default/Preferences": "{}",
		"Default/Local Storage/leveldb/000003.log": login,
		"Default/Local Storage/leveldb/CURRENT":    "MANIFEST-000001\n",
		"Default/IndexedDB/wa/000004.ldb":          strings.Repeat(login, 10_000),
		"Default/Service Worker/CacheStorage/x/y":  "preferences of the page",
		"Default/Cache/Cache_Data/data_0":          "cache",
		"Default/Code Cache/js/index":              "cache",
		"GrShaderCache/data_0":                     "cache",
		"Crashpad/settings.dat":                    "cache",
		"SingletonCookie":                          "123",
	} {
		put(t, filepath.Join(p.Dir(), path), content)
	}
	if err := os.Symlink("/nowhere", filepath.Join(p.Dir(), "SingletonSocket")); err != nil {
		t.Fatal(err)
	}
}

func put(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// contents are the regular files below folder.
func contents(t *testing.T, folder string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		rel, _ := filepath.Rel(folder, path)
		found[rel] = string(data)
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return found
}

func backUp(t *testing.T, p *Profile, at time.Time) Backup {
	t.Helper()
	name, err := p.Backups.Create(t.Context(), Manifest{CreatedAt: at, Stamp: "s", LinkedAt: t0, ChromeVersion: "156.0.1.2"})
	if err := errors.Join(err, p.Backups.Thin()); err != nil {
		t.Fatal(err)
	}
	all, err := p.Backups.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		if s.Name == name {
			return s
		}
	}
	t.Fatalf("%s is not among %v", name, all)
	return Backup{}
}

func namesIn(t *testing.T, folder string) []string {
	t.Helper()
	found, err := list(folder)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestBackupHoldsNeitherCachesNorLocks(t *testing.T) {
	p := open(t)
	fill(t, p, "login")
	s := backUp(t, p, t0)
	copied := contents(t, p.Backups.Path(s))
	for _, path := range []string{"Local State", "Default/Local Storage/leveldb/000003.log", "Default/IndexedDB/wa/000004.ldb", "Default/Service Worker/CacheStorage/x/y"} {
		if copied[path] == "" {
			t.Errorf("%s is missing", path)
		}
	}
	if len(copied) != 6 || len(s.Files) != 6 {
		t.Errorf("copied %v", s.Files)
	}
	err := filepath.WalkDir(p.tokens.path("backups"), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s can be read by others: %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestRestoreBringsEverythingBackAndQuarantinesTheRest(t *testing.T) {
	p := open(t)
	fill(t, p, "login")
	s := backUp(t, p, t0)
	want := contents(t, p.Backups.Path(s))
	put(t, filepath.Join(p.Dir(), "Default/Local Storage/leveldb/000003.log"), "broken")
	moved, err := p.Restore(t.Context(), s, Former{QuarantinedAt: t0, Why: "login_missing"})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, contents(t, p.Dir())); d != "" {
		t.Error(d)
	}
	if moved != "20261124T030000.000Z-login_missing" {
		t.Errorf("moved to %s", moved)
	}
	broken := contents(t, filepath.Join(p.tokens.path("quarantine"), moved))
	if broken["Default/Local Storage/leveldb/000003.log"] != "broken" || broken["Default/Cache/Cache_Data/data_0"] == "" {
		t.Errorf("in quarantine: %v", broken)
	}
}

func TestDamagedBackupChangesNothing(t *testing.T) {
	for name, damage := range map[string]func(folder string) error{
		"a changed byte": func(f string) error {
			return os.WriteFile(filepath.Join(f, "Default/Preferences"), []byte("[]"), 0o600)
		},
		"a missing file": func(f string) error { return os.Remove(filepath.Join(f, "Local State")) },
		"one file more":  func(f string) error { return os.WriteFile(filepath.Join(f, "more"), nil, 0o600) },
		"nothing left":   os.RemoveAll,
	} {
		t.Run(name, func(t *testing.T) {
			p := open(t)
			fill(t, p, "login")
			s := backUp(t, p, t0)
			if err := damage(p.Backups.Path(s)); err != nil {
				t.Fatal(err)
			}
			before := contents(t, p.Dir())
			_, err := p.Restore(t.Context(), s, Former{QuarantinedAt: t0, Why: "login_missing"})
			if err == nil || name != "nothing left" && !errors.Is(err, ErrDamaged) {
				t.Errorf("got %v", err)
			}
			if d := cmp.Diff(before, contents(t, p.Dir())); d != "" {
				t.Error(d)
			}
			if left := namesIn(t, p.tokens.path("quarantine")); len(left) > 0 {
				t.Errorf("in quarantine: %v", left)
			}
		})
	}
}

func TestInterruptedBackupLeavesNothing(t *testing.T) {
	p := open(t)
	fill(t, p, "login")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Backups.Create(ctx, Manifest{CreatedAt: t0}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if left := namesIn(t, p.tokens.path("backups")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestBackupDoesNotFillTheDisk(t *testing.T) {
	p := open(t)
	mount(t, string(p.tokens), 0, "size=600m")
	if err := makeFolder(p.Dir()); err != nil {
		t.Fatal(err)
	}
	fill(t, p, "login")
	backUp(t, p, t0)
	large := filepath.Join(p.Dir(), "Default/IndexedDB/large")
	put(t, large, "")
	if err := os.Truncate(large, 150<<20); err != nil { // there would be room for it, but not for 512 MiB more
		t.Fatal(err)
	}
	_, err := p.Backups.Create(t.Context(), Manifest{CreatedAt: t0.Add(time.Hour)})
	wantReason(t, err, reason.DiskFull)
	if got := namesIn(t, p.tokens.path("backups")); len(got) != 1 {
		t.Errorf("backups: %v", got)
	}
}

func TestKilledChromesProfileIsNotBackedUp(t *testing.T) {
	p := open(t)
	fill(t, p, "login")
	if err := os.Symlink("host-1", filepath.Join(p.Dir(), "SingletonLock")); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Backups.Create(t.Context(), Manifest{CreatedAt: t0}); !errors.Is(err, ErrNotClosed) {
		t.Errorf("got %v", err)
	}
}

func TestOldAndFrequentBackupsAreRemoved(t *testing.T) {
	p := open(t)
	fill(t, p, "login")
	for _, after := range []time.Duration{0, 5 * time.Hour, 10 * time.Hour, 15 * time.Hour, 15*time.Hour + time.Minute, 15*time.Hour + 2*time.Minute} {
		backUp(t, p, t0.Add(after))
	}
	want := []string{"20261124T080000.000Z", "20261124T130000.000Z", "20261124T180200.000Z"}
	if got := namesIn(t, p.tokens.path("backups")); !cmp.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}

func TestVerifiedBackupIsKept(t *testing.T) {
	// A star marks the verified ones.
	for name, tt := range map[string]struct{ before, want string }{
		"none is verified":                 {"18:00 13:00 08:00 03:00", "18:00 13:00 08:00"},
		"all are":                          {"18:00* 13:00* 08:00* 03:00*", "18:00* 13:00* 08:00*"},
		"the oldest is":                    {"18:00 13:00 08:00 03:00*", "18:00 13:00 03:00*"},
		"the newest is":                    {"18:00* 13:00 08:00 03:00", "18:00* 13:00 08:00"},
		"soon after one that is":           {"18:00 17:50* 08:00", "18:00 17:50* 08:00"},
		"verified, soon after one that is": {"18:00* 17:50* 08:00", "18:00* 08:00"},
		"verified, soon after one":         {"18:00* 17:50 08:00", "18:00* 08:00"},
		"soon after one":                   {"18:00 17:50 17:40*", "18:00 17:40*"},
		"the only other one stays":         {"18:00* 17:50*", "18:00* 17:50*"},
		"nothing to keep":                  {"", ""},
	} {
		t.Run(name, func(t *testing.T) {
			verified, label := map[string]bool{}, map[string]string{}
			var names []string
			for word := range strings.FieldsSeq(tt.before) {
				at, star := strings.CutSuffix(word, "*")
				stamp := "20261124T" + strings.ReplaceAll(at, ":", "") + "00.000Z"
				names, verified[stamp], label[stamp] = append(names, stamp), star, word
			}
			gone := surplus(slices.Clone(names), verified)
			var left []string
			for _, stamp := range names {
				if !slices.Contains(gone, stamp) {
					left = append(left, label[stamp])
				}
			}
			if got := strings.Join(left, " "); got != tt.want {
				t.Errorf("left: %s, want %s", got, tt.want)
			}
		})
	}
}

func TestVerificationIsRecordedInTheManifest(t *testing.T) {
	p := open(t)
	fill(t, p, "login")
	s := backUp(t, p, t0)
	if err := p.Backups.MarkVerified(s.Name, t0.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	all, err := p.Backups.List()
	if err != nil || len(all) != 1 || !all[0].VerifiedAt.Equal(t0.Add(time.Minute)) || !cmp.Equal(all[0].Files, s.Files) {
		t.Errorf("got %+v, %v", all, err)
	}
	if err := errors.Join(p.Backups.Remove(s.Name), p.Backups.Remove(s.Name)); err != nil {
		t.Error(err)
	}
	if left := namesIn(t, p.tokens.path("backups")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestQuarantineKeepsWhatWasReady(t *testing.T) {
	p := open(t)
	for i := range 6 {
		fill(t, p, "login")
		f := Former{QuarantinedAt: t0.Add(time.Duration(i) * time.Second), Why: "logged_out"}
		if i == 0 {
			f.ReadyAt = t0
		}
		if _, err := p.Quarantine(t.Context(), f); err != nil {
			t.Fatal(err)
		}
		if left := namesIn(t, p.Dir()); len(left) > 0 {
			t.Fatalf("the new profile holds %v", left)
		}
	}
	got, err := p.tokens.former()
	if err != nil || len(got) != 4 || got[0].name != "20261124T030005.000Z-logged_out" || got[0].ready ||
		got[3].name != "20261124T030000.000Z-logged_out" || !got[3].ready {
		t.Errorf("got %v, %v", got, err)
	}
}

// What names itself like another folder, says nothing, or is damaged is not thrown away
// for it.
func TestFormerProfileOfUnknownOriginIsValuable(t *testing.T) {
	for name, content := range map[string]string{
		"nothing": "", "damaged": "{", "of another folder": `{"quarantined_at": "2020-01-01T00:00:00Z", "why": "x", "stamp": ""}`,
	} {
		p := open(t)
		folder := filepath.Join(p.tokens.path("quarantine"), t0.Format(timeLayout)+"-logged_out")
		put(t, filepath.Join(folder, "x"), "login")
		if content != "" {
			put(t, filepath.Join(folder, formerFile), content)
		}
		if got, err := p.tokens.former(); err != nil || len(got) != 1 || !got[0].ready {
			t.Errorf("%s: got %v, %v", name, got, err)
		}
	}
}

func TestExpired(t *testing.T) {
	const day = 24 * time.Hour
	// of lists profiles in quarantine by their age in days; those that never were READY
	// are negative.
	of := func(days ...int) (all []quarantined) {
		for _, d := range days {
			age := time.Duration(max(d, -d)) * day
			all = append(all, quarantined{t0.Add(-age).Format(timeLayout) + "-x", d > 0})
		}
		return all
	}
	many := []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 29}
	for _, tt := range []struct {
		name       string
		found      []int
		gone       []int
		wantIsFull bool
	}{
		{"nothing", nil, nil, false},
		{"three of each", []int{1, -2, 3, -4, 5, -6}, nil, false},
		{"a fourth that was never READY", []int{-1, -2, -3, -4, 5}, []int{-4}, false},
		{"one that was READY among many others", []int{-1, -2, -3, -4, -5, 29}, []int{-4, -5}, false},
		{"an old one that was READY among others", []int{-1, -2, -3, 300}, nil, false},
		{"many that were READY lately", many, nil, true},
		{"nine that were READY lately", append(many[:9:9], 30), []int{30}, false},
		{"old ones that were READY", []int{31, 32, 33, 34, 35}, []int{34, 35}, false},
		{"an old one behind three newer", []int{1, 2, 3, 31}, []int{31}, false},
	} {
		var want []string
		for _, q := range of(tt.gone...) {
			want = append(want, q.name)
		}
		if got := expired(of(tt.found...), t0); !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", tt.name, got, want)
		}
		if got := full(of(tt.found...), t0); got != tt.wantIsFull {
			t.Errorf("%s: full is %v", tt.name, got)
		}
	}
}

func TestEraseLeavesNothing(t *testing.T) {
	p := open(t)
	fill(t, p, "login")
	backUp(t, p, t0)
	if _, err := p.Quarantine(t.Context(), Former{QuarantinedAt: t0, Why: "logged_out"}); err != nil {
		t.Fatal(err)
	}
	fill(t, p, "login")
	if err := p.Erase(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := namesIn(t, string(p.tokens)); !cmp.Equal(got, []string{"admin", "admin.lock"}) {
		t.Errorf("left: %v", got)
	}
}

// A restore that is interrupted between any two steps leaves one whole profile.
func TestInterruptedRestoreIsCompletedOrUndone(t *testing.T) {
	for name, want := range map[string]string{"before the old one went": "old", "after the old one went": "new"} {
		t.Run(name, func(t *testing.T) {
			p := open(t)
			put(t, filepath.Join(p.Dir(), "Default/x"), "old")
			put(t, filepath.Join(p.tokens.path("incoming"), "Default/x"), "new")
			put(t, filepath.Join(string(p.tokens), partial+"1", "Default/x"), "half")
			put(t, filepath.Join(p.tokens.path("backups"), partial+"2", "x"), "half")
			for _, file := range []string{".probe-1", ".probe-2.moved", ".admin.login123", "admin/..session-manager5", "admin/.probe-3"} {
				put(t, filepath.Join(string(p.tokens), file), "half")
			}
			if want == "new" {
				old := filepath.Join(p.tokens.path("quarantine"), t0.Format(timeLayout)+"-login_missing")
				must(t, errors.Join(makeFolder(filepath.Dir(old)), os.Rename(p.Dir(), old)))
			}
			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
			again, err := Open(string(p.tokens))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = again.Close() }()
			if got := contents(t, again.Dir()); got["Default/x"] != want || len(got) != 1 {
				t.Errorf("got %v", got)
			}
			for _, left := range append(namesIn(t, string(p.tokens)), namesIn(t, p.tokens.path("backups"))...) {
				if strings.Contains(left, partial) || strings.Contains(left, "incoming") || strings.HasPrefix(left, ".") {
					t.Errorf("%s is left", left)
				}
			}
		})
	}
}

func TestStampIdentifiesAProfileAndItsBackups(t *testing.T) {
	p := open(t)
	first, err := p.Stamp()
	if err != nil {
		t.Fatal(err)
	}
	if again, err := p.Stamp(); err != nil || again != first {
		t.Errorf("again: %s, %v", again, err)
	}
	fill(t, p, "login")
	s := backUp(t, p, t0)
	if _, err := p.Quarantine(t.Context(), Former{QuarantinedAt: t0, Why: "logged_out"}); err != nil {
		t.Fatal(err)
	}
	if other, err := p.Stamp(); err != nil || other == first {
		t.Errorf("another profile: %s, %v", other, err)
	}
	if _, err := p.Restore(t.Context(), s, Former{QuarantinedAt: t0.Add(time.Second), Why: "x"}); err != nil {
		t.Fatal(err)
	}
	if back, err := p.Stamp(); err != nil || back != first {
		t.Errorf("restored: %s, %v", back, err)
	}
}

func TestWhatIsNotAStampIsReplaced(t *testing.T) {
	for name, put := range map[string]func(path string) error{
		"a folder": func(path string) error { return os.MkdirAll(filepath.Join(path, "x"), 0o700) },
		"a pipe":   func(path string) error { return unix.Mkfifo(path, 0o600) },
		"too large": func(path string) error {
			return errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, maxJSON+1))
		},
		"not JSON": func(path string) error { return os.WriteFile(path, []byte("x"), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			p := open(t)
			must(t, put(filepath.Join(p.Dir(), stampFile)))
			first, err := p.Stamp()
			if again, againErr := p.Stamp(); first == "" || again != first || errors.Join(err, againErr) != nil {
				t.Errorf("got %q, then %q: %v, %v", first, again, err, againErr)
			}
		})
	}
}

func TestOversizedCachesAreRemoved(t *testing.T) {
	p := open(t)
	fill(t, p, "login")
	huge := filepath.Join(p.Dir(), "Default/Code Cache/js/huge")
	put(t, huge, "")
	if err := os.Truncate(huge, cacheLimit+1); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(p.Dir(), "BrowserMetrics/x.pma"), "left by a Chrome that was killed")
	database := filepath.Join(p.Dir(), "Default/IndexedDB/wa/large")
	put(t, database, "")
	if err := os.Truncate(database, 10*cacheLimit); err != nil {
		t.Fatal(err)
	}
	if err := p.CheckCaches(); err != nil {
		t.Error(err)
	}
	history := filepath.Join(p.Dir(), "Default/History")
	put(t, history, "")
	if err := os.Truncate(history, 2*cacheLimit+1); err != nil {
		t.Fatal(err)
	}
	if err := p.CheckCaches(); err == nil || !strings.Contains(err.Error(), "Default/History in the profile holds more than 320 MiB") {
		t.Errorf("got %v", err)
	}
	pruned, err := p.PruneCaches()
	if err != nil || len(pruned) != 3 {
		t.Errorf("got %v, %v", pruned, err)
	}
	left := namesIn(t, filepath.Join(p.Dir(), "Default"))
	if want := []string{"Cache", "IndexedDB", "Local Storage", "Preferences", "Service Worker"}; !cmp.Equal(left, want) {
		t.Errorf("left: %v", left)
	}
}

// TestCachesAreFoundAmongAnything has a pipe, which must not be waited for, and a link.
func TestCachesAreFoundAmongAnything(t *testing.T) {
	p := open(t)
	for _, name := range []string{"Default/Cache/x", "Default/History-journal", "Other/GPUCache/x", "ShaderCache/x", "Default/IndexedDB/Cache/x", "elsewhere/Code Cache/x"} {
		put(t, filepath.Join(p.Dir(), name), "x")
	}
	must(t, os.Rename(filepath.Join(p.Dir(), "elsewhere"), filepath.Join(filepath.Dir(p.Dir()), "elsewhere")))
	must(t, os.Symlink(filepath.Join(filepath.Dir(p.Dir()), "elsewhere"), filepath.Join(p.Dir(), "Linked")))
	must(t, unix.Mkfifo(filepath.Join(p.Dir(), "pipe"), 0o600))
	must(t, unix.Mkfifo(filepath.Join(p.Dir(), "Default/Favicons"), 0o600))
	want := []string{"Default/Cache", "Default/Favicons", "Default/History-journal", "Linked/Code Cache", "Other/GPUCache", "ShaderCache"}
	if got := refilled(p.Dir()); !cmp.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	if err := p.CheckCaches(); err != nil {
		t.Error(err)
	}
}
