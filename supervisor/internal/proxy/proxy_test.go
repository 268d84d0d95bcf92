package proxy

import "testing"

func TestNoProxyInTheWordsOfChrome(t *testing.T) {
	for noProxy, want := range map[string]string{
		"":                              "",
		"example.com":                   "example.com;*.example.com",
		" .example.com , *.x.example ":  "*.example.com;*.x.example",
		"example.com:8080":              "example.com:8080;*.example.com:8080",
		"10.0.0.1,192.168.0.0/16":       "10.0.0.1;192.168.0.0/16",
		"fd00::1,[fd00::2]:80,fd00::/8": "[fd00::1];[fd00::2]:80;fd00::/8",
		"Example.COM,,.":                "example.com;*.example.com",
		"<-loopback>,a b,a;b,http://x":  "",
	} {
		proxy, err := Parse("http://p:1")
		if err != nil {
			t.Fatal(err)
		}
		used, got := NewRoute(nil, proxy, noProxy).ForChrome("https://web.whatsapp.com")
		if used != proxy || got != want {
			t.Errorf("%q: got %q, want %q", noProxy, got, want)
		}
		if used, _ := NewRoute(nil, proxy, noProxy+",*").ForChrome("https://web.whatsapp.com"); used != nil {
			t.Errorf("%q and *: a proxy is used", noProxy)
		}
		if used, _ := NewRoute(nil, proxy, noProxy).ForChrome("http://web.whatsapp.com"); used != nil {
			t.Errorf("%q: the proxy of https is used for http", noProxy)
		}
	}
}
