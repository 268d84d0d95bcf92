package listen

import (
	"crypto/tls"
	"net"

	"session-manager/supervisor/internal/watch"
)

// Certificate returns the certificate chain and the key that two PEM files hold. It
// reads nothing.
func Certificate(cert, key string) *watch.File[*tls.Certificate] {
	return watch.New(func(contents [][]byte) (*tls.Certificate, error) {
		pair, err := tls.X509KeyPair(contents[0], contents[1])
		return &pair, err
	}, cert, key)
}

// TLS speaks TLS on the connections of l, HTTP/2 included, with the certificate in
// use. Connections that are open keep theirs.
func TLS(l net.Listener, certificate *watch.File[*tls.Certificate]) net.Listener {
	return tls.NewListener(l, &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return certificate.Value(), nil },
	})
}
