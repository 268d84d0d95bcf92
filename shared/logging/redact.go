package logging

import (
	"encoding/json"
	"regexp"
	"strings"
	"unicode"
)

// Characters are also recognised as they look within a URL (%2B) and within JSON
// (\u002b, \/), any number of times over (%252B, \\u002b).
const (
	escape = `(?:%(?:25)*|\\+u00)`
	at     = `(?:@|` + escape + `40)`
	comma  = `(?:,|` + escape + `2[Cc])`
	dot    = `(?:\.|` + escape + `2[Ee])`
	plus   = `(?:\+|` + escape + `2[Bb])`
	pad    = `(?:=|` + escape + `3[Dd])`
	// symbol is a character of base64 but for the padding.
	symbol = `(?:[A-Za-z0-9+/]|\\+/|` + escape + `2[BbFf])`
	// hyphen is one of the signs that people and pages put between the halves of a code.
	hyphen = `(?:[-\x{2010}-\x{2015}\x{2212}]|` + escape + `2[Dd]|%(?:25)*[Ee]2%(?:25)*80%(?:25)*9[0-5]|\\+u201[0-5])`

	// afterEscape is the end of an escaped character. The word that follows it would
	// otherwise seem to begin with its last letter.
	afterEscape = `%(?:25)*[0-9A-Fa-f]{2}|\\+u[0-9A-Fa-f]{4}|\\+[bfnrt]`
	// start is the start of a word.
	start = `(\b|` + afterEscape + `)`
)

// What must never be logged: a QR payload (with or without its URL prefix), a key of
// one, a pairing code, a phone number in international form or in an address of
// WhatsApp's, and what a URL has before its host.
var (
	qrPayload = regexp.MustCompile(`(?:https?://wa\.me/settings/linked_devices#)?\d` + at + `(?:[=_-]|` + pad + `|` + symbol + `){8,}(?:` + comma + `[^\s",]*){0,6}`)
	bareKey   = regexp.MustCompile(`(^|[^A-Za-z0-9+/]|` + afterEscape + `)` + symbol + `{43}` + pad)
	// pairingCode is a code in two halves, as one word, or as a list of letters. The
	// alphabet of WhatsApp's codes has no zero.
	pairingCode = regexp.MustCompile(start + `(?:[A-Z0-9]{4}` + hyphen + `[A-Z0-9]{4}|[1-9A-Z]{8}|(?:[1-9A-Z]` + separator + `){4}(?:` + hyphen + separator + `)?(?:[1-9A-Z]` + separator + `){3}[1-9A-Z])\b`)
	phoneNumber = regexp.MustCompile(plus + `\d(?:[\d ().+-]|` + escape + `2[089BbDd]){6,24}\d|` +
		start + `\d{8,15}(?:[._:]\d{1,3}|` + escape + `3[Aa]\d{1,3}){0,2}` + at + `(?:c` + dot + `us|s` + dot + `whatsapp` + dot + `net|lid)\b`)
	userInfo = regexp.MustCompile(`(://|%(?:25)*3[Aa]%(?:25)*2[Ff]%(?:25)*2[Ff]|:(?:\\+/){2})[^/\\\s"'@]+` + at)
)

// separator is what stands between the letters of a code that is a list.
const separator = `(?:[ ,]|` + escape + `2[0Cc]|\\+n)`

var separated = regexp.MustCompile(`^[1-9A-Z]` + separator)

// Redact replaces QR payloads, keys, pairing codes, phone numbers, and user names and
// passwords of URLs in s. A word of eight capitals and digits counts as a pairing code
// unless it is a number, or some letter is not in a code's alphabet: I, O and U. So do
// some plain words, such as FALLBACK: one code in 14 consists of letters alone, and no rule
// distinguishes those. Nothing in small letters does.
func Redact(s string) string {
	digits, capitals := count(s)
	hasAt := strings.Contains(s, "@") || strings.Contains(s, "40")
	if hasAt && digits > 0 {
		s = qrPayload.ReplaceAllString(s, "[login]")
	}
	if len(s) >= keyLength && strings.ContainsAny(s, "=%\\") {
		s = bareKey.ReplaceAllString(s, "${1}[key]")
	}
	if digits >= shortestPhone {
		s = phoneNumber.ReplaceAllString(s, "${1}[phone]")
	}
	if digits+capitals >= codeLength {
		s = redactCodes(s)
	}
	if hasAt {
		s = userInfo.ReplaceAllString(s, "${1}[credentials]@")
	}
	return s
}

// Plain is Redact, without what could control a terminal: a text may have the name of a file
// that anybody has made.
func Plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || unicode.IsGraphic(r) {
			return r
		}
		return unicode.ReplacementChar
	}, Redact(s))
}

// count returns how many digits and capitals s has. Most texts lack what a secret consists
// of, and counting is a hundred times faster than the expressions.
func count(s string) (digits, capitals int) {
	for i := range len(s) {
		switch c := s[i]; {
		case '0' <= c && c <= '9':
			digits++
		case 'A' <= c && c <= 'Z':
			capitals++
		}
	}
	return digits, capitals
}

// Lengths of secrets, in characters.
const (
	keyLength     = 44
	codeLength    = 8
	shortestPhone = 8
)

func redactCodes(s string) string {
	return pairingCode.ReplaceAllStringFunc(s, func(found string) string {
		part := pairingCode.FindStringSubmatch(found)
		if part == nil || !isCode(found[len(part[1]):]) {
			return found
		}
		return part[1] + "[code]"
	})
}

// isCode reports whether text, which has the form of a pairing code, may be one.
func isCode(text string) bool {
	const letters = "ABCDEFGHJKLMNPQRSTVWXYZ"
	switch {
	case len(text) == codeLength:
		return strings.ContainsAny(text, letters) && !strings.ContainsAny(text, "IOU")
	case separated.MatchString(text):
		return strings.ContainsAny(text, letters)
	}
	return true
}

// redactJSON returns v, or its JSON without secrets if there are any.
func redactJSON(v any) any {
	data, err := json.Marshal(v)
	if err != nil {
		return "[" + Redact(err.Error()) + "]"
	}
	if redacted := Redact(string(data)); redacted != string(data) {
		return redacted
	}
	return v
}
