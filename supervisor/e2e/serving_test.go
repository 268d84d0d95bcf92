package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// noChrome makes a service that is ready at once, and whose state is ERROR.
var noChrome = []string{"--url", "http://127.0.0.1:1/", "--chrome", "/nonexistent"}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// code asks with a key and returns the status of the answer.
func code(t *testing.T, client *http.Client, method, url, key string) int {
	t.Helper()
	r, err := http.NewRequestWithContext(within(t), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if key != "" {
		r.Header.Set("X-API-Key", key)
	}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// eventually looks until ok. A reload has no event that another process sees.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx := within(t)
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("%s never came", what)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// awaitLog waits until the log, which is written in the background, has a text.
func (s *service) awaitLog(text string) {
	s.t.Helper()
	eventually(s.t, text, func() bool { return strings.Contains(s.Log(), text) })
}

func TestAPIKeysApplyWithoutARestart(t *testing.T) {
	keys := filepath.Join(t.TempDir(), "keys")
	write(t, keys, "read:reader-reader-reader\ncommand:commander-commander\n")
	s := launch(t, t.TempDir(), append(noChrome, "--api-key-file", keys, "--listen", "localhost:0")...)
	s.awaitListening()
	if got := code(t, http.DefaultClient, "GET", strings.Replace(s.Base, "127.0.0.1", "[::1]", 1)+"/status", ""); got != 200 {
		t.Errorf("localhost by IPv6: got %d", got)
	}
	ask := func(method, path, key string) int { return code(t, http.DefaultClient, method, s.Base+path, key) }
	if got := ask("GET", "/status", ""); got != 200 {
		t.Errorf("read on the loopback: got %d", got)
	}
	if none, wrong := ask("POST", "/session/restart", ""), ask("POST", "/session/restart", "reader-reader-reader"); none != 401 || wrong != 403 {
		t.Errorf("got %d and %d", none, wrong)
	}
	if got := ask("POST", "/session/restart", "commander-commander"); got != 202 {
		t.Errorf("got %d", got)
	}
	write(t, keys, "the-next-key-the-next-key")
	eventually(t, "the next key", func() bool { return ask("POST", "/session/restart", "commander-commander") == 401 })
	write(t, keys, "short")
	s.awaitLog("file_reload_failed")
	if got := ask("GET", "/session/screenshot", "the-next-key-the-next-key"); got != 503 && got != 429 {
		t.Errorf("a broken file must change nothing: got %d", got)
	}
	for _, key := range []string{"commander", "the-next-key", "short"} {
		if strings.Contains(s.Log(), key) {
			t.Errorf("the log has the key %q", key)
		}
	}
}

func TestReadingNeedsAKeyBeyondTheLoopback(t *testing.T) {
	keys := filepath.Join(t.TempDir(), "keys")
	write(t, keys, "a-key-a-key-a-key-a-key")
	s := launch(t, t.TempDir(), append(noChrome, "--api-key-file", keys, "--listen", "0.0.0.0:0")...)
	s.awaitListening()
	for _, path := range []string{"/status", "/qr", "/session", "/events", "/", "/metrics", "/crashes", "/readyz?session=1"} {
		if got := code(t, http.DefaultClient, "GET", s.Base+path, ""); got != 401 {
			t.Errorf("%s: got %d", path, got)
		}
	}
	if got := code(t, http.DefaultClient, "GET", s.Base+"/status", "a-key-a-key-a-key-a-key"); got != 200 {
		t.Errorf("got %d", got)
	}
	if conn, err := net.Dial("tcp", strings.Replace(s.Base, "http://127.0.0.1", "[::1]", 1)); err == nil {
		_ = conn.Close()
		t.Error("0.0.0.0 includes IPv6")
	}
	s.awaitLog("keys_exposed")
}

func TestUnixSocketIsTakenOverAfterAKill(t *testing.T) {
	dir, err := os.MkdirTemp("/tmp", "e2e-socket")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "api.sock")
	tokens := t.TempDir()
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}
	client := &http.Client{Transport: transport}
	up := func() bool {
		r, err := http.NewRequestWithContext(within(t), http.MethodGet, "http://unix/status", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(r)
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	}
	first := launch(t, tokens, append(noChrome, "--listen", "unix:"+socket)...)
	eventually(t, "the first", up)
	first.Kill()
	launch(t, tokens, append(noChrome, "--listen", "unix:"+socket)...)
	eventually(t, "the second", up)
}

// writePair writes a self-signed certificate for 127.0.0.1, and returns a pool
// that trusts it.
func writePair(t *testing.T, cert, key string) *x509.CertPool {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "session-manager"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	write(t, cert, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	write(t, key, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})))
	pool := x509.NewCertPool()
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool.AddCert(parsed)
	return pool
}

func TestCertificateIsRenewedWithoutARestart(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	first := writePair(t, cert, key)
	s := launch(t, t.TempDir(), append(noChrome, "--tls-cert", cert, "--tls-key", key)...)
	trusts := func(pool *x509.CertPool) bool {
		transport := &http.Transport{
			DisableKeepAlives: true, ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
		}
		r, err := http.NewRequestWithContext(within(t), http.MethodGet, strings.Replace(s.Base, "http:", "https:", 1)+"/status", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := transport.RoundTrip(r)
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	}
	s.awaitListening()
	eventually(t, "HTTPS", func() bool { return trusts(first) })
	second := writePair(t, cert, key)
	eventually(t, "the next certificate", func() bool { return trusts(second) })
}

func TestWebhookReportsTheStateSigned(t *testing.T) {
	key := filepath.Join(t.TempDir(), "key")
	write(t, key, "webhook-key-webhook-key")
	type message struct {
		header http.Header
		body   []byte
	}
	got := make(chan message, 100)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- message{r.Header, body}
	}))
	defer receiver.Close()
	s := launch(t, t.TempDir(), append(noChrome, "--webhook", receiver.URL+"/secret-path", "--webhook-key-file", key)...)
	select {
	case m := <-got:
		mac := hmac.New(sha256.New, []byte("webhook-key-webhook-key"))
		mac.Write([]byte(m.header.Get("webhook-id") + "." + m.header.Get("webhook-timestamp") + "."))
		mac.Write(m.body)
		if m.header.Get("webhook-signature") != "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)) {
			t.Errorf("signature %s", m.header.Get("webhook-signature"))
		}
		if !strings.Contains(string(m.body), `"status":"ERROR"`) || !strings.Contains(string(m.body), "browser_missing") {
			t.Errorf("got %s", m.body)
		}
	case <-within(t).Done():
		t.Fatal("nothing came")
	}
	if strings.Contains(s.Log(), "secret-path") {
		t.Error("the log has the webhook's address")
	}
}

func TestUnusableFilesStopTheStart(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	write(t, empty, "")
	for name, args := range map[string][]string{
		"no key":              {"--api-key-file", empty},
		"no such file":        {"--api-key-file", empty + ".missing"},
		"no certificate":      {"--tls-cert", empty, "--tls-key", empty},
		"no key of a webhook": {"--webhook", "http://127.0.0.1:1/", "--webhook-key-file", empty},
		"certificate, no key": {"--tls-cert", empty},
		"bad webhook":         {"--webhook", "nowhere"},
	} {
		if exit, out := refused(t, append(args, "--tokens", t.TempDir(), "--listen", "127.0.0.1:0")...); exit != 78 {
			t.Errorf("%s: exit code %d: %s", name, exit, out)
		}
	}
}

func TestCompletionIsPrinted(t *testing.T) {
	script, err := exec.CommandContext(within(t), binaries.Supervisor, "completion", "bash").Output()
	if err != nil || !strings.Contains(string(script), "complete") {
		t.Errorf("%v: %s", err, script)
	}
}
