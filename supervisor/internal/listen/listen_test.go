package listen

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, network, address string) net.Listener {
	t.Helper()
	l, err := Open(t.Context(), network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func TestAddressInUseIsAnError(t *testing.T) {
	tcp := open(t, "tcp", "127.0.0.1:0").Addr().String()
	socket := filepath.Join(t.TempDir(), "api.sock")
	open(t, "unix", socket)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for network, addresses := range map[string][]string{"tcp": {tcp}, "unix": {socket, file}} {
		for _, address := range addresses {
			ctx, cancel := context.WithTimeout(t.Context(), 2*releasePoll)
			if _, err := Open(ctx, network, address); !errors.Is(err, syscall.EADDRINUSE) {
				t.Errorf("%s: got %v", address, err)
			}
			cancel()
		}
	}
	if content, err := os.ReadFile(file); err != nil || string(content) != "x" {
		t.Error("a file that is not a socket was touched")
	}
}

func TestAddressIsTakenOverWhenItIsFreed(t *testing.T) {
	for network, address := range map[string]string{"tcp": "127.0.0.1:0", "unix": filepath.Join(t.TempDir(), "api.sock")} {
		predecessor, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(4*releasePoll, func() { _ = predecessor.Close() })
		open(t, network, predecessor.Addr().String())
	}
}

func TestSocketIsNeverOpenToOthers(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	path := filepath.Join(t.TempDir(), "api.sock")
	l, err := (&net.ListenConfig{Control: restrict}).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != socketMode {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestSocketOfADeadProcessIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "api.sock")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	_ = dead.Close()
	open(t, "unix", path)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != socketMode {
		t.Errorf("mode %o", info.Mode().Perm())
	}
}

func TestHTTPOverASocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "api.sock")
	serve(t, open(t, "unix", path))
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}
	defer transport.CloseIdleConnections()
	if got := fetch(t, transport, "http://localhost/"); got != "hello" {
		t.Errorf("got %q", got)
	}
}

func serve(t *testing.T, l net.Listener) {
	t.Helper()
	server := &http.Server{
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }),
		ReadHeaderTimeout: time.Second,
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
}

func fetch(t *testing.T, transport http.RoundTripper, url string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// writePair writes a self-signed certificate and returns a pool that trusts it.
func writePair(t *testing.T, cert, key, name string) *x509.CertPool {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{
		cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pkcs8},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool := x509.NewCertPool()
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool.AddCert(parsed)
	return pool
}

func TestCertificateIsReplacedWithoutARestart(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	first := writePair(t, cert, key, "first.example")
	c := Certificate(cert, key)
	if err := c.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	plain := open(t, "tcp", "127.0.0.1:0")
	serve(t, TLS(plain, c))
	url := "https://" + plain.Addr().String() + "/"
	ask := func(pool *x509.CertPool, name string) string {
		t.Helper()
		transport := &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: name, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true,
		}
		defer transport.CloseIdleConnections()
		return fetch(t, transport, url)
	}
	if ask(first, "first.example") != "hello" {
		t.Error("first")
	}
	if err := os.WriteFile(cert, []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	if c.Load(t.Context()) == nil || ask(first, "first.example") != "hello" {
		t.Error("a broken file must change nothing")
	}
	second := writePair(t, cert, key, "second.example")
	if err := c.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if ask(second, "second.example") != "hello" {
		t.Error("second")
	}
}

func TestMissingOrForeignKeyIsAnError(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if err := Certificate(cert, key).Load(t.Context()); err == nil {
		t.Error("missing files")
	}
	writePair(t, cert, filepath.Join(dir, "other.pem"), "a.example")
	writePair(t, filepath.Join(dir, "unused.pem"), key, "b.example")
	if err := Certificate(cert, key).Load(t.Context()); err == nil {
		t.Error("another certificate's key")
	}
}
