package config

import (
	"cmp"
	"context"
	"net/url"
	"slices"
	"strings"

	"session-manager/supervisor/internal/proxy"
	"session-manager/supervisor/internal/smallfile"
)

// proxyNames are the variables that name proxies, by the scheme of what is requested,
// and NO_PROXY. Both spellings are usual, and the first that is set counts.
var proxyNames = [...]string{"HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"}

// takeProxies notes what the environment says of proxies: that of the service, whoever
// gives a command.
func (c *Config) takeProxies(env map[string]string) {
	if c.below != nil {
		env = map[string]string{}
		for _, given := range c.below.Environ {
			name, value, _ := strings.Cut(given.Text, "=")
			env[name] = value
		}
	}
	c.Environment = map[string]string{}
	for _, name := range proxyNames {
		if value := strings.TrimSpace(cmp.Or(env[name], env[strings.ToLower(name)])); value != "" {
			c.Environment[name] = value
		}
	}
}

// refusePassword refuses a password in a place where other users may see it.
func refusePassword(address string) *Problem {
	if u, err := proxy.Parse(address); address == "" || err != nil || !proxy.HasPassword(u) {
		return nil
	}
	return &Problem{
		Name: "--proxy", Insecure: true,
		Allowed: "it must not hold the password, which other users could see; write that into a file, and name it with --proxy-password-file",
	}
}

// shownProxy is the proxy in force, without its password.
func (c *Config) shownProxy() string {
	address := c.Proxy
	for _, name := range proxyNames[:3] {
		if address == "" && !c.ChoosesProxy() {
			address = c.Environment[name]
		}
	}
	if u, err := proxy.Parse(address); err == nil && address != "" {
		return u.Redacted()
	}
	return ""
}

// ownProxyFlags are Chrome's flags that choose a proxy.
var ownProxyFlags = []string{"--proxy-server", "--proxy-pac-url", "--proxy-auto-detect", "--no-proxy-server"}

// ChoosesProxy reports whether --chrome-arg chooses the page's proxy, if any.
func (c *Config) ChoosesProxy() bool {
	return slices.ContainsFunc(c.ChromeArgs, func(arg string) bool {
		name, _, _ := strings.Cut(arg, "=")
		return slices.Contains(ownProxyFlags, name)
	})
}

// checkProxy checks everything but the file of the password. source is where --proxy comes
// from.
func (c *Config) checkProxy(source string) error {
	_, err := c.route()
	secret := refusePassword(c.Proxy)
	switch {
	case err != nil:
		return err
	case secret != nil && source != "environment" && c.below == nil:
		return secret
	case c.Proxy != "" && c.ChoosesProxy():
		return &Problem{Name: "--proxy and --chrome-arg", Allowed: "set the proxy by one of them"}
	case c.ProxyPasswordFile != "" && c.Proxy == "":
		return &Problem{Name: "--proxy-password-file", Allowed: "set --proxy too"}
	}
	u, err := proxy.Parse(c.Proxy)
	switch {
	case c.ProxyPasswordFile == "" || err != nil:
		return nil
	case u.User == nil:
		return &Problem{Name: "--proxy-password-file", Allowed: "--proxy must name the user, before the host and an @"}
	case proxy.HasPassword(u):
		return &Problem{Name: "--proxy-password-file", Allowed: "--proxy has a password already; set one of them"}
	}
	return nil
}

// route returns the way to the network, without the password that a file holds.
func (c *Config) route() (proxy.Route, error) {
	of := func(names ...string) (*url.URL, error) {
		for _, name := range names {
			value := c.Environment[name]
			if name == "--proxy" {
				value = c.Proxy
			}
			if value == "" {
				continue
			}
			u, err := proxy.Parse(value)
			if err != nil {
				return nil, &Problem{Name: name, Allowed: err.Error()}
			}
			return u, nil
		}
		return nil, nil
	}
	http, err := of("--proxy", "HTTP_PROXY", "ALL_PROXY")
	if err != nil {
		return proxy.Route{}, err
	}
	https, err := of("--proxy", "HTTPS_PROXY", "ALL_PROXY")
	return proxy.NewRoute(http, https, c.Environment["NO_PROXY"]), err
}

// maxProxyPassword is what SOCKS has room for, in bytes (RFC 1929).
const maxProxyPassword = 255

// ReadProxy returns the way to the network, with the password of ProxyPasswordFile. The
// error is a *Problem, or ctx's cause. The Config must be valid.
func (c *Config) ReadProxy(ctx context.Context) (proxy.Route, error) {
	const name = "--proxy-password-file"
	if c.ProxyPasswordFile == "" {
		return c.route()
	}
	content, err := smallfile.ReadSetting(ctx, c.ProxyPasswordFile)
	if ctx.Err() != nil {
		return proxy.Route{}, context.Cause(ctx)
	}
	if err != nil {
		return proxy.Route{}, c.FileProblem(name, err)
	}
	line, _, _ := strings.Cut(string(content), "\n")
	password := strings.TrimSuffix(line, "\r")
	if password == "" || len(password) > maxProxyPassword {
		return proxy.Route{}, c.named(&Problem{Name: name, Allowed: "its first line must be the password, of at most 255 bytes"})
	}
	u, err := proxy.Parse(c.Proxy)
	if err != nil {
		return proxy.Route{}, &Problem{Name: "--proxy", Allowed: err.Error()}
	}
	u.User = url.UserPassword(u.User.Username(), password)
	return proxy.NewRoute(u, u, c.Environment["NO_PROXY"]), nil
}
