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
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, network, address string) net.Listener {
	t.Helper()
	all, err := Open(t.Context(), Addresses(network, address))
	if err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
	t.Cleanup(func() { Close(all) })
	return all[0]
}

// reaches reports whether something listens on a port of host.
func reaches(host string, port int) bool {
	conn, err := net.DialTimeout("tcp", net.JoinHostPort(host, strconv.Itoa(port)), time.Minute)
	if err == nil {
		_ = conn.Close()
	}
	return err == nil
}

func TestEachAddressMeansWhatItNames(t *testing.T) {
	six, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Skipf("needs IPv6: %v", err)
	}
	_ = six.Close()
	for address, want := range map[string][2]bool{ // IPv4, IPv6
		"localhost:0": {true, true}, "127.0.0.1:0": {true, false}, "[::1]:0": {false, true},
		"0.0.0.0:0": {true, false}, "[::ffff:0.0.0.0]:0": {true, false}, "[::]:0": {true, true}, ":0": {true, true},
	} {
		all, err := Open(t.Context(), Addresses("tcp", address))
		if err != nil {
			t.Fatal(err)
		}
		port := all[0].Addr().(*net.TCPAddr).Port
		if got := [2]bool{reaches("127.0.0.1", port), reaches("::1", port)}; got != want {
			t.Errorf("%s: reached by IPv4 and IPv6: %v", address, got)
		}
		Close(all)
	}
}

// A program that has one of them would get a part of the requests.
func TestLocalhostNeedsBothLoopbacks(t *testing.T) {
	foreign, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Skipf("needs IPv6: %v", err)
	}
	defer func() { _ = foreign.Close() }()
	port := foreign.Addr().(*net.TCPAddr).Port
	ctx, cancel := context.WithTimeout(t.Context(), 2*releasePoll)
	defer cancel()
	if _, err := Open(ctx, Addresses("tcp", fmt.Sprintf("localhost:%d", port))); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("got %v", err)
	}
	if reaches("127.0.0.1", port) {
		t.Error("the other one stays open")
	}
}

func TestMissingKindOfAddressIsLeftOut(t *testing.T) {
	// 240.0.0.0/4 is reserved (RFC 1112), so no machine has it.
	all, err := Open(t.Context(), []Address{{"tcp4", "127.0.0.1:0"}, {"tcp4", "240.0.0.1:0"}})
	if err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
	Close(all)
	for _, alone := range [][]Address{{{"tcp4", "240.0.0.1:0"}}, {{"tcp4", "240.0.0.1:0"}, {"tcp4", "240.0.0.2:0"}}} {
		if all, err := Open(t.Context(), alone); !errors.Is(err, syscall.EADDRNOTAVAIL) || all != nil {
			t.Errorf("got %v, %v", all, err)
		}
	}
}

func TestHeldListenersAreUsed(t *testing.T) {
	held := open(t, "tcp", "127.0.0.1:0")
	wanted := Addresses("tcp", fmt.Sprintf("localhost:%d", held.Addr().(*net.TCPAddr).Port))
	all, err := Open(t.Context(), wanted, held)
	if err != nil || all[0] != held {
		t.Fatal(all, err)
	}
	Close(all)
}

func TestAddressIsThatOfTheListener(t *testing.T) {
	tcp := func(ip string) net.Addr { return &net.TCPAddr{IP: net.ParseIP(ip), Port: 3001} }
	for _, tt := range []struct {
		network, address string
		have             net.Addr
		want             bool
	}{
		{"tcp", "127.0.0.1:3001", tcp("127.0.0.1"), true},
		{"tcp", "127.0.0.1:3002", tcp("127.0.0.1"), false},
		{"tcp", "127.0.0.1:3001", tcp("0.0.0.0"), false},
		{"tcp", "localhost:3001", tcp("127.0.0.1"), true},
		{"tcp", "localhost:3001", tcp("::1"), true},
		{"tcp", "localhost:3001", tcp("::"), false},
		{"tcp", "0.0.0.0:3001", tcp("0.0.0.0"), true},
		{"tcp", "0.0.0.0:3001", tcp("::"), false},
		{"tcp", ":3001", tcp("::"), true},
		{"tcp", ":3001", tcp("0.0.0.0"), false},
		{"tcp", "[::]:3001", tcp("::"), true},
		{"unix", "/run/api.sock", &net.UnixAddr{Name: "/run/api.sock"}, true},
		{"unix", "/run/api.sock", &net.UnixAddr{Name: "/run/other.sock"}, false},
		{"unix", "/run/api.sock", tcp("127.0.0.1"), false},
		{"tcp", "127.0.0.1:3001", &net.UnixAddr{Name: "127.0.0.1:3001"}, false},
	} {
		got := slices.ContainsFunc(Addresses(tt.network, tt.address), func(a Address) bool { return a.Is(tt.have) })
		if got != tt.want {
			t.Errorf("%s %s is %s: %v", tt.network, tt.address, tt.have, got)
		}
	}
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
			if _, err := Open(ctx, Addresses(network, address)); !errors.Is(err, syscall.EADDRINUSE) {
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
	serve(t, TLS([]net.Listener{plain}, c)[0])
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
