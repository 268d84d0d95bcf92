package webhook

import (
	"bufio"
	"encoding/base64"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"session-manager/shared/reason"
	"session-manager/supervisor/internal/session"
)

// modules is where npm has installed the official library.
const modules = "../../../scripts/webhook/.cache/node_modules"

// example returns the receiver of the documents.
func example(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../../../scripts/package/docs/webhook.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(page), "```js\n")
	code, _, ok := strings.Cut(after, "```")
	if lines := strings.Count(code, "\n"); !ok || lines > 11 {
		t.Errorf("a receiver of %d lines", lines)
	}
	return code
}

// receive runs a receiver with the official library, and returns its address
// and a function that returns the next line that it prints.
func receive(t *testing.T, source, key string) (address string, line func() string) {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("node is not installed")
	}
	installed, err := filepath.Abs(modules)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(installed); err != nil {
		t.Skip("standardwebhooks is not installed: scripts/install/npm.sh scripts/webhook")
	}
	folder := t.TempDir()
	script := filepath.Join(folder, "receiver.mjs")
	if err := os.WriteFile(script, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(installed, filepath.Join(folder, "node_modules")); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = l.Addr().String()
	_ = l.Close()
	_, port, _ := net.SplitHostPort(address)
	cmd := exec.CommandContext(t.Context(), node, script)
	cmd.Env = append(os.Environ(), "WEBHOOK_KEY="+key, "PORT="+port)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	lines := make(chan string)
	go func() {
		for s := bufio.NewScanner(out); s.Scan(); {
			lines <- s.Text()
		}
	}()
	return address, func() string {
		select {
		case l := <-lines:
			return l
		case <-time.After(30 * time.Second):
			t.Fatal("the receiver has printed nothing")
			return ""
		}
	}
}

// The receiver of the documents, and the official library, accept what is signed with every key
// that this package accepts, and nothing else.
func TestOfficialLibraryVerifiesWhatIsSent(t *testing.T) {
	code := example(t)
	const plain = "a key of the older form"
	for name, tt := range map[string]struct{ file, source string }{
		"whsec": {secretPrefix + base64.StdEncoding.EncodeToString([]byte("0123456789abcdef01234567")), code},
		"raw":   {plain, strings.Replace(code, "process.env.WEBHOOK_KEY", `process.env.WEBHOOK_KEY, { format: "raw" }`, 1)},
	} {
		t.Run(name, func(t *testing.T) {
			address, line := receive(t, tt.source, tt.file)
			key, err := ParseKey([]byte(tt.file + "\n"))
			if err != nil {
				t.Fatal(err)
			}
			r := start(t, nil, func(o *Options) { o.URL, o.Key = "http://"+address, key })
			r.becomes(session.QRRequired, reason.ScanQR, "")
			r.becomes(session.Ready, "", "ünïcode")
			r.keep(t, "a", "a1")
			got := line() + line() + line()
			for _, want := range []string{`"status":"QR_REQUIRED"`, `"status":"READY"`, "ünïcode", `"type":"message.status"`, `"host":"host","instance":"127.0.0.1:3001"`} {
				if !strings.Contains(got, want) {
					t.Errorf("got %s without %s", got, want)
				}
			}
			other := New(Options{URL: "http://" + address, Key: []byte("another key, another key"), Timings: DefaultTimings(), Events: r.log, Logger: r.sender.Logger})
			defer other.client.CloseIdleConnections()
			if _, err := other.attempt(t.Context(), "id", []byte("{}")); err == nil || !strings.Contains(err.Error(), "401") {
				t.Errorf("another key: %v", err)
			}
		})
	}
}
