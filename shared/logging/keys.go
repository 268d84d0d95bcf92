package logging

// Attribute keys, the same in every log line of both processes. A duration's
// key ends in _ms.
const (
	KeyProcess    = "process"
	KeyGeneration = "gen"
	KeyReason     = "reason"
	KeyDetail     = "detail"
	KeyPhase      = "phase"
	KeyState      = "state"
	KeyFrom       = "from"
	KeyTo         = "to"
	KeyEvent      = "event"
	KeyPID        = "pid"
	KeyError      = "err"
	KeyReader     = "reader"
	KeySeq        = "seq"
	KeyPath       = "path"
	KeyLine       = "line"
	KeyOrigin     = "origin"
)
