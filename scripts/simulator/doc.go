// Package simulator is an offline stand-in for WhatsApp Web: a loopback HTTP
// server whose page, opened in a real Chrome, boots, shows login codes that
// rotate and expire, links to a pretended phone, syncs, disconnects, conflicts
// and logs out the way the real page was observed to. It exists because no test
// machine reaches WhatsApp, and because most of what goes wrong there can't be
// provoked on purpose.
package simulator
