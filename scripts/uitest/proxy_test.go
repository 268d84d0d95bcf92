package uitest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"session-manager/scripts/harness"
)

// nginx starts the real one with a server for each list of directives, and returns their
// URLs. It takes over listening sockets, as it does when it replaces itself, so that no port
// has to be guessed.
func nginx(t *testing.T, path string, servers ...string) (urls []string) {
	t.Helper()
	dir := t.TempDir()
	var sockets []*os.File
	var blocks, numbers strings.Builder
	for i, directives := range servers {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		socket, err := l.(*net.TCPListener).File()
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = socket.Close() }()
		sockets = append(sockets, socket)
		urls = append(urls, "http://"+l.Addr().String())
		fmt.Fprintf(&numbers, "%d;", 3+i)
		location := "/"
		if at, rest, ok := strings.Cut(directives, ": "); ok {
			location, directives = at, rest
		}
		fmt.Fprintf(&blocks, "server { listen %s; location %s { %s; } }\n", l.Addr(), location, directives)
	}
	config := "user root root; daemon off; worker_processes 1; pid pid; error_log stderr;\nevents {}\nhttp { access_log off;\n"
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		config += kind + "_temp_path tmp;\n"
	}
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(config+blocks.String()+"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "-p", dir, "-c", file, "-e", "stderr")
	cmd.ExtraFiles, cmd.Env, cmd.Stderr = sockets, append(os.Environ(), "NGINX="+numbers.String()), t.Output()
	child, err := harness.Spawn(cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(child.KillGroup)
	return urls
}

// passTo is nginx's directive that passes requests to a service.
func passTo(s *harness.Service) string { return "proxy_pass " + s.Base }

func TestButtonsWorkBehindNginx(t *testing.T) {
	t.Parallel()
	path, err := harness.Tool(t.Context(), "nginx")
	if err != nil {
		t.Skip(err)
	}
	b := browser(t)
	s := service(t, "--chrome=/nonexistent/chrome", "--allow-host=wa.example")
	socket := filepath.Join(filepath.Dir(s.Tokens), "api.sock")
	service(t, "--chrome=/nonexistent/chrome", "--listen=unix:"+socket)
	urls := nginx(t, path,
		passTo(s), // with its default Host, that of the service
		passTo(s)+"; proxy_set_header Host $host",
		"/wa/: "+passTo(s)+"/",
		"proxy_pass http://unix:"+socket+":",
	)
	localhost := func(i int) string { return strings.Replace(urls[i], "127.0.0.1", "localhost", 1) }
	named := func(i int) string { return strings.Replace(urls[i], "127.0.0.1", "wa.example", 1) }
	for name, url := range map[string]string{
		"default Host": urls[0], "default Host, by an allowed name": named(0),
		"Host without its port": localhost(1), "Host without its port, by an allowed name": named(1),
		"below a folder": localhost(2) + "/wa/", "to a Unix socket": urls[3],
	} {
		page := open(t, b, url, phone)
		page.await(`document.body.dataset.state === "ERROR" && document.getElementById("worker").textContent === "not running"`)
		page.press("restart")
		page.await(`document.getElementById("outcome").textContent`)
		if got := page.text("outcome"); got != "Restarting." {
			t.Errorf("%s: %s", name, got)
		}
		page.unharmed()
	}
	refused := open(t, b, strings.Replace(urls[0], "127.0.0.1", "other.example", 1), phone)
	if err := refused.WaitLoad(); err != nil {
		t.Fatal(err)
	}
	refused.press("restart")
	refused.await(`/another site/.test(document.getElementById("outcome").textContent)`)
}
