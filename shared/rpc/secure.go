package rpc

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"os"

	"github.com/hashicorp/go-plugin"
)

// certVariable has the certificate of the only client that a worker serves.
const certVariable = "SESSION_MANAGER_PLUGIN_CLIENT"

// errOtherClient means that a process which has not started the worker wants to command it.
var errOtherClient = errors.New("this is not the client that has started the worker")

// Secure keeps other processes of our user from commanding the worker of c: it serves only
// the holder of the certificate in variable, which belongs in its environment. Its own one
// proves nothing, as its socket is in a folder that only our user can enter, and its address
// came through our pipe. go-plugin's AutoMTLS does it with keys for P-521, whose tables are
// half a megabyte in each process and 16 ms of each start, and with times that a clock which
// is set back makes invalid.
func Secure(c *plugin.ClientConfig) (variable string, err error) {
	cert, err := newCertificate()
	if err != nil {
		return "", err
	}
	c.TLSConfig = &tls.Config{
		Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13,
		InsecureSkipVerify: true, //nolint:gosec // see above
	}
	return certVariable + "=" + base64.StdEncoding.EncodeToString(cert.Certificate[0]), nil
}

// serverTLS accepts the client that has started this process.
func serverTLS() (*tls.Config, error) {
	client, err := base64.StdEncoding.DecodeString(os.Getenv(certVariable))
	if err != nil || len(client) == 0 {
		return nil, fmt.Errorf("cannot read certificate in %s", certVariable)
	}
	cert, err := newCertificate()
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13, SessionTicketsDisabled: true,
		ClientAuth: tls.RequireAnyClientCert,
		VerifyConnection: func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) != 1 || !bytes.Equal(s.PeerCertificates[0].Raw, client) {
				return errOtherClient
			}
			return nil
		},
	}, nil
}

// newCertificate makes a key with a certificate that is compared and not verified.
func newCertificate() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("cannot make key: %w", err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("cannot make certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
