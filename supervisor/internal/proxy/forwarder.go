package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/netutil"
	"golang.org/x/net/proxy"
	"golang.org/x/time/rate"

	"session-manager/shared/logging"
	"session-manager/supervisor/internal/logid"
)

// Forwarder is a proxy on the loopback, for Chrome, that adds the password for the real
// one. Chrome itself takes no password by a flag. Over DevTools (Fetch.authRequired) it
// asks only for the page's own requests: a websocket or a service worker that is first
// to use the proxy, as when the page comes from its service worker's cache, fails without
// a question (measured with Chromium 156), every request of the page is held up for an
// answer, and SOCKS passwords are not known at all. Here they are all the same, and
// neither the worker nor Chrome ever has the password.
//
// Other users of the machine can't use it: a connection is served only if the kernel
// reports that its other end is this user's. A page can't either: what Chrome sends to
// the loopback on behalf of a page is not a proxy's request.
type Forwarder struct {
	upstream *url.URL
	listener net.Listener
	server   *http.Server
	log      *slog.Logger
	// ended is closed when Run ends the tunnels.
	ended context.Context
	end   context.CancelFunc
	// failure was the last one. Its text may have what a page asked for, so logged keeps
	// pages from filling the log.
	failure atomic.Pointer[string]
	logged  rate.Sometimes
}

const (
	// connectTimeout bounds the way to the server behind the proxy. Chrome itself gives
	// up a TCP connection after four minutes.
	connectTimeout = time.Minute
	headerTimeout  = 10 * time.Second
	// maxConnections is more than Chrome opens to a proxy: 32, and 255 websockets.
	maxConnections = 512
	maxHeader      = 64 << 10
	// firstPort and lastPort are the ports to listen on, those of Linux's
	// ip_local_port_range, so that a unit can allow them (SocketBindAllow=).
	firstPort, lastPort = 32768, 60999
	attempts            = 50
)

// Listen returns a Forwarder to a proxy, such as Parse returns. Run must be called.
func Listen(upstream *url.URL, log *slog.Logger) (*Forwarder, error) {
	f := &Forwarder{upstream: upstream, log: log, logged: rate.Sometimes{First: 5, Interval: 10 * time.Second}}
	var err error
	for range attempts {
		address := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: firstPort + rand.N(lastPort-firstPort+1)} //nolint:gosec // not a secret
		if f.listener, err = net.ListenTCP("tcp4", address); err == nil {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot listen for Chrome: %w", err)
	}
	f.ended, f.end = context.WithCancel(context.Background())
	forward := &httputil.ReverseProxy{
		Rewrite:   func(*httputil.ProxyRequest) {}, // it is for its own server already
		Transport: &http.Transport{Proxy: http.ProxyURL(upstream), DisableCompression: true, ResponseHeaderTimeout: connectTimeout},
		ModifyResponse: func(r *http.Response) error {
			askAgain(r.StatusCode, r.Header)
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) { f.refuse(w, http.StatusBadGateway, err) },
		ErrorLog:     slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	f.server = &http.Server{
		ReadHeaderTimeout: headerTimeout, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.Method == http.MethodConnect:
				f.tunnel(w, r)
			case r.URL.Scheme == "http" && r.URL.Host != "":
				forward.ServeHTTP(w, r)
			default:
				http.Error(w, "this is a proxy", http.StatusBadRequest)
			}
		}),
	}
	return f, nil
}

// Server is the address to which Chrome connects, in the form of Server.
func (f *Forwarder) Server() string { return "http://" + f.listener.Addr().String() }

// Run serves until ctx ends.
func (f *Forwarder) Run(ctx context.Context) {
	defer context.AfterFunc(ctx, func() {
		f.end()
		_ = f.server.Close()
	})()
	listener := netutil.LimitListener(&ownListener{f.listener, os.Geteuid()}, maxConnections)
	if err := f.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		f.log.Error(logid.ProxyServeFailed, logging.KeyError, err)
	}
	f.end()
}

// refuse answers Chrome, which makes no more of a failure than one error of its own.
func (f *Forwarder) refuse(w http.ResponseWriter, status int, err error) {
	text := logging.Redact(err.Error())
	if last := f.failure.Swap(&text); last == nil || *last != text {
		f.logged.Do(func() { f.log.Warn(logid.ProxyRequestFailed, logging.KeyError, text) })
	}
	w.WriteHeader(status)
}

// askAgain lets Chrome know that the proxy did not accept the password: a challenge is
// for one hop only.
func askAgain(status int, header http.Header) {
	if status == http.StatusProxyAuthRequired {
		header.Set("Proxy-Authenticate", `Basic realm="proxy"`)
	}
}

// tunnel connects Chrome with a server by the real proxy.
func (f *Forwarder) tunnel(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(f.ended, connectTimeout)
	server, status, err := f.connect(ctx, r.Host)
	cancel()
	if err != nil {
		askAgain(status, w.Header())
		f.refuse(w, status, err)
		return
	}
	defer func() { _ = server.Close() }()
	chrome, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer func() { _ = chrome.Close() }()
	if _, err := io.WriteString(chrome, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return
	}
	defer context.AfterFunc(f.ended, func() { _, _ = chrome.Close(), server.Close() })()
	early, err := buffered.Peek(buffered.Reader.Buffered())
	if err == nil && len(early) > 0 {
		_, err = server.Write(early)
	}
	if err != nil {
		return
	}
	var copies sync.WaitGroup
	copies.Go(func() { relay(server, chrome) })
	copies.Go(func() { relay(chrome, server) })
	copies.Wait()
}

// relay copies until the source ends, and passes its end on.
func relay(to, from net.Conn) {
	_, err := io.Copy(to, from)
	if half, ok := to.(interface{ CloseWrite() error }); ok && err == nil && half.CloseWrite() == nil {
		return
	}
	_, _ = to.Close(), from.Close()
}

// connect returns a connection with a server by the proxy, or the status to answer with.
func (f *Forwarder) connect(ctx context.Context, address string) (net.Conn, int, error) {
	if f.upstream.Scheme == "socks5" {
		conn, err := f.socks(ctx, address)
		return conn, http.StatusBadGateway, err
	}
	conn, err := f.dial(ctx)
	if err != nil {
		return nil, http.StatusBadGateway, err
	}
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	request := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: address}, Host: address, Header: http.Header{}}
	if user := f.upstream.User; user != nil {
		password, _ := user.Password()
		request.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password)))
	}
	limited := &io.LimitedReader{R: conn, N: maxHeader}
	reader := bufio.NewReader(limited)
	err = request.Write(conn)
	var answer *http.Response
	if err == nil {
		answer, err = http.ReadResponse(reader, request) //nolint:bodyclose // what follows is the tunnel
	}
	switch {
	case err != nil:
		_ = conn.Close()
		return nil, http.StatusBadGateway, fmt.Errorf("cannot ask proxy: %w", err)
	case answer.StatusCode == http.StatusUnauthorized: // tinyproxy's answer to a wrong password
		_ = conn.Close()
		return nil, http.StatusProxyAuthRequired, errors.New("the proxy does not accept the password")
	case answer.StatusCode != http.StatusOK:
		_ = conn.Close()
		return nil, max(answer.StatusCode, http.StatusBadRequest), fmt.Errorf("the proxy answered %d", answer.StatusCode)
	}
	limited.N = 1 << 62
	return &readAhead{conn, reader}, 0, nil
}

// dial connects to the proxy itself.
func (f *Forwarder) dial(ctx context.Context) (net.Conn, error) {
	if f.upstream.Scheme == "https" {
		return (&tls.Dialer{}).DialContext(ctx, "tcp", f.upstream.Host)
	}
	return (&net.Dialer{}).DialContext(ctx, "tcp", f.upstream.Host)
}

func (f *Forwarder) socks(ctx context.Context, address string) (net.Conn, error) {
	var auth *proxy.Auth
	if user := f.upstream.User; user != nil {
		password, _ := user.Password()
		auth = &proxy.Auth{User: user.Username(), Password: password}
	}
	dialer, err := proxy.SOCKS5("tcp", f.upstream.Host, auth, nil)
	if err != nil {
		return nil, fmt.Errorf("cannot use SOCKS proxy: %w", err)
	}
	by, ok := dialer.(proxy.ContextDialer)
	if !ok {
		return nil, errors.New("internal error: the SOCKS dialer takes no context")
	}
	conn, err := by.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("cannot connect by SOCKS proxy: %w", err)
	}
	return conn, nil
}

// readAhead is a connection of which more was read than the answer.
type readAhead struct {
	net.Conn
	reader *bufio.Reader
}

// Read implements net.Conn.
func (r *readAhead) Read(p []byte) (int, error) { return r.reader.Read(p) }

// CloseWrite passes the end of what Chrome sends on.
func (r *readAhead) CloseWrite() error {
	half, ok := r.Conn.(interface{ CloseWrite() error })
	if !ok {
		return errors.ErrUnsupported
	}
	return half.CloseWrite()
}

// ownListener accepts connections of one user of this machine.
type ownListener struct {
	net.Listener
	uid int
}

// Accept implements net.Listener.
func (l *ownListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.isOwn(conn) {
			return conn, nil
		}
		_ = conn.Close()
	}
}

// isOwn reports whether the other end of a connection is a socket of the user. One that
// was closed meanwhile, or is not of this machine, has no owner.
func (l *ownListener) isOwn(conn net.Conn) bool {
	table, err := os.ReadFile("/proc/self/net/tcp")
	if err != nil {
		return false
	}
	ends := inKernelsWords(conn.RemoteAddr()) + " " + inKernelsWords(conn.LocalAddr()) + " "
	for line := range strings.Lines(string(table)) {
		if !strings.Contains(line, ends) {
			continue
		}
		// sl, both addresses, state, queues, timer, retransmissions, user, timeout, inode
		// (Linux, Documentation/networking/proc_net_tcp.rst).
		fields := strings.Fields(line)
		return len(fields) > 9 && fields[7] == strconv.Itoa(l.uid) && fields[9] != "0"
	}
	return false
}

// inKernelsWords is an IPv4 address as /proc/net/tcp has it.
func inKernelsWords(address net.Addr) string {
	a, ok := address.(*net.TCPAddr)
	if !ok || a.IP.To4() == nil {
		return "not TCP over IPv4"
	}
	return fmt.Sprintf("%08X:%04X", binary.NativeEndian.Uint32(a.IP.To4()), a.Port)
}
