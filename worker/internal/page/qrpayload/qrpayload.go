// Package qrpayload parses the string that a QR code of the page encodes, and
// refuses what no phone would accept.
package qrpayload

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"session-manager/shared/rpc"
	"session-manager/shared/selectors"
)

// Limits of a QR payload. The reference's length has never been fixed.
const (
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
	// Secret is its fourth field, which the page replaces whenever its server gives out a
	// list of references over a new connection.
	Secret rpc.Secret
}

// Ref is the server's part of a QR payload.
type Ref = rpc.Secret

// Parse checks the form of s: one of the prefixes or none, then the ref (a
// digit, '@' and base64-like text), three keys of 32 bytes in base64, and
// optionally the platform (one or two digits) and an address. WhatsApp Web has
// used just these forms from the introduction of several devices to September 2026;
// no phone accepts three fields, as before.
func Parse(s string, shape selectors.QRPayload) (Code, error) {
	if len(s) > rpc.MaxQRPayload {
		return Code{}, fmt.Errorf("%w: it is too long", ErrMalformed)
	}
	bare := s
	for _, p := range shape.Prefixes {
		if rest, ok := strings.CutPrefix(s, p); ok {
			bare = rest
			break
		}
	}
	fields := strings.Split(bare, ",")
	if flaw := flawOf(fields, shape.ExtraFields); flaw != "" {
		return Code{}, fmt.Errorf("%w: %s", ErrMalformed, flaw)
	}
	return Code{Whole: rpc.QRPayload(s), Ref: Ref(fields[0]), Secret: rpc.Secret(fields[3])}, nil
}

// flawOf explains what is wrong with the fields, of which extra may follow the
// known ones.
func flawOf(fields []string, extra int) string {
	n := len(fields)
	switch {
	case n < minFields, n > maxFields+extra:
		return "it has too few or too many fields"
	case !refForm.MatchString(fields[0]):
		return "its first field is not a reference"
	case slices.ContainsFunc(fields[1:4], func(key string) bool { return !keyForm.MatchString(key) }):
		return "one of its keys is not 32 bytes in base64"
	case n > 4 && !platformForm.MatchString(fields[4]):
		return "its platform is not a number"
	case n > 5 && extra == 0 && !addressForm.MatchString(fields[5]):
		return "its sixth field is not an address"
	case n > 5 && !printableForm.MatchString(strings.Join(fields[5:], "")):
		return "one of its last fields can't be printed"
	}
	return ""
}
