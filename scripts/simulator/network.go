package simulator

import (
	"context"
	"io"
	"sync"
)

// Network is the imitated network between the pages and their server. What pages
// report to the simulator does not travel over it.
type Network struct {
	ctx   context.Context // ends with the Server
	mu    sync.Mutex
	down  bool
	conns map[io.Closer]struct{}
	// stalled is open while the network is silent, and nil otherwise.
	stalled chan struct{}
}

func newNetwork(ctx context.Context) *Network {
	return &Network{ctx: ctx, conns: map[io.Closer]struct{}{}}
}

// DropNetwork closes every connection, and refuses all until RestoreNetwork:
// pages, files, probes and websockets.
func (n *Network) DropNetwork() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down = true
	for conn := range n.conns {
		_ = conn.Close() // A second close is harmless.
	}
}

// StallNetwork makes every connection silent until RestoreNetwork, as a router
// does that lost its table: nothing is closed, nothing arrives, and the page has
// to find out on its own.
func (n *Network) StallNetwork() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.stalled == nil {
		n.stalled = make(chan struct{})
	}
}

// RestoreNetwork ends DropNetwork and StallNetwork.
func (n *Network) RestoreNetwork() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down = false
	if n.stalled != nil {
		close(n.stalled)
		n.stalled = nil
	}
}

// join adds a connection, which leave removes. It reports false when there is no
// network to join.
func (n *Network) join(conn io.Closer) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.conns[conn] = struct{}{}
	return !n.down
}

func (n *Network) leave(conn io.Closer) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.conns, conn)
}

func (n *Network) isDown() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.down
}

// silence is closed when StallNetwork ends, and nil when it is not in effect.
func (n *Network) silence() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.stalled
}

// await returns when the network is no longer silent; false means that the
// request ended first.
func (n *Network) await(ctx context.Context) bool {
	silence := n.silence()
	if silence == nil {
		return true
	}
	select {
	case <-silence:
		return true
	case <-ctx.Done():
	case <-n.ctx.Done():
	}
	return false
}
