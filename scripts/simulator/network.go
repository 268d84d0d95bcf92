package simulator

import (
	"context"
	"io"
	"sync"
)

// Network is the imitated network between the pages and their server. What pages
// report to the simulator does not travel over it.
type Network struct {
	done  <-chan struct{} // closed when the Server is
	mu    sync.Mutex
	down  bool
	conns map[io.Closer]struct{}
	// stalled is open while the network is silent, and nil otherwise.
	stalled chan struct{}
}

func newNetwork(done <-chan struct{}) *Network {
	return &Network{done: done, conns: map[io.Closer]struct{}{}}
}

// DropNetwork closes every connection, and refuses all until RestoreNetwork:
// pages, files, probes and websockets.
func (n *Network) DropNetwork() {
	n.mu.Lock()
	n.down = true
	n.mu.Unlock()
	n.closeAll()
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
	select {
	case <-n.done:
		return false
	default:
		return !n.down
	}
}

func (n *Network) leave(conn io.Closer) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.conns, conn)
}

func (n *Network) closeAll() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for conn := range n.conns {
		_ = conn.Close() // A second close is harmless.
	}
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
	case <-n.done:
	}
	return false
}
