package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"session-manager/scripts/harness"
	"session-manager/scripts/simulator"
)

// asking is a person with a service's settings in the environment.
type asking struct {
	t   *testing.T
	env []string
}

// run runs a command with this standard input, wants its exit code, and returns what it wrote.
func (a asking) run(want int, stdin string, args ...string) (stdout, stderr string) {
	a.t.Helper()
	cmd := exec.CommandContext(within(a.t), binaries.Supervisor, args...)
	cmd.Env = append(os.Environ(), a.env...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, errors bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errors
	_ = cmd.Run()
	if code := cmd.ProcessState.ExitCode(); code != want {
		a.t.Errorf("%v: exit code %d, want %d: %s %s", args, code, want, out.String(), errors.String())
	}
	return out.String(), errors.String()
}

// inTerminal starts a command as the program in the foreground of a terminal.
func (a asking) inTerminal(args ...string) (*screen, *exec.Cmd) {
	a.t.Helper()
	terminal, err := harness.OpenTerminal()
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(terminal.Close)
	if err := terminal.Resize(100, 60); err != nil {
		a.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(a.t.Context(), 3*patience) // each wait for what it writes has its own
	a.t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, binaries.Supervisor, args...)
	cmd.Env = append(os.Environ(), a.env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal.Slave, terminal.Slave, terminal.Slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		a.t.Fatal(err)
	}
	return &screen{Terminal: terminal}, cmd
}

// ends waits for the end of a program, which still writes to the terminal.
func (s *screen) ends(t *testing.T, cmd *exec.Cmd, text string, want int) {
	t.Helper()
	s.shows(t, text)
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != want {
		t.Errorf("exit code %d, want %d: %s", code, want, s.text)
	}
}

// awaitDrawn reads until a QR is drawn that is not the one before, and returns its payload.
func (s *screen) awaitDrawn(t *testing.T, before string) string {
	t.Helper()
	for {
		s.next(t, "another QR")
		lines, err := harness.Render(s.text)
		if err != nil {
			t.Fatal(err)
		}
		drawn := strings.Count(strings.Join(lines, "\n"), "Scan it: ")
		payload, err := harness.DecodeBlocks(lines)
		if drawn > 1 {
			t.Fatalf("the QR is not renewed in place: %s", strings.Join(lines, "\n"))
		}
		if err == nil && drawn == 1 && payload != before {
			return payload
		}
	}
}

// says runs a command as run does, and wants a text in what it writes.
func (a asking) says(want int, text string, args ...string) {
	a.t.Helper()
	if out, errors := a.run(want, "", args...); !strings.Contains(out+errors, text) {
		a.t.Errorf("%v: no %q: %s %s", args, text, out, errors)
	}
}

// types presses keys.
func (s *screen) types(t *testing.T, keys string) {
	t.Helper()
	if err := s.Type(keys); err != nil {
		t.Fatal(err)
	}
}

const interrupt = "\x03" // Ctrl-C

func TestPhoneIsLinkedFromATerminal(t *testing.T) {
	t.Parallel()
	needBrowser(t)
	p := newPhone(t, simulator.Options{}) // a code is renewed every few seconds
	config := filepath.Join(t.TempDir(), "config.json")
	address, tokens := freeAddress(t), t.TempDir()
	write(t, config, fmt.Sprintf(`{"listen": %q, "url": %q, "settle-time": "0s", "messages": "both", "tokens": %q}`, address, p.URL, tokens))
	a := asking{t, []string{"SESSION_MANAGER_CONFIG=" + config}}
	a.says(69, "http://"+address, "status")
	s := launchWith(t, harness.Options{Tokens: tokens, Listen: address, Args: append(eager, "--config", config)})
	s.awaitListening()

	shown, cmd := a.inTerminal(words(command(t, "session-manager qr"))...)
	shown.awaitDrawn(t, shown.awaitDrawn(t, ""))
	if err := shown.Resize(100, 20); err != nil {
		t.Fatal(err)
	}
	shown.shows(t, "too small for the QR")
	shown.types(t, interrupt)
	shown.ends(t, cmd, "interrupt signal received\n", 130)

	a.says(1, "QR_REQUIRED: ", "status")
	a.says(75, "100ms", "status", "--wait", "--timeout=100ms")
	a.says(1, "(not_linked)", "send", ada, "hello")
	a.says(65, "(phone_invalid)", "pair", "12345")

	shown, cmd = a.inTerminal("qr")
	shown.awaitDrawn(t, "")
	p.scan(t)
	shown.ends(t, cmd, "Next, try: session-manager send", 0)
	lines, err := harness.Render(shown.text)
	if err != nil || lines[0] != "READY" {
		t.Errorf("%v: on the terminal is left: %s", err, lines)
	}
	a.says(0, "\nlinked ", "status", "--wait")
	a.sends()
	shown, cmd = a.inTerminal("events", "--types=state")
	shown.shows(t, " state READY")
	shown.types(t, interrupt)
	shown.ends(t, cmd, "interrupt signal received\n", 130)
	t.Run("as documented", func(t *testing.T) { asking{t, a.env}.documented(address) })
	a.says(0, "being restarted", "restart", "--now")
	s.awaitSession("the next instance", func(v harness.Session) bool { return v.Worker.Generation == 2 && v.Status == "READY" })
	a.linksAgain(p, s)
}

// sends sends a message by its name, more than once.
func (a asking) sends() {
	a.t.Helper()
	body, _ := a.run(0, "", "status", "--json")
	sent, _ := a.run(0, "from standard input\n", "send", "--wait", "--timeout=50s", "--idempotency-key=one", ada)
	if !json.Valid([]byte(body)) || !regexp.MustCompile(`^(3EB0\w+) queued\n(?s:.*)(3EB0\w+) (sent|delivered|read)\n$`).MatchString(sent) {
		a.t.Errorf("got %s and %s", body, sent)
	}
	id, _, _ := strings.Cut(sent, " ")
	a.says(0, id, "send", "--json", "--idempotency-key=one", ada, "from standard input")
	a.says(65, "idempotency_conflict", "send", "--idempotency-key=one", ada, "another text")
	a.run(64, "", "send", ada)
	a.run(64, "the rest of a script's input", "send", ada, "") // of a variable that is not set
	a.run(64, "\xff", "send", ada)
	a.run(65, "", "send", "--idempotency-key=", ada, "x") // of a variable that is not set
	a.run(64, strings.Repeat("x", 70_000), "send", ada)
}

// linksAgain unlinks the phone, and links it by a code.
func (a asking) linksAgain(p *phone, s *service) {
	a.t.Helper()
	shown, cmd := a.inTerminal("logout")
	shown.shows(a.t, "Write yes")
	shown.types(a.t, "no\n")
	shown.ends(a.t, cmd, "nothing was changed", 1)
	a.says(0, "The phone is unlinked. The old login is ", words(command(a.t, "session-manager logout"))...)
	s.await("QR_REQUIRED")
	shown, cmd = a.inTerminal(words(command(a.t, "session-manager pair +5491123456789"))...)
	shown.shows(a.t, "Enter this code on the phone")
	code := regexp.MustCompile(`\b[A-Z0-9]{8}\b`).FindString(shown.text)
	if err := p.EnterCode(within(a.t), code); err != nil {
		a.t.Fatalf("the code %q: %v", code, err)
	}
	shown.ends(a.t, cmd, "Next, try: session-manager send", 0)
	a.says(0, "The phone is unlinked.\n", words(command(a.t, "session-manager logout --purge"))...)
}

func TestCommandsFindKeyCertificateAndSocket(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		write(t, path, content)
		return path
	}
	keys := file("keys", "read:a-key-that-may-read\ncommand:a-key-for-commands-only\n")
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writePair(t, cert, key)
	_, port, _ := strings.Cut(freeAddress(t), ":")
	for listen, env := range map[string][]string{
		"0.0.0.0:" + port:           {"SESSION_MANAGER_TLS_CERT=" + cert, "SESSION_MANAGER_TLS_KEY=" + key},
		"unix:" + dir + "/api.sock": nil,
	} {
		a := asking{t, append(env, "SESSION_MANAGER_LISTEN="+listen, "SESSION_MANAGER_API_KEY_FILE="+keys)}
		s := launchWith(t, harness.Options{Tokens: t.TempDir(), Listen: listen, Args: []string{"--chrome", "/nonexistent"}, Env: a.env})
		s.awaitLog(`"to":"ERROR"`)
		if out, _ := a.run(1, "", "status"); !strings.HasPrefix(out, "ERROR: No usable Chrome") {
			t.Errorf("%s: got %s", listen, out)
		}
		a.run(0, "", "restart") // with the other key
		if _, refused := a.run(77, "", "send", "+5491123456789", "x"); !strings.Contains(refused, "scope_missing") || strings.Contains(refused, "a-key-") {
			t.Errorf("%s: got %s", listen, refused)
		}
		if _, refused := a.run(77, "", "restart", "--key-file", file("wrong", "not-one-of-the-keys\n")); !strings.Contains(refused, "key_unknown") {
			t.Errorf("%s: got %s", listen, refused)
		}
		a.run(0, "a-key-for-commands-only\n", "restart", "--key-file=/dev/stdin")
		a.run(78, "", "restart", "--key-file=/nonexistent")
		if address, isSocket := strings.CutPrefix(listen, "unix:"); isSocket {
			a.run(77, "", "restart", "--url=unix:"+address) // the key goes nowhere but where the settings say
		} else {
			_, other := a.run(69, "", "status", "--url=https://127.0.0.1:"+port)
			if !strings.Contains(other, "certificate") {
				t.Errorf("another certificate: %s", other)
			}
		}
	}
}
