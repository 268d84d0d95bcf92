package logging

import "regexp"

// The shapes of what must never be written: a login string (with or without its
// URL prefix), a pairing code as people write it, and a phone number in
// international form.
var (
	loginString = regexp.MustCompile(`(?:https?://wa\.me/settings/linked_devices#)?\d@[A-Za-z0-9+/=_-]{8,}(?:,[^\s",]*){0,6}`)
	bareKey     = regexp.MustCompile(`\b[A-Za-z0-9+/]{43}=`)
	pairingCode = regexp.MustCompile(`\b[A-Z0-9]{4}-[A-Z0-9]{4}\b`)
	phoneNumber = regexp.MustCompile(`\+\d[\d ().-]{6,18}\d|\b\d{8,15}@(?:c\.us|s\.whatsapp\.net|lid)\b`)
)

// Redact replaces login strings, keys, pairing codes and phone numbers in s.
func Redact(s string) string {
	s = loginString.ReplaceAllString(s, "[login]")
	s = bareKey.ReplaceAllString(s, "[key]")
	s = pairingCode.ReplaceAllString(s, "[code]")
	return phoneNumber.ReplaceAllString(s, "[phone]")
}
