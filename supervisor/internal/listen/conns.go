package listen

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// MaxConnections bounds the connections that are open at once, and with them the
// memory that callers can make the service use. Where fewer files may be open it is half
// of those: the worker needs some, too.
const MaxConnections = 2048

// grace is how long a connection is left alone in the state that it is in.
const grace = 250 * time.Millisecond

// local is the peer of everything on this machine.
const local = "local"

// ipv6Site is the part of an IPv6 address that one customer has at least (RFC 6177).
const ipv6Site = 64

// Peer returns whose share of the service a connection from a remote address counts
// for: the address, for IPv6 its network, and one and the same for the loopback and all
// Unix sockets.
func Peer(remote string) string {
	address, err := netip.ParseAddrPort(remote)
	ip := address.Addr().Unmap().WithZone("")
	switch {
	case err != nil || ip.IsLoopback():
		return local
	case ip.Is6():
		return netip.PrefixFrom(ip, ipv6Site).Masked().String()
	}
	return ip.String()
}

// conns are the connections of a Server. When there are too many, one of the peer with
// the most makes way for the next: no peer can keep out another.
type conns struct {
	limit int
	now   func() time.Time

	mu    sync.Mutex
	open  map[net.Conn]*openConn // guarded by mu
	peers map[string]int         // guarded by mu; how many of open each peer has
}

// openConn is a connection. It is busy from when a whole request has been read until that is
// answered.
type openConn struct {
	peer  string
	busy  bool
	since time.Time
}

func newConns() *conns {
	limit := MaxConnections
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err == nil && files.Cur/2 < MaxConnections {
		limit = max(1, int(files.Cur/2))
	}
	return &conns{limit: limit, now: time.Now, open: map[net.Conn]*openConn{}, peers: map[string]int{}}
}

// add notes a connection, and closes another one if that makes too many.
func (c *conns) add(conn net.Conn) {
	if victim := c.replace(conn); victim != nil {
		discard(victim)
	}
}

func (c *conns) replace(conn net.Conn) (victim net.Conn) {
	peer := Peer(conn.RemoteAddr().String())
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.open) >= c.limit {
		victim = c.victimLocked()
		c.removeLocked(victim)
	}
	c.open[conn] = &openConn{peer: peer, since: c.now()}
	c.peers[peer]++
	return victim
}

// victimLocked returns the connection that gives way, of the peer with the most: the
// one that has sent no whole request for the longest time, or else the request that was
// begun last, since those of a flood are newer than a stream.
func (c *conns) victimLocked() net.Conn {
	most := 0
	for _, n := range c.peers {
		most = max(most, n)
	}
	now := c.now()
	var victim net.Conn
	for conn, o := range c.open {
		if c.peers[o.peer] == most && (victim == nil || o.before(c.open[victim], now)) {
			victim = conn
		}
	}
	return victim
}

// before reports whether o gives way before other.
func (o *openConn) before(other *openConn, now time.Time) bool {
	if mine, its := o.rank(now), other.rank(now); mine != its {
		return mine < its
	}
	if o.rank(now) == rankBusy {
		return o.since.After(other.since)
	}
	return o.since.Before(other.since)
}

// The order in which connections give way.
const (
	rankIdle = iota
	rankBusy
	rankFresh
)

func (o *openConn) rank(now time.Time) int {
	switch {
	case now.Sub(o.since) < grace:
		return rankFresh
	case o.busy:
		return rankBusy
	}
	return rankIdle
}

// note follows the state of a connection (http.Server.ConnState).
func (c *conns) note(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := c.open[conn]
	if o == nil {
		return // it has given way
	}
	switch state {
	case http.StateActive, http.StateIdle:
		o.busy, o.since = state == http.StateActive, c.now()
	case http.StateClosed, http.StateHijacked:
		c.removeLocked(conn)
	}
}

func (c *conns) removeLocked(conn net.Conn) {
	peer := c.open[conn].peer
	delete(c.open, conn)
	if c.peers[peer]--; c.peers[peer] == 0 {
		delete(c.peers, peer)
	}
}

// discard closes a connection at once: TLS would wait to say goodbye.
func discard(conn net.Conn) {
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	_ = conn.Close()
}

// counted is a listener whose connections are in conns.
type counted struct {
	net.Listener
	conns *conns
}

// Accept implements net.Listener.
func (l counted) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		l.conns.add(conn)
	}
	return conn, err
}
