package qrpayload

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"session-manager/shared/rpc"
	"session-manager/shared/selectors"
)

const prefix = "https://phone.example/link#"

var (
	shape = selectors.QRPayload{Prefixes: []string{prefix}}
	key   = base64.StdEncoding.EncodeToString(make([]byte, 32))
	keys  = key + "," + key + "," + key
	ref   = "2@AbC+/09=_-zz"
)

func TestParseAcceptsEveryFormThatPhonesTake(t *testing.T) {
	for _, tc := range []struct{ name, payload string }{
		{"prefix and five fields", prefix + ref + "," + keys + ",1"},
		{"bare, five fields", ref + "," + keys + ",1"},
		{"two digits of platform", ref + "," + keys + ",10"},
		{"four fields", ref + "," + keys},
		{"sixth field an address", ref + "," + keys + ",1,https://faq.example/r/ld"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			code, err := Parse(tc.payload, shape)
			if err != nil {
				t.Fatal(err)
			}
			if string(code.Whole) != tc.payload || string(code.Ref) != ref {
				t.Fatalf("got %q and %q", string(code.Whole), string(code.Ref))
			}
		})
	}
}

func TestParseRefusesTheRest(t *testing.T) {
	short := base64.StdEncoding.EncodeToString(make([]byte, 31))
	long := base64.StdEncoding.EncodeToString(make([]byte, 33))
	for _, tc := range []struct{ name, payload string }{
		{"empty", ""},
		{"an address", "https://example.org/"},
		{"three fields", ref + "," + key + ",clientid"},
		{"seven fields", ref + "," + keys + ",1,https://x,y"},
		{"unknown sixth field", ref + "," + keys + ",1,extra"},
		{"literal undefined for a ref", "undefined," + keys + ",1"},
		{"literal null for a secret", ref + "," + key + "," + key + ",null,1"},
		{"empty ref", "," + keys + ",1"},
		{"ref without digit", "@AbCdEfGh," + keys + ",1"},
		{"ref with a space", "2@AbCd EfGh," + keys + ",1"},
		{"short key", ref + "," + short + "," + key + "," + key + ",1"},
		{"long key", ref + "," + long + "," + key + "," + key + ",1"},
		{"line break in a key", ref + "," + key[:43] + "\n," + key + "," + key + ",1"},
		{"platform of letters", ref + "," + keys + ",x"},
		{"platform of three digits", ref + "," + keys + ",100"},
		{"empty platform", ref + "," + keys + ","},
		{"other prefix", "https://evil.example/#" + ref + "," + keys + ",1"},
		{"prefix twice", prefix + prefix + ref + "," + keys + ",1"},
		{"too long", "2@" + strings.Repeat("A", rpc.MaxQRPayload) + "," + keys + ",1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := Parse(tc.payload, shape)
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("got %v", err)
			}
			if strings.Contains(err.Error(), key) {
				t.Fatal("the error holds a part of the string")
			}
		})
	}
}

func TestExtraFieldsAreAcceptedWhenExpected(t *testing.T) {
	later := selectors.QRPayload{Prefixes: []string{prefix}, ExtraFields: 1}
	for _, tc := range []struct {
		payload string
		ok      bool
	}{
		{prefix + ref + "," + keys + ",1", true},
		{prefix + ref + "," + keys + ",1,extra", true},
		{prefix + ref + "," + keys + ",1,https://faq.example/r/ld,extra", true},
		{prefix + ref + "," + keys + ",1,a,b,c", false},
		{prefix + ref + "," + keys + ",1,with space", false},
	} {
		if _, err := Parse(tc.payload, later); (err == nil) != tc.ok {
			t.Errorf("got %v", err)
		}
	}
}

func TestCodeHidesItself(t *testing.T) {
	code, err := Parse(prefix+ref+","+keys+",1", shape)
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if out := fmt.Sprintf(verb, code); strings.Contains(out, "AbC") || strings.Contains(out, key) {
			t.Errorf("%s prints %s", verb, out)
		}
	}
}

func FuzzParseLogin(f *testing.F) {
	f.Add(prefix + ref + "," + keys + ",1")
	f.Add(ref + "," + keys)
	f.Add(ref + "," + keys + ",1,https://faq.example/r/ld")
	f.Add("undefined,null,,")
	f.Fuzz(func(t *testing.T, s string) {
		code, err := Parse(s, shape)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("unexpected error %v", err)
			}
			return
		}
		whole := string(code.Whole)
		if whole != s {
			t.Fatal("the string was changed")
		}
		bare := strings.TrimPrefix(whole, prefix)
		if !strings.HasPrefix(bare, string(code.Ref)+",") || strings.ContainsAny(bare, " \r\n\t") {
			t.Fatalf("accepted %q", s)
		}
		if n := strings.Count(bare, ","); n < 3 || n > 5 {
			t.Fatalf("accepted %d commas", n)
		}
	})
}
