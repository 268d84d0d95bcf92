package chrome

import "strings"

// Engine is which of Chrome's two programs a browser is. Both show a page in the same
// way, and keep the login in the same files.
type Engine string

const (
	// FullChrome is Chrome with its new headless mode.
	FullChrome Engine = "chrome"
	// HeadlessShell is chrome-headless-shell, the old headless mode as a program of its
	// own. It starts sooner and needs less memory. It makes no SingletonLock, and uses the
	// profile that it was given or none: if its folder can't be made it exits with 1, and if
	// it can't be written it runs on without saving anything (measured with 156).
	HeadlessShell Engine = "chrome-headless-shell"
)

// EngineOf returns the engine by the product that Browser.getVersion answers, such as
// "Chrome/156.0.8078.108" or "HeadlessChrome/156.0.8078.108".
func EngineOf(product string) Engine {
	if strings.HasPrefix(product, "HeadlessChrome/") {
		return HeadlessShell
	}
	return FullChrome
}
