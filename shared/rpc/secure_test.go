package rpc

import (
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/hashicorp/go-plugin"
)

func TestWorkerServesOnlyTheClientThatStartedIt(t *testing.T) {
	ours, others := &plugin.ClientConfig{}, &plugin.ClientConfig{}
	variable := secure(t, ours)
	secure(t, others)
	t.Setenv(certVariable, strings.TrimPrefix(variable, certVariable+"="))
	// A copy of the certificate, which everybody may see, with another key.
	copied := &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{{
		Certificate: ours.TLSConfig.Certificates[0].Certificate, PrivateKey: others.TLSConfig.Certificates[0].PrivateKey,
	}}}
	for name, tt := range map[string]struct {
		client *tls.Config
		served bool
	}{
		"starter":                {ours.TLSConfig, true},
		"another certificate":    {others.TLSConfig, false},
		"without a certificate":  {&tls.Config{InsecureSkipVerify: true}, false},
		"certificate of starter": {copied, false},
	} {
		t.Run(name, func(t *testing.T) {
			config, err := serverTLS()
			if err != nil {
				t.Fatal(err)
			}
			if err := shake(t, config, tt.client); (err == nil) != tt.served {
				t.Errorf("served: %v, want %v (%v)", err == nil, tt.served, err)
			}
		})
	}
}

func TestWorkerNeedsTheCertificateOfItsClient(t *testing.T) {
	for _, value := range []string{"", "?"} {
		t.Setenv(certVariable, value)
		if _, err := serverTLS(); err == nil {
			t.Errorf("%q is taken for a certificate", value)
		}
	}
}

func secure(t *testing.T, c *plugin.ClientConfig) (variable string) {
	t.Helper()
	variable, err := Secure(c)
	if err != nil {
		t.Fatal(err)
	}
	return variable
}

// shake returns what the server makes of the client.
func shake(t *testing.T, server, client *tls.Config) error {
	t.Helper()
	near, far := net.Pipe()
	defer func() { _ = errors.Join(near.Close(), far.Close()) }()
	go func() {
		c := tls.Client(near, client)
		_ = c.Handshake() // the server has its own opinion
		_, _ = c.Read(make([]byte, 1))
	}()
	return tls.Server(far, server).Handshake()
}
