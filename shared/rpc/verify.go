package rpc

import "time"

// VerifyCommand is the argument by which the worker's program, instead of serving
// as a Worker, finds out whether a copy of a profile opens in a Chrome. It reads a
// VerifyRequest, as JSON, from its standard input, writes a Verdict, as one line of
// JSON, to its standard output, and ends with one of the exit codes below.
const VerifyCommand = "verify"

// Exit codes of VerifyCommand, after sysexits.h.
const (
	// VerifyOpens: the copy opens, and holds a login.
	VerifyOpens = 0
	// VerifyRefused: it does not, and Chrome was not to blame.
	VerifyRefused = 65
	// VerifyUntried: it could not be found out.
	VerifyUntried = 75
)

// VerifyRequest says which copy to open, and with what. All paths are absolute.
type VerifyRequest struct {
	// CopyDir is the copy of a closed profile. It is only read.
	CopyDir string `json:"copy_dir"`
	// RoomDir is an empty folder with room for a second copy, which Chrome may
	// spoil; ScratchDir one with a short path, for Chrome's HOME and sockets.
	// Nothing is left in either, unless the program is killed.
	RoomDir    string `json:"room_dir"`
	ScratchDir string `json:"scratch_dir"`
	// ChromePath, ChromeVersion, ChromeArgs, URL and Selectors are those of a
	// RunRequest. The address is never asked: its page would be a second session
	// of the same login.
	ChromePath    string   `json:"chrome_path"`
	ChromeVersion string   `json:"chrome_version"`
	ChromeArgs    []string `json:"chrome_args,omitempty"`
	URL           string   `json:"url"`
	Selectors     []byte   `json:"selectors,omitempty"`
	// Limit bounds all of it but Chrome's end, in nanoseconds; zero means 20 s.
	Limit time.Duration `json:"limit,omitempty"`
}

// Verdict is what became of a VerifyRequest.
type Verdict struct {
	// Exit is one of the exit codes of VerifyCommand.
	Exit int `json:"exit"`
	// Reason says, unless the copy opens, why; it holds no secret.
	Reason string `json:"reason,omitempty"`
	// Databases is how many of the page's databases were opened.
	Databases int `json:"databases"`
}
