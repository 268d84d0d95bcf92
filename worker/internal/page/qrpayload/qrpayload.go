// Package qrpayload parses the string that a QR code of the page encodes, and
// refuses what no phone would accept.
package qrpayload

import (
	"errors"
	"regexp"
	"slices"
	"strings"

	"session-manager/shared/rpc"
)

// Limits of a QR payload. The reference's length has never been fixed; a QR code of
// version 40 at level L holds 2953 bytes.
const (
	maxLength = 2048
	minFields = 4
	maxFields = 6
)

// Forms of the fields.
var (
	refForm       = regexp.MustCompile(`^[0-9]@[A-Za-z0-9+/=_-]{6,}$`)
	keyForm       = regexp.MustCompile(`^[A-Za-z0-9+/]{43}=$`) // 32 bytes
	platformForm  = regexp.MustCompile(`^[0-9]{1,2}$`)
	addressForm   = regexp.MustCompile(`^https://[!-~]+$`)
	printableForm = regexp.MustCompile(`^[!-~]*$`)
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
	case !refForm.MatchString(fields[0]):
		return "its first field is not a reference"
	case slices.ContainsFunc(fields[1:4], func(key string) bool { return !keyForm.MatchString(key) }):
		return "one of its keys is not 32 bytes in base64"
	case n > 4 && !platformForm.MatchString(fields[4]):
		return "its platform is not a number"
	case n > 5 && shape.ExtraFields == 0 && !addressForm.MatchString(fields[5]):
		return "its sixth field is not an address"
	case n > 5 && !printableForm.MatchString(strings.Join(fields[5:], "")):
		return "one of its last fields can't be printed"
	}
	return ""
}

type malformed string

// Error names the part that is wrong, not its value.
func (m malformed) Error() string { return ErrMalformed.Error() + ": " + string(m) }

// Is makes every malformed match ErrMalformed.
func (m malformed) Is(target error) bool { return target == ErrMalformed }
