package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"session-manager/scripts/harness"
	"session-manager/scripts/simulator"
	"session-manager/supervisor/internal/login"
)

func (s *service) login() harness.Login { return s.session().Login }

// linked is a service whose account was linked, READY.
func linked(t *testing.T, p *phone, tokens string, args ...string) *service {
	t.Helper()
	s := start(t, p.URL, tokens, args...)
	if err := p.Link(within(t), s.Service); err != nil {
		t.Fatalf("%v; session: %s", err, s.describe())
	}
	return s
}

func folders(t *testing.T, path string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(path, "*"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// size adds up the files below folder.
func size(t *testing.T, folder string) (bytes int64) {
	t.Helper()
	err := filepath.WalkDir(folder, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			bytes += info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return bytes
}

// TestPhoneLogoutQuarantinesProfileAndShowsNewQR restarts the service before.
func TestPhoneLogoutQuarantinesProfileAndShowsNewQR(t *testing.T) {
	t.Parallel()
	needBrowser(t)
	tokens := t.TempDir()
	p := newPhone(t, simulator.Options{})
	s := linked(t, p, tokens, append(light, "--settle-time", "3s")...)
	restartWaitsUntilALoginHasSettled(t, s)
	before := s.session()
	shown := fmt.Sprintf(`"msg":"qr_changed","process":"supervisor","gen":%d,"event":"qr_shown"`, before.Worker.Generation)
	earlier := strings.Count(s.Log(), shown)
	if err := p.LogOut(); err != nil {
		t.Fatal(err)
	}
	v := s.awaitSession("a QR", func(v harness.Session) bool { return v.QR != nil })
	if v.QR.Generation == before.Worker.Generation || strings.Count(s.Log(), shown) != earlier {
		t.Error("a QR was served that links the profile which is moved away")
	}
	// The reason is another one for a while where the machine is too busy to show a QR soon.
	if v.Status != "QR_REQUIRED" || !strings.Contains(s.Log(), `"from":"INIT","to":"QR_REQUIRED","reason":"logged_out"`) || v.Worker.AbnormalExits != 0 {
		t.Errorf("got %+v", v)
	}
	s.showsScreen(p)
	old := folders(t, filepath.Join(tokens, "admin.quarantine"))
	if len(old) != 1 || !strings.HasSuffix(old[0], "-logged_out") || filepath.Base(old[0]) != s.login().Quarantined {
		t.Errorf("in quarantine: %v, reported %+v", old, s.login())
	}
	if _, err := os.Stat(filepath.Join(old[0], "Default", "Local Storage")); err != nil {
		t.Error(err)
	}
	flipTakesNothingElse(t, s, p)
}

// A page that flips between login and QR, as fast as the simulator links, costs no
// further restart, and pushes nothing out of quarantine.
func flipTakesNothingElse(t *testing.T, s *service, p *phone) {
	t.Helper()
	generation := s.session().Worker.Generation
	for i := range 3 { // after one more the page counts as one that reloads itself
		if i > 0 {
			if err := p.LogOut(); err != nil {
				t.Fatal(err)
			}
			s.awaitSession("a QR", func(v harness.Session) bool { return v.QR != nil })
		}
		p.scan(t)
		s.await("READY")
	}
	old := folders(t, filepath.Join(s.Tokens, "admin.quarantine"))
	if v := s.session(); len(old) != 1 || v.Worker.Generation != generation {
		t.Fatalf("generation %d after %d, in quarantine: %v", v.Worker.Generation, generation, old)
	}
	var former struct {
		ReadyAt time.Time `json:"ready_at"`
	}
	content, err := os.ReadFile(filepath.Join(old[0], ".session-manager.former"))
	if err := errors.Join(err, json.Unmarshal(content, &former)); err != nil || former.ReadyAt.IsZero() {
		t.Errorf("got %s, %v", content, err)
	}
}

const passphrase = "correct horse battery staple"

// run ends with its output and exit code.
func run(t *testing.T, args ...string) (string, int) {
	t.Helper()
	cmd := exec.CommandContext(within(t), binaries.Supervisor, args...)
	cmd.Env = append(os.Environ(), "SESSION_MANAGER_PASSPHRASE="+passphrase)
	out, err := cmd.CombinedOutput()
	if _, failed := errors.AsType[*exec.ExitError](err); err != nil && !failed {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func TestBackupAndExportRestoreALostLogin(t *testing.T) {
	t.Parallel()
	needBrowser(t)
	tokens, elsewhere, file := t.TempDir(), t.TempDir(), filepath.Join(t.TempDir(), "login.age")
	p := newPhone(t, simulator.Options{})
	first := linked(t, p, tokens, light...)
	if out, code := run(t, "session", "export", file, "--tokens", tokens); code != 75 || !strings.Contains(out, "--backup") {
		t.Errorf("export while it runs: exit code %d, %s", code, out)
	}
	if code := first.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	backups := folders(t, filepath.Join(tokens, "admin.backups"))
	if len(backups) != 1 {
		t.Fatalf("backups: %v", backups)
	}
	// What makes the passphrase costly to guess takes half a minute in a binary with
	// the race detector.
	if _, err := (login.Export{Tokens: tokens, File: file, Passphrase: passphrase, Work: 4}).Run(within(t)); err != nil {
		t.Fatal(err)
	}
	wantSmall(t, filepath.Join(tokens, "admin"), backups[0])

	if err := os.RemoveAll(filepath.Join(tokens, "admin", "Default", "Local Storage")); err != nil {
		t.Fatal(err)
	}
	restored := start(t, p.URL, tokens, light...)
	restored.await("READY")
	wantRestored(t, restored, filepath.Base(backups[0]))
	restored.stop()

	target := linkElsewhere(t, elsewhere)
	if out, code := run(t, "session", "import", file, "--tokens", elsewhere); code != 0 {
		t.Fatalf("import: exit code %d, %s", code, out)
	}
	asFromADesktop(t, target)
	imported := start(t, p.URL, elsewhere)
	imported.await("READY")
	if strings.Contains(imported.Log(), `"to":"QR_REQUIRED"`) {
		t.Error("a scan was asked for")
	}
	imported.awaitLog(`"profile_adopted"`)
	wantUsable(t, imported, target)
}

// linkElsewhere makes admin a link to a folder on another file system.
func linkElsewhere(t *testing.T, tokens string) (target string) {
	t.Helper()
	target, err := os.MkdirTemp("/dev/shm", "e2e")
	if err != nil {
		t.Skipf("needs a file system at /dev/shm: %v", err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(target) })
	if err := os.Symlink(target, filepath.Join(tokens, "admin")); err != nil {
		t.Fatal(err)
	}
	return target
}

// asFromADesktop makes a profile look like that of a desktop's Chrome, which has several
// profiles, used another one than Default last, and knows nothing of us.
func asFromADesktop(t *testing.T, profile string) {
	t.Helper()
	state := filepath.Join(profile, "Local State")
	known := map[string]any{}
	content, err := os.ReadFile(state)
	if !errors.Is(err, fs.ErrNotExist) { // chrome-headless-shell has none
		if err := errors.Join(err, json.Unmarshal(content, &known)); err != nil {
			t.Fatal(err)
		}
	}
	known["profile"] = map[string]any{"last_used": "Profile 1", "last_active_profiles": []string{"Profile 1"}, "info_cache": map[string]any{
		"Default": map[string]any{"name": "Person 1"}, "Profile 1": map[string]any{"name": "Person 2"},
	}}
	if content, err = json.Marshal(known); err != nil {
		t.Fatal(err)
	}
	write(t, state, string(content))
	if err := errors.Join(
		os.Rename(filepath.Join(profile, "Default"), filepath.Join(profile, "Profile 1")),
		os.Mkdir(filepath.Join(profile, "Default"), 0o700),
		os.Remove(filepath.Join(profile, ".session-manager")),
	); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(profile, "Default", "Preferences"), "{}")
}

// wantUsable wants a login behind a link to be backed up, exported and logged out.
func wantUsable(t *testing.T, s *service, target string) {
	t.Helper()
	s.wantAnswer("/session/restart?now=true", "", 202, "")
	s.awaitSession("the next generation", func(v harness.Session) bool { return v.Worker.Generation > 1 && v.Status == "READY" })
	file := filepath.Join(t.TempDir(), "login.age")
	m, err := (login.Export{Tokens: s.Tokens, File: file, Passphrase: passphrase, Work: 4, Backup: true}).Run(within(t))
	if err != nil || len(m.Files) < 10 || strings.Contains(s.Log(), "backup_create_failed") {
		t.Errorf("exported %d files: %v", len(m.Files), err)
	}
	for _, name := range folders(t, target) {
		if filepath.Base(name) == "Profile 1" {
			t.Error("Chrome made a new Profile 1")
		}
	}
	s.wantAnswer("/session/logout", "", 200, "-logged_out")
	s.awaitSession("a QR", func(v harness.Session) bool { return v.QR != nil })
	if found, err := os.Readlink(filepath.Join(s.Tokens, "admin")); found != target {
		t.Errorf("admin is a link to %q, %v", found, err)
	}
	if _, err := os.Stat(filepath.Join(s.Tokens, "admin.quarantine", s.login().Quarantined, "Default", "Local Storage")); err != nil {
		t.Error(err)
	}
}

// wantSmall wants profile and backup to have no more than caches may hold.
func wantSmall(t *testing.T, profile, backup string) {
	t.Helper()
	whole, copied := size(t, profile), size(t, backup)
	if t.Logf("the profile has %d kB, its backup %d kB", whole>>10, copied>>10); whole > 160<<20 || copied > whole {
		t.Error("that is more than caches are allowed to hold")
	}
}

// wantRestored wants a service whose login was lost to have restored and verified the
// backup.
func wantRestored(t *testing.T, restored *service, backup string) {
	t.Helper()
	if v := restored.login(); v.RestoredFrom != backup || v.RestoredAt == nil || v.PersistedAt == nil || !strings.HasSuffix(v.Quarantined, "-login_missing") {
		t.Errorf("got %+v", v)
	}
	// It was made at a stop, so it was verified now.
	if v := restored.login(); v.VerifiedAt == nil || strings.Contains(restored.Log(), "backup_verify_failed") {
		t.Errorf("got %+v", v)
	}
	if v := restored.session(); v.Worker.AbnormalExits != 0 || v.Worker.Generation != 2 {
		t.Errorf("got %+v", v.Worker)
	}
}

// TestPairingByNumberAndLogoutByCommand follows one service: a conflict, codes that are refused, and one
// that links.
func TestPairingByNumberAndLogoutByCommand(t *testing.T) {
	t.Parallel()
	needBrowser(t)
	tokens := t.TempDir()
	p := newPhone(t, simulator.Options{Speed: 4, Faults: []string{"conflict=unlinked"}})
	s := start(t, p.URL, tokens, light...)
	conflictIsNoLogout(s, p)
	secrets := refusedPairings(s, p)
	s.awaitQR()
	s.wantAnswer("/session/logout", "", 409, `"not_linked"`)
	a := s.pair(`{"phone": "+54 9 11 5555-1234"}`)
	var paired struct {
		Code      string
		ExpiresAt time.Time `json:"expires_at"`
	}
	if err := json.Unmarshal([]byte(a.Body), &paired); err != nil || a.Code != 200 || len(paired.Code) != 8 || time.Until(paired.ExpiresAt) <= 0 {
		t.Fatalf("pair: %d %s, %v", a.Code, a.Body, err)
	}
	if body := s.get("/session").Body; !strings.Contains(body, `"pairing": {`) || strings.Contains(body, paired.Code) {
		t.Errorf("got %s", body)
	}
	if err := p.EnterCode(within(t), paired.Code); err != nil {
		t.Fatal(err)
	}
	s.await("READY")
	s.neverDisconnected()
	if a := s.pair(`{"phone": "+54 9 11 5555-1234"}`); a.Code != 409 || !strings.Contains(a.Body, `"not_unlinked"`) {
		t.Errorf("pair: %d %s", a.Code, a.Body)
	}
	before := s.session()
	s.wantAnswer("/session/logout", "", 200, "-logged_out")
	v := s.awaitSession("a QR of the next generation", func(v harness.Session) bool { return v.QR != nil })
	if v.Worker.Generation != before.Worker.Generation+1 || v.Worker.AbnormalExits != 0 || len(folders(t, filepath.Join(tokens, "admin.quarantine"))) != 1 {
		t.Errorf("got %+v", v.Worker)
	}
	s.stop()
	hold(t, "the log", []byte(s.Log()), append(secrets, paired.Code, paired.Code[:4]+"-"+paired.Code[4:]))
}

// neverDisconnected checks that the session was neither disconnected nor logged out before it was READY.
func (s *service) neverDisconnected() {
	s.t.Helper()
	s.awaitLog(`"to":"READY"`)
	unlinked, _, _ := strings.Cut(s.Log(), `"to":"READY"`)
	for _, unwanted := range []string{`"to":"DISCONNECTED"`, "logged_out"} {
		if strings.Contains(unlinked, unwanted) {
			s.t.Errorf("%s is in the log", unwanted)
		}
	}
}

// refusal is a fault of WhatsApp's server, and the answer to a client.
type refusal struct {
	fault  string
	status int
	code   string
}

// refusedPairings has WhatsApp's server refuse a code, or not answer, each time while an
// earlier code is alive. It returns what may not be in the log.
func refusedPairings(s *service, p *phone) []string {
	t := s.t
	t.Helper()
	secrets := []string{"5491155551234", "5555-1234", "5491155559999"}
	for _, tt := range variants([]refusal{
		{"code=429", 429, "too_many_attempts"},
		{"code=400", 422, "phone_refused"},
		{"code=never", 504, "pairing_timeout"},
		{"code=403", 403, "pairing_forbidden"},
		{"code=452", 501, "pairing_unavailable"},
		{"code=500", 502, "pairing_failed"},
		{"code=501", 502, "pairing_failed"},
		{"code=503", 502, "pairing_failed"},
	}, 2) {
		s.awaitQR()
		var first struct{ Code string }
		a := s.pair(`{"phone": "+54 9 11 5555-1234"}`)
		if err := json.Unmarshal([]byte(a.Body), &first); err != nil || a.Code != 200 {
			t.Fatalf("%s: the first request: %d %s", tt.fault, a.Code, a.Body)
		}
		secrets = append(secrets, first.Code)
		s.awaitSession("the code is shown", func(v harness.Session) bool { return v.Reason.Code == "pairing_code_shown" })
		if err := p.SetFault(tt.fault); err != nil {
			t.Fatal(err)
		}
		asked := p.CodeRequests()
		if a := s.pair(`{"phone": "+54 9 11 5555-9999"}`); a.Code != tt.status || !strings.Contains(a.Body, `"code":"`+tt.code+`"`) {
			t.Errorf("%s: %d %s", tt.fault, a.Code, a.Body)
		}
		if n := p.CodeRequests() - asked; n != 1 {
			t.Errorf("%s: WhatsApp's server was asked %d times", tt.fault, n)
		}
		if body := s.get("/session").Body; !strings.Contains(body, `"pairing": null`) || strings.Contains(body, "pairing_code_shown") {
			t.Errorf("%s: the first code is still reported: %s", tt.fault, body)
		}
		p.ClearFaults()
		if err := p.EnterCode(within(t), first.Code); !errors.Is(err, simulator.ErrExpired) {
			t.Errorf("%s: the first code: %v", tt.fault, err)
		}
	}
	return secrets
}

// pair asks for a code, as soon as the service accepts another command.
func (s *service) pair(body string) harness.Answer {
	s.t.Helper()
	for ctx := within(s.t); ; {
		a := s.ask(http.MethodPost, "/session/pair", body)
		if !strings.Contains(a.Body, "too_many_commands") || harness.Pause(ctx, 500*time.Millisecond) != nil {
			return a
		}
	}
}

// conflictIsNoLogout has the account opened elsewhere before it was linked here.
func conflictIsNoLogout(s *service, p *phone) {
	s.t.Helper()
	s.awaitSession("the conflict", func(v harness.Session) bool { return v.Reason.Code == "conflict" })
	p.ClearFaults()
	s.awaitQR()
	v := s.awaitSession("that it is over", func(v harness.Session) bool { return v.Reason.Code != "conflict" })
	if v.Reason.Code != "scan_qr" || len(folders(s.t, filepath.Join(s.Tokens, "admin.quarantine"))) != 0 {
		s.t.Errorf("got %s", v)
	}
}
