package e2e

import (
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"session-manager/scripts/harness"
	"session-manager/scripts/simulator"
	"session-manager/shared/proctree"
)

// noTrace checks that nobody can see the words in a process of the service, nor in a file
// that it wrote.
func (s *service) noTrace(words ...string) {
	s.t.Helper()
	family, err := proctree.Descendants(s.PID())
	if err != nil || len(family) < 5 {
		s.t.Fatalf("%d processes, %v", len(family), err)
	}
	texts := map[string]string{"the log": s.Log(), "/session": s.get("/session").Body, "/metrics": s.get("/metrics").Body}
	for _, p := range append(family, proctree.Process{PID: s.PID()}) {
		for _, name := range []string{"cmdline", "environ"} {
			path := filepath.Join("/proc", strconv.Itoa(p.PID), name)
			content, err := os.ReadFile(path)
			if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, os.ErrPermission) {
				s.t.Logf("%v", err) // it has just exited
			}
			texts[path] = string(content)
		}
	}
	for name, text := range texts {
		for _, word := range words {
			if strings.Contains(text, word) {
				s.t.Errorf("%s holds the password", name)
			}
		}
	}
}

// TestPageAndSocketsUseAProxyWithPassword begins with a password that the proxy
// does not accept.
func TestPageAndSocketsUseAProxyWithPassword(t *testing.T) {
	t.Parallel()
	needBrowser(t)
	const password = "p4ssw0rd-0f-the-proxy"
	folder := t.TempDir()
	tinyproxy := func(host, password string) *harness.Proxy {
		p, err := harness.StartProxy(within(t), folder, host, "operator", password)
		if errors.Is(err, exec.ErrNotFound) {
			t.Skip(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.KillGroup)
		return p
	}
	via := make(chan string, 100)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case via <- r.Header.Get("Via"):
		default:
		}
	}))
	t.Cleanup(receiver.Close)
	wrong := tinyproxy("", "another")
	file := filepath.Join(folder, "password")
	write(t, file, password)
	p := newPhone(t, simulator.Options{})
	s := start(t, p.URL, t.TempDir(), append(light,
		"--proxy", "http://operator@"+wrong.Host, "--proxy-password-file", file,
		// Otherwise Chrome reaches the loopback without a proxy, and so does Go.
		"--chrome-arg=--proxy-bypass-list=<-loopback>", "--webhook", strings.Replace(receiver.URL, "127.0.0.1", "0.0.0.0", 1)+"/")...)
	s.awaitSession("a wrong password", func(v harness.Session) bool {
		return v.Reason.Code == "proxy_failed" && strings.Contains(v.Reason.Detail, "password") || v.Reason.Code == "http_error" && strings.Contains(v.Reason.Detail, "401")
	})
	wrong.KillGroup()
	right := tinyproxy(wrong.Host, password)
	s.awaitQR()
	p.scan(t)
	s.await("READY")
	asked := func() string {
		log, err := right.Log()
		if err != nil {
			t.Fatal(err)
		}
		return log
	}
	host := strings.Trim(strings.TrimPrefix(p.URL, "http://"), "/")
	before := asked()
	if !strings.Contains(before, "GET "+p.URL) || !strings.Contains(before, "CONNECT "+host) {
		t.Errorf("the page or its websocket went another way:\n%s", before)
	}
	if got := next(t, via); !strings.Contains(got, "tinyproxy") {
		t.Errorf("the webhook went another way: %q", got)
	}
	p.misbehave(t, "socket=worker")
	if err := p.Order(simulator.Reload); err != nil {
		t.Fatal(err)
	}
	sockets := func(log string) int { return strings.Count(log, "CONNECT "+host) }
	eventually(t, "the service worker's websocket", func() bool { return sockets(asked()) > sockets(before) })
	s.noTrace(password, base64.StdEncoding.EncodeToString([]byte("operator:"+password)))
}
