package chrome

import (
	"strings"
	"testing"
)

func TestOriginIsThatOfBrowsers(t *testing.T) {
	for address, want := range map[string]string{
		"https://web.whatsapp.com":                      "https://web.whatsapp.com",
		"https://web.whatsapp.com/a/b?c=d#e":            "https://web.whatsapp.com",
		"HTTPS://WEB.WhatsApp.com/":                     "https://web.whatsapp.com",
		"https://user:secret@web.whatsapp.com/":         "https://web.whatsapp.com",
		"https://web.whatsapp.com:443/":                 "https://web.whatsapp.com",
		"https://web.whatsapp.com:0443/":                "https://web.whatsapp.com",
		"https://web.whatsapp.com:/":                    "https://web.whatsapp.com",
		"https://web.whatsapp.com:80/":                  "https://web.whatsapp.com:80",
		"http://web.whatsapp.com:80/":                   "http://web.whatsapp.com",
		"http://web.whatsapp.com:443/":                  "http://web.whatsapp.com:443",
		"https://web.whatsapp.com./":                    "https://web.whatsapp.com.",
		"https://web.whatsapp.com.evil.example/":        "https://web.whatsapp.com.evil.example",
		"https://web.whatsapp.com@evil.example/":        "https://evil.example",
		"https://evil.example/https://web.whatsapp.com": "https://evil.example",
		"https://bücher.example/":                       "https://xn--bcher-kva.example",
		"https://BÜCHER.example/":                       "https://xn--bcher-kva.example",
		"https://xn--bcher-kva.example/":                "https://xn--bcher-kva.example",
		"http://my_host:3000/":                          "http://my_host:3000",
		"http://localhost:3000/":                        "http://localhost:3000",
		"http://127.0.0.1:3000/":                        "http://127.0.0.1:3000",
		"http://[::1]:3000/":                            "http://[::1]:3000",
		"http://[0:0:0:0:0:0:0:1]:80/":                  "http://[::1]",
		"http://[2001:DB8:0:0:1:0:0:1]/":                "http://[2001:db8::1:0:0:1]",
		"http://[::ffff:127.0.0.1]/":                    "http://[::ffff:7f00:1]",
		"http://[2001:db8:0:1:1:1:1:1]/":                "http://[2001:db8:0:1:1:1:1:1]",
	} {
		if got, err := Origin(address); err != nil || got != want {
			t.Errorf("Origin(%q) = %q, %v; want %q", address, got, err, want)
		}
	}
}

func TestOriginRefusesWhatHasNone(t *testing.T) {
	for _, address := range []string{
		"", "web.whatsapp.com", "/", "about:blank", "data:text/html,x", "blob:https://web.whatsapp.com/1", "file:///etc", "ftp://web.whatsapp.com",
		"https://", "https://:443", "https://.", "https://host:65536/", "https://host:x/", "https://[::1", "https://[fe80::1%25eth0]/", "https://[127.0.0.1]/",
		"http://127.1/", "http://0x7f000001/", "http://2130706433/", "http://127.0.0.1.", "https://user:verysecret@host:x/", "https://a b/",
	} {
		got, err := Origin(address)
		if err == nil {
			t.Errorf("Origin(%q) = %q", address, got)
		} else if strings.Contains(err.Error(), "verysecret") {
			t.Errorf("the error repeats the password: %v", err)
		}
	}
}

func FuzzOrigin(f *testing.F) {
	f.Add("https://web.whatsapp.com:443/?x")
	f.Add("http://[::ffff:1.2.3.4]:080")
	f.Fuzz(func(t *testing.T, address string) {
		origin, err := Origin(address)
		if err != nil {
			return
		}
		if again, err := Origin(origin); err != nil || again != origin {
			t.Errorf("the origin of %q is %q, and that of this is %q, %v", address, origin, again, err)
		}
	})
}
