package chrome

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// defaultPorts are not part of an origin.
var defaultPorts = map[string]uint64{"http": 80, "https": 443}

// hostNames maps the names of hosts as browsers do (WHATWG URL, domain to ASCII).
var hostNames = idna.New(idna.MapForLookup(), idna.Transitional(false), idna.StrictDomainName(false))

// Origin returns the origin of an http or https address in the form that a page
// sees as self.origin, such as https://web.whatsapp.com: without user, path and
// default port, and with the host as Chrome writes it. A trailing dot belongs to
// the host (WHATWG URL, origin). Its errors don't repeat the address, which may
// hold a password.
func Origin(address string) (string, error) {
	u, err := url.Parse(address)
	if err != nil {
		return "", errors.New("cannot read the address")
	}
	usual, web := defaultPorts[u.Scheme]
	if !web {
		return "", fmt.Errorf("cannot find the origin: %q is neither http nor https", u.Scheme)
	}
	host, err := hostOf(u.Hostname(), strings.HasPrefix(u.Host, "["))
	if err != nil {
		return "", err
	}
	if u.Port() == "" {
		return u.Scheme + "://" + host, nil
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	switch {
	case err != nil:
		return "", errors.New("cannot find the origin: there is no such port")
	case port == usual:
		return u.Scheme + "://" + host, nil
	}
	return fmt.Sprintf("%s://%s:%d", u.Scheme, host, port), nil
}

// hostOf returns a host as Chrome writes it. Of the many ways to write an IPv4
// address only the usual one is known.
func hostOf(name string, bracketed bool) (string, error) {
	ip, err := netip.ParseAddr(name)
	switch {
	case bracketed && err == nil && ip.Is6() && ip.Zone() == "":
		return "[" + shortest(ip) + "]", nil
	case bracketed:
		return "", errors.New("cannot find the origin: the IPv6 address is not valid")
	case err == nil:
		return name, nil
	}
	host, err := hostNames.ToASCII(name)
	if err != nil || !utf8.ValidString(name) || strings.Trim(host, ".") == "" || strings.ContainsAny(host, "%/:?#@[]\\^|<> ") {
		return "", errors.New("cannot find the origin: the host is not valid")
	}
	labels := strings.Split(strings.TrimSuffix(host, "."), ".")
	if _, err := strconv.ParseUint(labels[len(labels)-1], 0, 64); err == nil {
		return "", errors.New("cannot find the origin: write an IPv4 address as four decimal numbers")
	}
	return host, nil
}

// shortest is an IPv6 address as browsers write it, without dotted numbers.
func shortest(ip netip.Addr) string {
	if !ip.Is4In6() {
		return ip.String()
	}
	b := ip.As16()
	return fmt.Sprintf("::ffff:%x:%x", int(b[12])<<8|int(b[13]), int(b[14])<<8|int(b[15]))
}
