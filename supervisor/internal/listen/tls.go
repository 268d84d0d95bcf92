package listen

import (
	"crypto/tls"
	"fmt"
	"net"
	"sync/atomic"
	"time"
)

// Certificate is a pair of files that can be read again while it is used. Its
// methods are safe for concurrent use.
type Certificate struct {
	cert, key string
	pair      atomic.Pointer[tls.Certificate]
}

// LoadCertificate reads a certificate chain and its key from PEM files.
func LoadCertificate(cert, key string) (*Certificate, error) {
	c := &Certificate{cert: cert, key: key}
	if err := c.Reload(); err != nil {
		return nil, err
	}
	return c, nil
}

// Reload reads both files again. After an error the pair before it stays in use.
// Connections that are open keep theirs.
func (c *Certificate) Reload() error {
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return fmt.Errorf("cannot use TLS certificate %s with key %s: %w", c.cert, c.key, err)
	}
	c.pair.Store(&pair)
	return nil
}

// NotAfter is when the certificate ends.
func (c *Certificate) NotAfter() time.Time { return c.pair.Load().Leaf.NotAfter }

// Listener speaks TLS on the connections of l, HTTP/2 included.
func (c *Certificate) Listener(l net.Listener) net.Listener {
	return tls.NewListener(l, &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return c.pair.Load(), nil
		},
	})
}
