package doctor

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"session-manager/shared/selectors"
	"session-manager/supervisor/internal/listen"
	"session-manager/supervisor/internal/profile"
	"session-manager/supervisor/internal/proxy"
	"session-manager/supervisor/internal/smallfile"
)

func (o Options) checkAddress(ctx context.Context) Finding {
	network, address := o.Config.Address()
	switch answers := o.answers(ctx); {
	case answers && errors.Is(profile.Inspect(o.Config.Tokens), profile.ErrHeld):
		return good("%s, and the service answers there", address)
	case answers:
		return bad("%s is in use by another session-manager, with other tokens", address).do("stop that one, or set --listen")
	}
	opened, err := listen.Open(ctx, listen.Addresses(network, address))
	switch {
	case errors.Is(err, syscall.EADDRINUSE) && network != "unix":
		_, port, _ := net.SplitHostPort(address)
		return bad("%v", err).do("find the program that uses it (ss -ltnp 'sport = :%s'), or set --listen", port)
	case err != nil:
		return bad("%v", err).do("set --listen to an address or a path at which this user can listen")
	}
	listen.Close(opened)
	return good("%s is free", address)
}

// answers reports whether the service answers at its address.
func (o Options) answers(ctx context.Context) bool {
	network, address := o.Config.Address()
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{Timeout: 2 * time.Second}).DialContext(ctx, network, address)
		},
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // nothing secret is sent, and the name is another one
	}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	scheme := "http"
	if o.Config.TLSCert != "" {
		scheme = "https"
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://localhost/healthz", nil)
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

// checkFiles opens the files that settings name.
func (o Options) checkFiles(ctx context.Context) Finding {
	c := o.Config
	if err := o.Open(ctx); err != nil {
		return bad("%v", err).do("man session-manager describes the file")
	}
	if c.TLSCert != "" {
		chain := listen.Certificate(c.TLSCert, c.TLSKey)
		if err := chain.Load(ctx); err == nil {
			if left := time.Until(chain.Value().Leaf.NotAfter); left < expiresSoon {
				return warning("the certificate expires in %d days", int(left.Hours()/24)).do("renew it; the service picks it up automatically")
			}
		}
	}
	if content, err := smallfile.ReadSetting(ctx, c.Selectors); c.Selectors != "" && !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			_, err = selectors.Parse(content)
		}
		if err != nil {
			return warning("the selectors can't be used: %v", err).do("correct %s; meanwhile the built-in ones are used", c.Selectors)
		}
	}
	if exposed := smallfile.Exposed(c.SecretFiles()); len(exposed) > 0 {
		return warning("every user can read or write %s", strings.Join(exposed, ", ")).do("chmod 600 %s", strings.Join(exposed, " "))
	}
	if len(c.SecretFiles()) == 0 {
		return good("none set; on the loopback none is needed")
	}
	return good("usable")
}

// slightlyOff is what the clock may be off by. With more TLS certificates and WhatsApp's own
// tokens may fail.
const slightlyOff = time.Minute

// checkClock compares the clock with that of the page's server.
func (o Options) checkClock(ctx context.Context) Finding {
	transport := &http.Transport{
		Proxy: o.proxy, ResponseHeaderTimeout: 15 * time.Second, TLSHandshakeTimeout: 10 * time.Second,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // a wrong clock makes every certificate invalid
	}
	defer transport.CloseIdleConnections()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, o.Config.URL, nil)
	if err != nil {
		return bad("--url: %v", err).do("set it to a URL")
	}
	resp, err := transport.RoundTrip(r)
	if err != nil {
		return Finding{Found: "not compared, as " + r.URL.Host + " can't be reached from here"}
	}
	_ = resp.Body.Close()
	date, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		return Finding{Found: "not compared, as " + r.URL.Host + " sends no date"}
	}
	if off := time.Since(date).Abs(); off > slightlyOff {
		return warning("it differs from that of %s by %s", r.URL.Host, off.Round(time.Second)).do("timedatectl set-ntp true")
	}
	return good("it is right")
}

// proxy returns the one that Chrome is to use.
func (o Options) proxy(r *http.Request) (*url.URL, error) {
	for _, arg := range o.Config.ChromeArgs {
		if server, ok := strings.CutPrefix(arg, "--proxy-server="); ok {
			return proxy.Parse(server)
		}
	}
	if o.Proxy == nil {
		return nil, nil
	}
	return o.Proxy(r)
}
