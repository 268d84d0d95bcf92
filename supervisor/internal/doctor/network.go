package doctor

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"session-manager/supervisor/internal/apikey"
	"session-manager/supervisor/internal/config"
	"session-manager/supervisor/internal/listen"
	"session-manager/supervisor/internal/smallfile"
	"session-manager/supervisor/internal/webhook"
)

func (o settings) checkAddress(ctx context.Context) Finding {
	network, address := (*config.Config)(&o).Address()
	if answers(ctx, network, address) {
		return good("%s, and the service answers there", address)
	}
	if network == "unix" {
		parent := existing(filepath.Dir(address))
		if err := unix.Access(parent, unix.W_OK); err != nil {
			return bad("no socket can be created in %s: %v", parent, err).do("create the folder for the service's user, or set --listen")
		}
		return good("%s can be created", address)
	}
	opened, err := listen.Open(ctx, listen.Addresses(network, address))
	if err != nil {
		_, port, _ := net.SplitHostPort(address)
		return bad("%v", err).do("find the program that uses it (ss -ltnp 'sport = :%s'), or set --listen", port)
	}
	listen.Close(opened)
	return good("%s is free", address)
}

// answers reports whether the service answers at the address.
func answers(ctx context.Context, network, address string) bool {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{Timeout: 2 * time.Second}).DialContext(ctx, network, address)
	}}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/healthz", nil)
	if err != nil {
		return false
	}
	resp, err := transport.RoundTrip(r)
	if err != nil {
		return false
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 100))
	return err == nil && resp.StatusCode == http.StatusOK && strings.Contains(string(body), `"ok":true`)
}

// expiresSoon is when a certificate should have been renewed.
const expiresSoon = 14 * 24 * time.Hour

func (o settings) checkFiles(ctx context.Context) Finding {
	if f := o.checkSecrets(ctx); f.Mark != Good {
		return f
	}
	if o.TLSCert != "" {
		c := listen.Certificate(o.TLSCert, o.TLSKey)
		if err := c.Load(ctx); err != nil {
			return bad("%v", err).do("the key must belong to the first certificate of the chain")
		}
		if left := time.Until(c.Value().Leaf.NotAfter); left < expiresSoon {
			return warning("the certificate expires in %d days", int(left.Hours()/24)).do("renew it; the service picks it up automatically")
		}
	}
	c := (*config.Config)(&o)
	if exposed := smallfile.Exposed(c.SecretFiles()); len(exposed) > 0 {
		return warning("every user can read or write %s", strings.Join(exposed, ", ")).do("chmod 600 %s", strings.Join(exposed, " "))
	}
	if len(c.SecretFiles()) == 0 {
		return good("none set; on the loopback none is needed")
	}
	return good("usable")
}

// checkSecrets checks the files with keys, and the webhook's URL.
func (o settings) checkSecrets(ctx context.Context) Finding {
	c := config.Config(o)
	if path := o.APIKeyFile; path != "" {
		if err := apikey.Open(path).Load(ctx); err != nil {
			return bad("%v", c.FileProblem("--api-key-file", err)).do("write one key of 16 or more characters per line")
		}
	}
	if path := o.WebhookKeyFile; path != "" {
		content, err := smallfile.ReadSetting(ctx, path)
		if err == nil {
			_, err = webhook.ParseKey(content)
		}
		if err != nil {
			return bad("%v", c.FileProblem("--webhook-key-file", err)).do("write 16 or more characters into it, or whsec_ and base64")
		}
	}
	if path := o.WebhookURLFile; path != "" {
		if err := c.ReadWebhook(ctx); err != nil {
			return bad("%v", err).do("write the URL into it, as the first line")
		}
	}
	return good("")
}

// What the clock may be off by. With more TLS certificates and WhatsApp's own tokens
// fail.
const (
	slightlyOff = time.Minute
	farOff      = 10 * time.Minute
)

// checkPage requests the page as Chrome will, and compares the clocks.
func (o settings) checkPage(ctx context.Context) Finding {
	transport := &http.Transport{Proxy: o.proxy, ResponseHeaderTimeout: 15 * time.Second, TLSHandshakeTimeout: 10 * time.Second}
	defer transport.CloseIdleConnections()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, o.URL, nil)
	if err != nil {
		return bad("--url: %v", err).do("set it to a URL")
	}
	start := time.Now()
	resp, err := transport.RoundTrip(r)
	if err != nil {
		return unreachable(err)
	}
	_ = resp.Body.Close()
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		off := time.Since(date).Abs()
		if off > slightlyOff {
			f := warning("it answers, and its clock differs from this machine's by %s", off.Round(time.Second)).do("timedatectl set-ntp true")
			if off > farOff {
				f.Mark = Bad
			}
			return f
		}
	}
	if resp.StatusCode >= 400 {
		return warning("%s answers %s", r.URL.Host, resp.Status).do("check --url, and that no proxy is in between")
	}
	return good("%s answers in %s, and the clock is right", r.URL.Host, time.Since(start).Round(10*time.Millisecond))
}

// proxy returns the one that Chrome is to use, or that of the environment.
func (o settings) proxy(r *http.Request) (*url.URL, error) {
	for _, arg := range o.ChromeArgs {
		if server, ok := strings.CutPrefix(arg, "--proxy-server="); ok {
			if !strings.Contains(server, "://") {
				server = "http://" + server
			}
			return url.Parse(server)
		}
	}
	return http.ProxyFromEnvironment(r)
}

func unreachable(err error) Finding {
	var dns *net.DNSError
	var authority x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	f := bad("it can't be reached: %v", err)
	switch {
	case errors.As(err, &dns):
		return f.do("check /etc/resolv.conf, and that this machine is online")
	case errors.As(err, &invalid):
		return f.do("check this machine's clock: timedatectl")
	case errors.As(err, &authority):
		return f.do("a proxy intercepts TLS, or ca-certificates is missing: apt-get install ca-certificates")
	default:
		return f.do("check the network, the firewall (outgoing port 443) and the proxy (--chrome-arg=--proxy-server=…)")
	}
}
