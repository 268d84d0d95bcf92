package logging

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// key returns 32 random bytes as a payload has them.
func key() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b)
	return base64.StdEncoding.EncodeToString(b)
}

// payload returns a QR payload of random keys, as the page makes them.
func payload(rng *mathrand.Rand) string {
	ref := make([]byte, 60+rng.IntN(90))
	_, _ = rand.Read(ref)
	s := fmt.Sprintf("%d@%s,%s,%s,%s", rng.IntN(10), base64.StdEncoding.EncodeToString(ref), key(), key(), key())
	switch rng.IntN(3) {
	case 0:
		s += ",1"
	case 1:
		s = "https://wa.me/settings/linked_devices#" + s + ",1"
	}
	return s
}

// code returns a pairing code of WhatsApp's alphabet.
func code(rng *mathrand.Rand) string {
	const alphabet = "123456789ABCDEFGHJKLMNPQRSTVWXYZ"
	b := make([]byte, 8)
	for i := range b {
		b[i] = alphabet[rng.IntN(len(alphabet))]
	}
	return string(b)
}

func inJSON(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

// escaped writes each sign of s that is not a letter or a digit as JSON may.
func escaped(s string) string {
	return regexp.MustCompile(`[^A-Za-z0-9]`).ReplaceAllStringFunc(s, func(c string) string { return fmt.Sprintf(`\u%04x`, []rune(c)[0]) })
}

// forms are the ways in which a secret gets into a line.
var forms = map[string]func(string) string{
	"bare":                     func(s string) string { return s },
	"in a sentence":            func(s string) string { return "cannot use " + s + " (it is old)" },
	"in quotes":                func(s string) string { return fmt.Sprintf("got %q", s) },
	"in JSON":                  func(s string) string { return `{"a":` + inJSON("x\n"+s+"\n") + `}` },
	"in JSON in JSON":          func(s string) string { return inJSON(`{"a":` + inJSON("\n"+s+"\t") + `}`) },
	"in JSON with slashes":     func(s string) string { return `"` + strings.ReplaceAll(s, "/", `\/`) + `"` },
	"in JSON as numbers":       func(s string) string { return `"\u000a` + escaped(s) + `\u0022"` },
	"in JSON as numbers, JSON": func(s string) string { return inJSON(escaped(s)) },
	"in a query":               func(s string) string { return "https://example.org/?a=" + url.QueryEscape(s) + "&b=1" },
	"in a query in a query":    func(s string) string { return "/?a=" + url.QueryEscape("/?b="+url.QueryEscape(s)) },
	"in lower case escapes": func(s string) string {
		return regexp.MustCompile(`%..`).ReplaceAllStringFunc("x="+url.QueryEscape(s), strings.ToLower)
	},
	"as an attribute":      func(s string) string { return `<div data-ref="` + s + `">` },
	"after an equals sign": func(s string) string { return "ref=" + s },
	"after a colon":        func(s string) string { return "ref:" + s + ";" },
}

// leaks reports whether a piece of secret, of eight characters, can be read in text.
func leaks(text, secret string) bool {
	for _, undo := range []func(string) string{
		func(s string) string { return s }, percent, percent, func(s string) string { return strings.ReplaceAll(s, `\/`, "/") },
		func(s string) string {
			return numbers.ReplaceAllStringFunc(s, func(c string) string { return fmt.Sprintf(`%c`, parse(c)) })
		},
	} {
		text = undo(text)
		for i := 0; i+8 <= len(secret); i += 4 {
			if strings.Contains(text, secret[i:i+8]) {
				return true
			}
		}
	}
	return false
}

var numbers = regexp.MustCompile(`\\+u[0-9a-f]{4}`)

func parse(c string) (n rune) {
	_, _ = fmt.Sscanf(c[len(c)-4:], "%x", &n)
	return n
}

func percent(s string) string {
	if plain, err := url.QueryUnescape(strings.ReplaceAll(s, "+", "%2B")); err == nil {
		return plain
	}
	return s
}

const draws = 100

func TestEachFormOfAPayloadIsRedacted(t *testing.T) {
	rng := mathrand.New(mathrand.NewPCG(1, 2))
	for name, form := range forms {
		for range draws {
			p := payload(rng)
			secret := strings.TrimPrefix(p, "https://wa.me/settings/linked_devices#")
			if got := Redact(form(p)); leaks(got, secret) {
				t.Fatalf("%s: %s stays readable in %s", name, p, got)
			}
		}
	}
}

func TestEachFormOfAKeyIsRedacted(t *testing.T) {
	for name, form := range forms {
		for first := range 64 {
			k := key()
			k = string("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[first]) + k[1:]
			if got := Redact(form(k)); leaks(got, k) {
				t.Errorf("%s: %s stays readable in %s", name, k, got)
			}
		}
	}
}

func TestEachFormOfACodeIsRedacted(t *testing.T) {
	rng := mathrand.New(mathrand.NewPCG(3, 4))
	letter := regexp.MustCompile(`[A-Z]`)
	for name, form := range forms {
		for range draws {
			whole := code(rng)
			written := map[string]string{"in halves": whole[:4] + "-" + whole[4:], "with a long hyphen": whole[:4] + "‑" + whole[4:]}
			if letter.MatchString(whole) {
				written["as a word"] = whole
				written["as a list"] = strings.Join(strings.Split(whole, ""), ",")
				written["as a list with a hyphen"] = strings.Join(strings.Split(whole[:4]+"-"+whole[4:], ""), ",")
			}
			for how, text := range written {
				if got := Redact(form(text)); !strings.Contains(got, "[code]") || strings.Contains(got, whole[1:4]) || strings.Contains(got, whole[5:]) {
					t.Fatalf("%s, %s: %s stays readable in %s", name, how, text, got)
				}
			}
		}
	}
}

func TestEachFormOfAPhoneNumberIsRedacted(t *testing.T) {
	for _, number := range []string{
		"+5491123456789", "+54 9 11 2345-6789", "+1 (555) 010-9999", "5491123456789@c.us", "5491123456789@s.whatsapp.net",
		"5491123456789:12@s.whatsapp.net", "123456789012345@lid",
	} {
		for name, form := range forms {
			if got := Redact(form(number)); leaks(got, "5491123456789") || leaks(got, "123456789012345") || !strings.Contains(got, "[phone]") {
				t.Errorf("%s: %s stays readable in %s", name, number, got)
			}
		}
	}
}

func TestUserInfoOfURLsIsRedacted(t *testing.T) {
	for _, text := range []string{
		"--proxy-server=http://user:hunter22@proxy.example:3128", `parse "https://user:hunter22@h/": invalid port`,
		"https://hunter22@hooks.example/", `{"u":"https:\/\/u:hunter22@h"}`, "?u=" + url.QueryEscape("https://u:hunter22@h/"),
	} {
		if got := Redact(text); strings.Contains(got, "hunter22") || !strings.Contains(got, "[credentials]") {
			t.Errorf("got %s", got)
		}
	}
}

// What people have to read stays readable.
func TestOrdinaryTextIsNotRedacted(t *testing.T) {
	for _, text := range []string{
		"state_changed", "QR_REQUIRED", "DISCONNECTED", "ERR_NAME_NOT_RESOLVED", "NXDOMAIN", "TEMPFAIL", "SIGSEGV", "DEADLINE", "SIGNALED", "UINT8ARR", "ERRNO111",
		"2026-11-28T06:32:06.908624989Z", "20261128T063206.123Z-gen3-browser_crashed", "156.0.8078.108", "12345678", "pid 12345678",
		"0x7F3A12B4C5D6", "/usr/lib/chromium/chromium", "E5D1B9C2A4F60718293A4B5C6D7E8F90", "4GXKHVQZ7WMBN2RDSLTPYJC3FA",
		"user@example.org", "https://web.whatsapp.com/", "--disable-features=Translate,MediaRouter", "1,2,3,4,5,6,7,8", "+00:00", "128 MiB + 12 MiB",
		"sha256 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
	} {
		if got := Redact(text); got != text {
			t.Errorf("%s became %s", text, got)
		}
	}
}

// The documents of the project have about 20,000 words, and show a pairing code and
// phone numbers on purpose.
func TestDocumentsHaveNearlyNothingToRedact(t *testing.T) {
	total, changed := 0, map[string]bool{}
	for _, path := range []string{
		"../../README.md", "../../ARCHITECTURE.md", "../selectors/selectors.json", "../../scripts/package/session-manager.8",
		"../../supervisor/internal/api/openapi.yaml", "../../scripts/monitoring/alerts.yml", "../../worker/internal/page/classify/CATALOGUE.md",
	} {
		text, err := os.ReadFile(filepath.FromSlash(path))
		if err != nil {
			t.Fatal(err)
		}
		for word := range strings.FieldsSeq(string(text)) {
			total++
			if Redact(word) != word {
				changed[word] = true
			}
		}
	}
	if total < 10_000 || len(changed) > 12 {
		t.Errorf("of %d words these are redacted: %v", total, changed)
	}
}

func TestEveryKindOfAttributeIsRedacted(t *testing.T) {
	rng := mathrand.New(mathrand.NewPCG(5, 6))
	p := payload(rng)
	type thing struct{ Payload string }
	for name, attr := range map[string]any{
		"string": p, "error": errors.New(p), "strings": []string{"a", p}, "struct": thing{p}, "map": map[string]string{"a": p},
		"group": slog.GroupValue(slog.String("a", p)), "raw": json.RawMessage(inJSON(p)), "errors": []any{p},
	} {
		var out bytes.Buffer
		New(&out, "test", slog.LevelInfo).Info("something_happened", "x", attr)
		if leaks(out.String(), p[30:]) {
			t.Errorf("%s: %s", name, out.String())
		}
	}
}

func FuzzRedactKeepsNoPayload(f *testing.F) {
	f.Add("cannot use ", " (it is old)", uint64(1))
	f.Add(`{"a":"\n`, `\n"}`, uint64(2))
	f.Fuzz(func(t *testing.T, before, after string, seed uint64) {
		p := payload(mathrand.New(mathrand.NewPCG(seed, 0)))
		if got := Redact(before + p + after); strings.Contains(got, p[len(p)-100:]) {
			t.Errorf("%q stays readable in %q", p, got)
		}
	})
}

// processorTime is what this thread has used of it.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var spent unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &spent); err != nil {
		t.Fatal(err)
	}
	return time.Duration(spent.Nano())
}

// The cost of eight times the text is far below 64 times the cost.
func TestCostOfRedactionIsLinear(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const size, times, slack = 2 << 10, 8, 4
	cost := func(unit string, size int) time.Duration {
		text, begun := strings.Repeat(unit, size/len(unit)), processorTime(t)
		Redact(text)
		return processorTime(t) - begun
	}
	for _, unit := range []string{"2@ABCDEFGH", "+4917", "A1B2 ", "1A, ", "%2525", "://a", `\\u00`, "ABCDEFGHIJ=", "0123456789", "2@,", "://@"} {
		once, many := time.Hour, time.Hour
		for range 5 { // The garbage collector's work counts as well, so the least is compared.
			once, many = min(once, cost(unit, size)), min(many, cost(unit, times*size))
		}
		if many > slack*times*max(once, 200*time.Microsecond) {
			t.Errorf("%q: %s, and %s for %d times as much", unit, once, many, times)
		}
	}
}
