package installed

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// install makes unit folders with these files, by their paths below them, and a program. The
// word PROGRAM in them is its path, and DIR that of the folders.
func install(t *testing.T, files map[string]string) (program string) {
	t.Helper()
	dir := t.TempDir()
	program = filepath.Join(dir, "supervisor")
	files["supervisor"] = ""
	for name, content := range files {
		path := filepath.Join(dir, name)
		content = strings.NewReplacer("PROGRAM", program, "DIR", dir).Replace(content)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	before := unitFolders
	unitFolders = []string{filepath.Join(dir, "etc"), filepath.Join(dir, "usr")}
	t.Cleanup(func() { unitFolders = before })
	return program
}

func TestUnitIsReadAsSystemdDoes(t *testing.T) {
	program := install(t, map[string]string{
		"usr/session-manager.service": `[Unit]
Environment=NOT=this
[Service]
# a comment
ExecStart=-PROGRAM --config="/etc/a b.json" \
  --chrome-arg=--lang=${LANGUAGE} --price=$$5
Environment=SESSION_MANAGER_TOKENS=%S/%N/tokens "WITH=two words" PERCENT=%%
Environment=LANGUAGE=es
LoadCredential=api-key:/etc/%p/api-key
EnvironmentFile=-DIR/missing.env
EnvironmentFile=DIR/settings.env
User=nobody
`,
		"usr/session-manager.service.d/10.conf": "[Service]\nEnvironment=LANGUAGE=de\n",
		"usr/session-manager.service.d/20.conf": "[Service]\nEnvironment=FROM=usr\n",
		"etc/session-manager.service.d/20.conf": "[Service]\nEnvironment=FROM=etc\nUser=\nUser=games\n",
		"usr/service.d/30.conf":                 "[Service]\nEnvironment=ALL=1\n",
		"settings.env":                          "# a comment\n; another\nFROM=file\nQUOTED=\"a b\" \nEMPTY=\nnothing\nLONG=a \\\nb\n",
	})
	s, err := Find(program, "")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"--config=/etc/a b.json", "--chrome-arg=--lang=de", "--price=$5"}, s.Args); d != "" {
		t.Error(d)
	}
	var environ []string
	for _, v := range s.Environ {
		environ = append(environ, v.Name+"="+v.Value+" "+filepath.Base(v.Where))
	}
	if d := cmp.Diff([]string{
		"SESSION_MANAGER_TOKENS=/var/lib/session-manager/tokens session-manager.service", "WITH=two words session-manager.service",
		"PERCENT=% session-manager.service", "LANGUAGE=es session-manager.service", "LANGUAGE=de 10.conf", "FROM=etc 20.conf", "ALL=1 30.conf",
		"FROM=file settings.env", "QUOTED=a b settings.env", "EMPTY= settings.env", "LONG=a b settings.env",
	}, environ); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(map[string]string{"api-key": "/etc/session-manager/api-key"}, s.Credentials); d != "" {
		t.Error(d)
	}
	if user, err := s.last("User"); user != "games" || err != nil || len(s.Files) != 5 {
		t.Errorf("user %q, %v, files %v", user, err, s.Files)
	}
}

func TestPackagedUnitIsUnderstood(t *testing.T) {
	const folder = "../../../scripts/package/"
	unit, err := os.ReadFile(folder + "session-manager.service")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "sh", folder+"template.sh")
	cmd.Stdin = bytes.NewReader(unit)
	template, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	const packaged = "/usr/lib/session-manager/supervisor"
	program := install(t, map[string]string{
		"usr/session-manager.service":  strings.ReplaceAll(string(unit), packaged, "PROGRAM"),
		"usr/session-manager@.service": strings.ReplaceAll(string(template), packaged, "PROGRAM"),
	})
	for instance, name := range map[string]string{"": "session-manager", "3002": "session-manager@3002"} {
		s, err := Find(program, instance)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.variable("SESSION_MANAGER_TOKENS"); got != "/var/lib/"+name+"/tokens" || s.User() != "session-manager" || s.Credentials["api-key"] == "" {
			t.Errorf("%s: tokens %q, user %q, credentials %v", name, got, s.User(), s.Credentials)
		}
	}
}

func TestEnvironmentIsThatOfTheService(t *testing.T) {
	s := &Service{Environ: []Variable{{"HTTPS_PROXY", "http://theirs", ""}, {"SESSION_MANAGER_URL", "http://theirs", ""}, {"HOME", "/var/cache/x", ""}}}
	got := s.environment([]string{
		"HTTPS_PROXY=http://mine", "http_proxy=http://mine", "PATH=/mine", "TMPDIR=/root/tmp", "LANG=C", "SESSION_MANAGER_LISTEN=mine", "LD_PRELOAD=/x",
	}, &identity{name: "sm", home: "/"})
	if d := cmp.Diff([]string{
		"PATH=" + usualPath, "HOME=/", "USER=sm", "LOGNAME=sm", "HTTPS_PROXY=http://theirs", "HOME=/var/cache/x", "LANG=C", "SESSION_MANAGER_LISTEN=mine",
	}, got); d != "" {
		t.Error(d)
	}
}

// TestBecomeForgetsTheEnvironmentOfRoot runs itself as root, which then looks at itself.
func TestBecomeForgetsTheEnvironmentOfRoot(t *testing.T) {
	const variable = "INSTALLED_TEST_SECRET"
	if os.Getenv(variable) != "" {
		s := &Service{section: section{"User": {{"nobody", ""}}}}
		if _, err := s.Become(); err != nil {
			t.Fatal(err)
		}
		shown, err := os.ReadFile("/proc/self/environ")
		if err != nil || strings.Contains(string(shown), variable) {
			t.Errorf("%v: %d bytes of root's environment are left", err, len(shown))
		}
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^"+t.Name()+"$")
	cmd.Env = []string{"PATH=/usr/bin", variable + "=x"}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func TestInstanceHasItsOwnSettings(t *testing.T) {
	program := install(t, map[string]string{
		"usr/session-manager.service":               "[Service]\nExecStart=PROGRAM\n",
		"usr/session-manager@.service":              "[Service]\nExecStart=PROGRAM\nEnvironment=A=%i B=%t/x@%i\n",
		"etc/session-manager@3002.service.d/a.conf": "[Service]\nEnvironment=C=own\n",
		"etc/session-manager@.service.d/a.conf":     "[Service]\nEnvironment=C=all\n",
	})
	for instance, want := range map[string]string{"3002": "A=3002 B=/run/x@3002 C=own", "3003": "A=3003 B=/run/x@3003 C=all", "": ""} {
		s, err := Find(program, instance)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, v := range s.Environ {
			got = append(got, v.Name+"="+v.Value)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q: %v", instance, got)
		}
	}
}

func TestOtherProgramsAndUnitsAreNotMeant(t *testing.T) {
	program := install(t, map[string]string{"usr/session-manager.service": "[Service]\nExecStart=/bin/true\n"})
	for _, instance := range []string{"", "3002", "../x", "a b"} {
		if _, err := Find(program, instance); !errors.Is(err, ErrNotInstalled) {
			t.Errorf("%q: %v", instance, err)
		}
	}
}

func TestBadUnitsAreRefused(t *testing.T) {
	for name, lines := range map[string]string{
		"specifier":        "ExecStart=PROGRAM\nEnvironment=A=%q",
		"end of specifier": "ExecStart=PROGRAM\nEnvironment=A=%",
		"quotation mark":   "ExecStart=PROGRAM\nEnvironment=\"A=1",
		"environment file": "ExecStart=PROGRAM\nEnvironmentFile=DIR/missing",
		"folder":           "ExecStart=PROGRAM\nEnvironmentFile=DIR",
		"credential":       "ExecStart=PROGRAM\nLoadCredential=a:/%q",
	} {
		program := install(t, map[string]string{"usr/session-manager.service": "[Service]\n" + lines + "\n"})
		if s, err := Find(program, ""); err == nil || errors.Is(err, ErrNotInstalled) {
			t.Errorf("%s: %v, %v", name, s, err)
		}
	}
}

func FuzzUnit(f *testing.F) {
	f.Add("[Service]\nA=\"b\\\" c\" %i\\\n#x\nd")
	f.Fuzz(func(_ *testing.T, content string) {
		s := &Service{section: section{}}
		s.section.add(content, "unit")
		for key := range s.section {
			_, _ = s.words(key)
		}
	})
}
