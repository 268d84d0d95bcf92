package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"session-manager/scripts/harness"
	"session-manager/scripts/simulator"
)

// machine is one on which the service is installed, with two instances, in a mount namespace
// for each command.
type machine struct {
	t *testing.T
	// dir holds everything: the program, its settings, and the folders of the instances.
	dir string
}

func newMachine(t *testing.T, url string) machine {
	t.Helper()
	if os.Geteuid() != 0 || exec.CommandContext(t.Context(), "unshare", "-m", "true").Run() != nil {
		t.Skip("needs root, and a mount namespace")
	}
	m := machine{t, shortDir(t)}
	m.run(0, `chmod 755 . && cp `+binaries.Supervisor+` `+binaries.Worker+` . && mkdir -m 700 private && mkdir -p state/tokens "state@3002" &&
		chown -R nobody state "state@3002" && chmod -R go= state "state@3002"`)
	write(t, filepath.Join(m.dir, "api-key"), "long-enough-for-a-key\n")
	write(t, filepath.Join(m.dir, "config.json"), fmt.Sprintf(`{"url": %q, "listen": "127.0.0.1:0"}`, url))
	write(t, filepath.Join(m.dir, "3002.env"), "SESSION_MANAGER_BACKUP_HOUR=7\n")
	m.run(0, "chmod 644 $DIR/config.json; chmod 600 $DIR/3002.env")
	for name, folder := range map[string]string{"session-manager.service": "state", "session-manager@.service": "state@%i"} {
		write(t, filepath.Join(m.dir, name), "[Service]\nExecStart="+m.dir+"/supervisor --config="+m.dir+"/config.json\nUser=nobody\nUMask=0077\n"+
			"Environment=SESSION_MANAGER_TOKENS="+m.dir+"/"+folder+"/tokens HOME="+m.dir+"/"+folder+"\nEnvironmentFile=-"+m.dir+"/%i.env\n"+
			"LoadCredential=api-key:"+m.dir+"/api-key\n")
	}
	return m
}

// run runs a shell script as root where the units are installed, in a folder that only root
// can enter if there is one, and returns what it wrote.
func (m machine) run(want int, script string) string {
	m.t.Helper()
	cmd := exec.CommandContext(within(m.t), "unshare", "-m", "--propagation", "private", "bash", "-c", `
		mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system || exit 99
		cp session-manager* /run/systemd/system 2>/dev/null
		export PATH="$PWD:$PATH" DIR="$PWD"; cd private 2>/dev/null
		`+script)
	cmd.Dir = m.dir
	cmd.Env = append(os.Environ(), "TMPDIR=/tmp")
	out, _ := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); code != want {
		m.t.Errorf("%s\nexit code %d: %s", script, code, out)
	}
	return string(out)
}

// has runs a script, which must write all of these.
func (m machine) has(script string, parts ...string) {
	m.t.Helper()
	out := m.run(0, script)
	for _, part := range parts {
		if !strings.Contains(out, strings.ReplaceAll(part, "DIR", m.dir)) {
			m.t.Errorf("no %q after %s:\n%s", part, script, out)
		}
	}
}

// owned makes sure that everything in the folders of the instances is the service's.
func (m machine) owned() {
	m.t.Helper()
	if out := m.run(0, `find "$DIR/state" "$DIR/state@3002" ! -user nobody; find "$DIR/state" "$DIR/state@3002" -perm /077`); out != "" {
		m.t.Errorf("not the service's: %s", out)
	}
}

func TestPackagedCommandsMeanThePackagedService(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "http://127.0.0.1:1/")
	m.has("supervisor --print-config", "session-manager.service", "DIR/config.json", "as user nobody",
		`"DIR/state/tokens"`, `"DIR/api-key"`, "credential", `"http://127.0.0.1:1/"`)
	m.has("supervisor --print-config --instance 3002", "session-manager@3002.service", "DIR/3002.env", `"DIR/state@3002/tokens"`, `"7"`)
	m.has("SESSION_MANAGER_TOKENS=mine supervisor --print-config --backup-hour=5", `"DIR/private/mine"`, `"5"`, "environment")
	m.run(78, "supervisor --instance 3002")
	if out := m.run(1, "echo SESSION_MANAGER_QR_TIMEOUT=15 >> $DIR/3002.env; supervisor --instance=3002 doctor; exit $?"); !strings.Contains(out, "SESSION_MANAGER_QR_TIMEOUT in "+m.dir+"/3002.env") {
		t.Error(out)
	}
	// A login moves from one instance to the other, by files that only root can open.
	m.run(0, `rm $DIR/3002.env; mkdir -p "$DIR/state/tokens/admin/Default/Local Storage/leveldb" && echo login > "$DIR/state/tokens/admin/Default/Local Storage/leveldb/x" && chmod -R go= $DIR/state && chown -R nobody $DIR/state`)
	m.has("supervisor session export - --passphrase-file <(echo secret) > login.age", "exported the login")
	m.has("supervisor --instance 3002 session import - --passphrase-file=/dev/fd/3 3<<<secret < login.age", "imported the login", "session-manager@3002")
	m.has("cat $DIR/state@3002/tokens/admin/Default/Local*/leveldb/x", "login")
	m.owned()
	if out := m.run(78, "supervisor session export login2.age --passphrase-file <(echo secret)"); !strings.Contains(out, "export to -") {
		t.Error(out)
	}
	if out := m.run(65, "supervisor session import $DIR/private/login.age --passphrase-file <(echo secret)"); !strings.Contains(out, "import -") {
		t.Error(out)
	}
	// The user is lost: nothing may be done as root.
	m.run(70, "sed -i s/User=nobody/User=no-such-user/ /run/systemd/system/*; supervisor session import - --passphrase-file <(echo secret) < login.age")
	m.owned()
}

func TestPackagedDoctorActsAsTheService(t *testing.T) {
	t.Parallel()
	needBrowser(t)
	m := newMachine(t, newPhone(t, simulator.Options{}).URL)
	m.has("supervisor doctor", "as user nobody", "✓ files", "✓ worker", "the page shows a QR")
	m.owned()
	m.run(0, "mkdir -p $DIR/state/tokens/admin/Default && chown -R nobody $DIR/state && chmod -R go= $DIR/state && echo x > $DIR/state/tokens/admin/Default/Cookies && chmod 600 $DIR/state/tokens/admin/Default/Cookies")
	if out := m.run(1, "supervisor doctor --chrome /nonexistent"); !strings.Contains(out, "profile_unwritable") || !strings.Contains(out, "user 0") {
		t.Error(out)
	}
	as := filepath.Join(m.dir, "as-nobody")
	write(t, as, "#!/bin/sh\nexport TMPDIR=/tmp RUNTIME_DIRECTORY=\nexec setpriv --reuid=nobody --regid=nogroup --clear-groups "+m.dir+"/supervisor \"$@\"\n")
	if err := os.Chmod(as, 0o755); err != nil {
		t.Fatal(err)
	}
	running, err := harness.Start(within(t), harness.Options{
		Supervisor: as, Folder: shortDir(t), Tokens: filepath.Join(m.dir, "state/tokens"), URL: "http://127.0.0.1:1/",
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = running.Stop() }()
	s := &service{Service: running, t: t}
	s.await("ERROR")
	if code := s.session().Reason.Code; code != "profile_unwritable" {
		t.Errorf("the service: %s", code)
	}
	m.run(0, "chown nobody $DIR/state/tokens/admin/Default/Cookies")
	if out := m.run(1, "supervisor doctor --chrome /nonexistent"); strings.Contains(out, "profile_unwritable") {
		t.Error(out)
	}
}
