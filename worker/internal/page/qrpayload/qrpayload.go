// Package qrpayload parses the string that a QR code of the page encodes, and
// refuses what no phone would accept.
package qrpayload

import (
	"encoding/base64"
	"errors"
	"strings"

	"session-manager/shared/rpc"
)

// Limits of a QR payload. The reference's length has never
// been fixed; a QR code of version 40 at level L holds 2953 bytes.
const (
	maxLength = 2048
	minRef    = 8
	minFields = 4
	maxFields = 6
	keyLength = 32
)

// ErrMalformed is what Parse's errors match. They never hold the string.
var ErrMalformed = errors.New("malformed QR payload")

// Code is a well-formed QR payload.
type Code struct {
	// Whole is the payload as the page encodes it, prefix included.
	Whole rpc.QRPayload
	// Ref is its first field, which the server issues for a limited time. The other
	// fields can change under the same Ref.
	Ref Ref
}

// Ref is the server's part of a QR payload. Like the payload it is never logged.
type Ref string

// String hides the value from fmt.
func (Ref) String() string { return "[redacted]" }

// GoString hides the value from %#v.
func (Ref) GoString() string { return "[redacted]" }

// Shape is what may vary about QR payloads.
type Shape struct {
	// Prefixes are the addresses that may come before the fields.
	Prefixes []string
	// ExtraFields is how many fields of unknown form may follow the known ones.
	ExtraFields int
}

// Parse checks the form of s: one of the prefixes or none, then the ref (a
// digit, '@' and base64-like text), three keys of 32 bytes in base64, and
// optionally the platform (one or two digits) and an address. WhatsApp Web has
// used just these forms from the introduction of several devices to September 2026;
// no phone accepts three fields, as before.
func (shape Shape) Parse(s string) (Code, error) {
	if len(s) > maxLength {
		return Code{}, malformed("it is too long")
	}
	bare := s
	for _, p := range shape.Prefixes {
		if rest, ok := strings.CutPrefix(s, p); ok {
			bare = rest
			break
		}
	}
	fields := strings.Split(bare, ",")
	if flaw := shape.flaw(fields); flaw != "" {
		return Code{}, malformed(flaw)
	}
	return Code{Whole: rpc.QRPayload(s), Ref: Ref(fields[0])}, nil
}

// flaw explains what is wrong with the fields.
func (shape Shape) flaw(fields []string) string {
	n := len(fields)
	switch {
	case n < minFields, n > maxFields+shape.ExtraFields:
		return "it has too few or too many fields"
	case !isRef(fields[0]):
		return "its first field is not a reference"
	case !isKey(fields[1]), !isKey(fields[2]), !isKey(fields[3]):
		return "one of its keys is not 32 bytes in base64"
	case n > 4 && !isPlatform(fields[4]):
		return "its platform is not a number"
	case n > 5 && shape.ExtraFields == 0 && !isAddress(fields[5]):
		return "its sixth field is not an address"
	case n > 5 && !isPrintable(strings.Join(fields[5:], "")):
		return "one of its last fields can't be printed"
	}
	return ""
}

func isRef(s string) bool {
	if len(s) < minRef || s[0] < '0' || s[0] > '9' || s[1] != '@' {
		return false
	}
	for i := 2; i < len(s); i++ {
		if !isBase64Like(s[i]) {
			return false
		}
	}
	return true
}

func isBase64Like(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("+/=_-", c) >= 0
}

func isKey(s string) bool {
	if len(s) != base64.StdEncoding.EncodedLen(keyLength) || strings.ContainsAny(s, "\r\n") {
		return false
	}
	key, err := base64.StdEncoding.DecodeString(s)
	return err == nil && len(key) == keyLength
}

func isPlatform(s string) bool {
	if len(s) < 1 || len(s) > 2 {
		return false
	}
	return strings.Trim(s, "0123456789") == ""
}

func isAddress(s string) bool {
	rest, ok := strings.CutPrefix(s, "https://")
	return ok && rest != "" && isPrintable(rest)
}

func isPrintable(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

type malformed string

// Error names the part that is wrong, not its value.
func (m malformed) Error() string { return ErrMalformed.Error() + ": " + string(m) }

// Is makes every malformed match ErrMalformed.
func (m malformed) Is(target error) bool { return target == ErrMalformed }
