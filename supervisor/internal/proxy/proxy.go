// Package proxy is the way to the network where that leads through a proxy: for Chrome,
// the webhook and the doctor alike.
package proxy

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpproxy"
)

// Route has the proxies by the scheme of what is requested. The zero Route leads
// through none. It holds passwords: don't print it.
type Route struct {
	http, https *url.URL // nil for none
	noProxy     string
}

// NewRoute returns a Route through proxies that Parse returned, nil for none. noProxy
// has the hosts that are reached without, as in the variable NO_PROXY: names, which
// stand for the names below them too, addresses, networks, each with a port perhaps, or *.
// This machine's loopback is always reached without.
func NewRoute(http, https *url.URL, noProxy string) Route { return Route{http, https, noProxy} }

// defaultPorts are those of Chrome and of Go.
var defaultPorts = map[string]string{"http": "80", "https": "443", "socks5": "1080"}

// Parse reads the address of a proxy, such as http://user@host:3128. Without a scheme it
// is http, as in HTTPS_PROXY. Its errors explain what to write, and don't repeat the
// address, which may hold a password.
func Parse(text string) (*url.URL, error) {
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	u, err := url.Parse(text)
	if err != nil {
		return nil, errors.New("write http://HOST:PORT, https://HOST:PORT or socks5://HOST:PORT, with special characters of a user as %XX")
	}
	if u.Scheme == "socks5h" || u.Scheme == "socks" {
		u.Scheme = "socks5" // names are resolved by the proxy either way
	}
	if err := checkAddress(u); err != nil {
		return nil, err
	}
	if u.User != nil && (u.User.Username() == "" || strings.Contains(u.User.Username(), ":")) {
		return nil, errors.New("the user must not be empty, or have a colon (RFC 7617)")
	}
	host := net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), defaultPorts[u.Scheme]))
	return &url.URL{Scheme: u.Scheme, Host: host, User: u.User}, nil
}

// checkAddress checks all but the user.
func checkAddress(u *url.URL) error {
	port, err := strconv.ParseUint(cmp.Or(u.Port(), "1"), 10, 16)
	switch {
	case defaultPorts[u.Scheme] == "":
		return errors.New("a proxy is http://, https:// or socks5://")
	case u.Hostname() == "" || strings.ContainsAny(u.Host, ",; "):
		return errors.New("the host of the proxy is missing, or not one: write http://HOST:PORT")
	case err != nil || port == 0:
		return errors.New("the port of the proxy is not valid")
	case strings.Trim(u.Path, "/")+u.RawQuery+u.Fragment != "":
		return errors.New("nothing may follow the port of the proxy")
	}
	return nil
}

// HasPassword reports whether the address of a proxy has a password.
func HasPassword(u *url.URL) bool {
	if u == nil || u.User == nil {
		return false
	}
	_, has := u.User.Password()
	return has
}

// Proxy returns the proxy for a request, as http.Transport needs it, or nil.
func (r Route) Proxy(request *http.Request) (*url.URL, error) {
	c := httpproxy.Config{NoProxy: r.noProxy}
	if r.http != nil {
		c.HTTPProxy = r.http.String()
	}
	if r.https != nil {
		c.HTTPSProxy = r.https.String()
	}
	return c.ProxyFunc()(request.URL)
}

// ForChrome returns the proxy of a page at an address and of all that it loads, nil
// for none, and the hosts that are reached without, in Chrome's words.
func (r Route) ForChrome(address string) (proxy *url.URL, bypass string) {
	proxy = r.https
	if strings.HasPrefix(address, "http://") {
		proxy = r.http
	}
	bypass, all := bypassList(r.noProxy)
	if proxy == nil || all {
		return nil, ""
	}
	return proxy, bypass
}

// bypassList translates NO_PROXY into the rules of Chrome (net/docs/proxy.md, bypass
// rules), in which a name does not stand for those below it. all means that nothing is
// to go through the proxy.
func bypassList(noProxy string) (list string, all bool) {
	var rules []string
	for entry := range strings.SplitSeq(noProxy, ",") {
		entry = strings.ToLower(strings.TrimSpace(entry))
		if entry == "*" {
			return "", true
		}
		host, port, err := net.SplitHostPort(entry)
		if err != nil {
			host, port = entry, ""
		}
		rule, ok := bypassHost(strings.Trim(host, "[]"))
		if _, err := strconv.ParseUint(port, 10, 16); !ok || port != "" && err != nil {
			continue
		}
		for name := range strings.SplitSeq(rule, ";") {
			if port != "" {
				name += ":" + port
			}
			rules = append(rules, name)
		}
	}
	return strings.Join(rules, ";"), false
}

// bypassHost returns the rules for a host of NO_PROXY, separated by semicolons.
func bypassHost(host string) (string, bool) {
	if ip, err := netip.ParseAddr(host); err == nil {
		if ip.Is6() {
			return "[" + host + "]", true
		}
		return host, true
	}
	if _, err := netip.ParsePrefix(host); err == nil {
		return host, true
	}
	if strings.ContainsAny(host, ";<>[]/ ") || host == "" {
		return "", false
	}
	name := strings.TrimPrefix(host, "*")
	if below, ok := strings.CutPrefix(name, "."); ok {
		return "*." + below, below != ""
	}
	return name + ";*." + name, true
}

// Flags are those with which Chrome uses the proxy at server.
func Flags(server, bypass string) []string {
	flags := []string{"--proxy-server=" + server}
	if bypass != "" {
		flags = append(flags, "--proxy-bypass-list="+bypass)
	}
	return flags
}

// Server is the address of a proxy without its user, as Chrome takes it: with one it
// would use no proxy at all, and fail with ERR_NO_SUPPORTED_PROXIES.
func Server(u *url.URL) string { return fmt.Sprintf("%s://%s", u.Scheme, u.Host) }
