package listen

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestPeerIsWhoseShareItIs(t *testing.T) {
	for remote, want := range map[string]string{
		"": local, "@": local, "/run/x": local, "127.0.0.1:1": local, "127.9.9.9:2": local, "[::1]:3": local, "[::ffff:127.0.0.1]:3": local,
		"192.0.2.7:4": "192.0.2.7", "[::ffff:192.0.2.7]:5": "192.0.2.7",
		"[2001:db8:1:2:3::9]:6": "2001:db8:1:2::/64", "[fe80::1%eth0]:7": "fe80::/64",
	} {
		if got := Peer(remote); got != want {
			t.Errorf("Peer(%q) = %q, want %q", remote, got, want)
		}
	}
}

// remote is a connection from an address.
type remote struct {
	net.Conn
	from string
}

func (r *remote) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.ParseIP(r.from), Port: 1} }

func TestWhoGivesWay(t *testing.T) {
	const many, one = "192.0.2.1", "192.0.2.2"
	type conn struct {
		from string
		busy bool
		age  time.Duration
	}
	for name, tt := range map[string]struct {
		open   []conn
		victim int
	}{
		"the oldest that is idle": {[]conn{{many, false, 5 * time.Second}, {many, false, 7 * time.Second}, {many, false, 6 * time.Second}}, 1},
		"not one that is busy":    {[]conn{{many, true, time.Hour}, {many, false, time.Second}, {many, true, time.Hour}}, 1},
		"of those who have most":  {[]conn{{one, false, time.Hour}, {many, true, time.Minute}, {many, true, time.Second}}, 2},
		"a flood, not a stream":   {[]conn{{many, true, time.Hour}, {many, true, time.Second}, {many, true, time.Minute}}, 1},
		"one that is not new":     {[]conn{{many, false, 0}, {many, true, time.Second}, {many, false, time.Millisecond}}, 1},
		"the oldest of new ones":  {[]conn{{many, false, 0}, {many, false, 2 * time.Millisecond}, {many, true, time.Millisecond}}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			now := time.Now()
			c := newConns()
			c.limit, c.now = len(tt.open), func() time.Time { return now }
			var all []net.Conn
			for _, o := range tt.open {
				conn := &remote{from: o.from}
				all = append(all, conn)
				now = now.Add(-o.age)
				if c.replace(conn) != nil {
					t.Fatal("one gave way too early")
				}
				if o.busy {
					c.note(conn, http.StateActive)
				}
				now = now.Add(o.age)
			}
			if got := c.replace(&remote{from: one}); got != all[tt.victim] {
				t.Errorf("another one gave way: %v", got)
			}
			if len(c.open) != c.limit {
				t.Errorf("%d are open", len(c.open))
			}
		})
	}
}

// stranger opens a connection, writes to it, and reads one answer if there is to be one.
func stranger(t *testing.T, l net.Listener, request string, answered bool) net.Conn {
	t.Helper()
	conn, err := net.Dial(l.Addr().Network(), l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	if answered {
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("no answer: %v", err)
		}
		_, _ = io.Copy(io.Discard, answer.Body)
		_ = answer.Body.Close()
	}
	return conn
}

func TestNobodyIsShutOutByTooManyConnections(t *testing.T) {
	const limit = 20
	const whole = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
	for name, request := range map[string]string{
		"idle": whole, "silent": "", "headers slowly": "GET / HTTP/1.1\r\nHost: loc",
		"a body slowly": "POST /body HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{",
		"without end":   "GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n",
	} {
		for _, network := range []string{"tcp", "unix"} {
			t.Run(name+" "+network, func(t *testing.T) {
				address := "127.0.0.1:0"
				if network == "unix" {
					address = filepath.Join(t.TempDir(), "s")
				}
				l := open(t, network, address)
				s := NewServer(&http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					_, _ = io.ReadAll(r.Body)
					if r.URL.Path == "/endless" {
						<-r.Context().Done()
					}
				})}, l)
				s.conns.limit = limit
				served := make(chan error, 1)
				go func() { served <- s.Serve() }()
				for range 2 * limit {
					stranger(t, l, request, request == whole)
				}
				for range limit {
					stranger(t, l, whole, true)
				}
				s.conns.mu.Lock()
				n := len(s.conns.open)
				s.conns.mu.Unlock()
				if n > limit {
					t.Errorf("%d connections are open", n)
				}
				_ = s.http.Close()
				if err := <-served; err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func TestConnectionsLeaveFilesForTheWorker(t *testing.T) {
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Setrlimit(unix.RLIMIT_NOFILE, &old) }()
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 600, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	if got := newConns().limit; got != 300 {
		t.Errorf("%d connections of 600 files", got)
	}
}

// BenchmarkNewcomer compares how long a new client waits for its answer, on a server
// whose connections are all taken, with a bare one that nobody else uses.
func BenchmarkNewcomer(b *testing.B) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		return l
	}
	full, bare := listen(), listen()
	s := NewServer(&http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}, full)
	s.conns.limit = 500
	other := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
	go func() { _ = s.Serve() }()
	go func() { _ = other.Serve(bare) }()
	defer func() { _ = errors.Join(s.http.Close(), other.Close()) }()
	for range s.conns.limit {
		conn, err := net.Dial("tcp", full.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
	}
	var took [2]time.Duration
	for b.Loop() {
		for i, l := range []net.Listener{full, bare} {
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			begun := time.Now()
			answer, err := client.Get("http://" + l.Addr().String())
			if err != nil {
				b.Fatal(err)
			}
			_ = answer.Body.Close()
			took[i] += time.Since(begun)
		}
	}
	b.ReportMetric(float64(took[0])/float64(took[1]), "ratio/floor")
}
