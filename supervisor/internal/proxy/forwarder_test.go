package proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"session-manager/scripts/harness"
)

const secret = "passw0rd-of-the-proxy"

// forward runs a forwarder to a proxy until the test ends, and returns its address.
func forward(t *testing.T, scheme, host, password string) string {
	t.Helper()
	f, err := Listen(&url.URL{Scheme: scheme, Host: host, User: url.UserPassword("operator", password)}, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); f.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	return strings.TrimPrefix(f.Server(), "http://")
}

// tinyproxy starts the real proxy.
func tinyproxy(t *testing.T) *harness.Proxy {
	t.Helper()
	p, err := harness.StartProxy(t.Context(), t.TempDir(), "", "operator", secret)
	if errors.Is(err, exec.ErrNotFound) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.KillGroup)
	return p
}

// sites are a server with TLS and one without; each answers with the header Via.
func sites(t *testing.T) []*httptest.Server {
	t.Helper()
	answer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Proxy-Authorization") != "" {
			t.Error("the site gets the password")
		}
		_, _ = io.WriteString(w, "via "+r.Header.Get("Via")) // the client checks it
	})
	list := []*httptest.Server{httptest.NewTLSServer(answer), httptest.NewServer(answer)}
	for _, s := range list {
		t.Cleanup(s.Close)
	}
	return list
}

// ask requests a site by a proxy as Chrome does, without a password. For a tunnel that
// was refused it returns the status of the refusal.
func ask(t *testing.T, site *httptest.Server, by string) (status int, challenge, body string) {
	t.Helper()
	transport, ok := site.Client().Transport.(*http.Transport)
	if !ok {
		t.Fatal("no transport")
	}
	transport = transport.Clone()
	defer transport.CloseIdleConnections()
	transport.Proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: by})
	transport.OnProxyConnectResponse = func(_ context.Context, _ *url.URL, _ *http.Request, answer *http.Response) error {
		status, challenge = answer.StatusCode, answer.Header.Get("Proxy-Authenticate")
		return nil
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, site.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := transport.RoundTrip(r)
	if err != nil {
		return status, challenge, err.Error()
	}
	defer func() { _ = answer.Body.Close() }()
	content, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, answer.Header.Get("Proxy-Authenticate"), string(content)
}

func TestForwarderAddsThePassword(t *testing.T) {
	p := tinyproxy(t)
	right, wrong := forward(t, "http", p.Host, secret), forward(t, "http", p.Host, "wrong")
	for _, site := range sites(t) {
		if status, _, body := ask(t, site, right); status != http.StatusOK || !strings.HasPrefix(body, "via ") {
			t.Errorf("%s: %d %s", site.URL, status, body)
		}
		if status, _, body := ask(t, site, wrong); status == http.StatusOK {
			t.Errorf("%s with a wrong password: %s", site.URL, body)
		}
	}
	if status, challenge, _ := ask(t, sites(t)[0], wrong); status != http.StatusProxyAuthRequired || challenge == "" {
		t.Errorf("a tunnel with a wrong password: %d, challenge %q", status, challenge)
	}
	asked, err := p.Log()
	if err != nil || strings.Count(asked, "CONNECT 127.0.0.1") != 3 || strings.Count(asked, "GET http://127.0.0.1") != 2 {
		t.Errorf("%v: the proxy was asked\n%s", err, asked)
	}
}

// socks is a SOCKS proxy with a password (RFC 1928, RFC 1929).
func socks(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	serve := func(conn net.Conn) error {
		defer func() { _ = conn.Close() }()
		buf := make([]byte, 512)
		if _, err := conn.Read(buf); err != nil { // the methods
			return err
		}
		if _, err := conn.Write([]byte{5, 2}); err != nil {
			return err
		}
		n, err := conn.Read(buf)
		if err != nil {
			return err
		}
		if want := fmt.Sprintf("\x01%c%s%c%s", len("operator"), "operator", len(secret), secret); string(buf[:n]) != want {
			_, err := conn.Write([]byte{1, 1})
			return err
		}
		if _, err := conn.Write([]byte{1, 0}); err != nil {
			return err
		}
		if n, err = conn.Read(buf); err != nil || n != 10 {
			return fmt.Errorf("%d bytes, %w", n, err)
		}
		to, err := net.Dial("tcp", (&net.TCPAddr{IP: buf[4:8], Port: int(buf[8])<<8 | int(buf[9])}).String())
		if err != nil {
			return err
		}
		defer func() { _ = to.Close() }()
		if _, err := conn.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0}); err != nil {
			return err
		}
		go func() { _, _ = io.Copy(to, conn) }()
		_, err = io.Copy(conn, to)
		return err
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _ = serve(conn) }()
		}
	}()
	return l.Addr().String()
}

func TestForwarderSpeaksSOCKS(t *testing.T) {
	host := socks(t)
	right, wrong := forward(t, "socks5", host, secret), forward(t, "socks5", host, "wrong")
	for _, site := range sites(t) {
		if status, _, body := ask(t, site, right); status != http.StatusOK || body != "via " {
			t.Errorf("%s: %d %s", site.URL, status, body)
		}
		if status, _, _ := ask(t, site, wrong); status != http.StatusBadGateway {
			t.Errorf("%s with a wrong password: %d", site.URL, status)
		}
	}
}

// TestForwarderSurvivesAHostileProxy is about proxies that answer too much, nothing, or
// nonsense.
func TestForwarderSurvivesAHostileProxy(t *testing.T) {
	for name, answer := range map[string]string{
		"endless header": "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 10*maxHeader),
		"no HTTP":        "SSH-2.0-x\r\n\r\n",
		"nothing":        "",
		"odd status":     "HTTP/1.1 101 Switching Protocols\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = l.Close() }()
			go func() {
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					_, _ = http.ReadRequest(bufio.NewReader(conn)) // it is answered in any case
					_, _ = io.WriteString(conn, answer)
					_ = conn.Close()
				}
			}()
			site := sites(t)[0]
			if status, _, body := ask(t, site, forward(t, "http", l.Addr().String(), secret)); status < 400 {
				t.Errorf("%d %s", status, body)
			}
		})
	}
}

// TestPageCanNotFillTheLog is about names that a page asks for, which SOCKS errors repeat.
func TestPageCanNotFillTheLog(t *testing.T) {
	var lines strings.Builder
	f, err := Listen(&url.URL{Scheme: "socks5", Host: "127.0.0.1:1"}, slog.New(slog.NewTextHandler(&lines, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.listener.Close() }()
	for i := range 100 {
		name := fmt.Sprintf("%d.example.com:443", i)
		w := httptest.NewRecorder()
		f.tunnel(w, &http.Request{Method: http.MethodConnect, Host: name})
		if w.Code != http.StatusBadGateway {
			t.Fatalf("%s: %d", name, w.Code)
		}
	}
	if n := strings.Count(lines.String(), "\n"); n < 1 || n > 20 {
		t.Errorf("%d lines for 100 names", n)
	}
}

func TestForwarderIsNotAProxyForPages(t *testing.T) {
	p := tinyproxy(t)
	address := forward(t, "http", p.Host, secret)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/http://example.com/", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil || answer.Body.Close() != nil || answer.StatusCode != http.StatusBadRequest {
		t.Errorf("%v, %v", answer, err)
	}
	if asked, err := p.Log(); err != nil || strings.Contains(asked, "example.com") {
		t.Errorf("%v: the proxy was asked\n%s", err, asked)
	}
}

// TestForwarderServesItsOwnUserOnly connects as this user and as nobody, who then acts in
// every way that might hide who it is.
func TestForwarderServesItsOwnUserOnly(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can act as another user")
	}
	p := tinyproxy(t)
	host, port, err := net.SplitHostPort(forward(t, "http", p.Host, secret))
	if err != nil {
		t.Fatal(err)
	}
	site := sites(t)[1].URL
	const request = `exec 3<>/dev/tcp/$0/$1 && printf 'GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n' "$2" >&3 || exit 0; `
	for name, script := range map[string]string{"waits": request + "cat <&3", "closes at once": request + "exec 3>&-"} {
		for _, uid := range []uint32{0, 65534} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			cmd := exec.CommandContext(ctx, "bash", "-c", script, host, port, fmt.Sprintf("%s/%d/%s", site, uid, strings.ReplaceAll(name, " ", "-")))
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
			out, err := cmd.CombinedOutput()
			cancel()
			if served := strings.Contains(string(out), "200 OK"); served != (uid == 0 && name == "waits") {
				t.Errorf("user %d, who %s: %v %s", uid, name, err, out)
			}
		}
	}
	if asked, err := p.Log(); err != nil || strings.Contains(asked, "/65534/") || !strings.Contains(asked, "/0/waits") {
		t.Errorf("%v: the proxy was asked\n%s", err, asked)
	}
}
