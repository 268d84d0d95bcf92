package chrome

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// errConfined is why such a Chrome can't be used.
var errConfined = errors.New("which can use neither the service's folders nor its pipe")

// instead is what to install where there is a Chrome in a form that can't be used.
const instead = "install Google's package google-chrome-stable (on Debian also: apt-get install chromium), or set --chrome to a Chrome that is not confined"

// maxScript is how much is read of a script, in bytes. Ubuntu's placeholder has 600.
const maxScript = 16 << 10

// checkForm returns an error if the program at path, to which all links were followed, only
// leads to a Chrome in a confinement of its own. It explains what to do.
func checkForm(path string) error {
	confined := func(what string) error { return fmt.Errorf("%s %s, %w; %s", path, what, errConfined, instead) }
	switch filepath.Base(path) {
	case "snap":
		return confined("starts a snap")
	case "flatpak":
		return confined("starts a flatpak")
	}
	script, err := scriptAt(path)
	mentions := func(text string) bool { return bytes.Contains(script, []byte(text)) }
	switch {
	case err != nil:
		return fmt.Errorf("cannot read browser: %w", err)
	case mentions("/snap/bin/"), mentions("snap run "):
		return confined("is Ubuntu's placeholder for the snap of Chromium")
	case mentions("flatpak run "):
		return confined("starts the flatpak of a browser")
	}
	return nil
}

// scriptAt returns the beginning of a script, without its #!, and nothing of any other program. One that
// may be executed but not read is not a script.
func scriptAt(path string) ([]byte, error) {
	f, err := os.Open(path)
	if os.IsPermission(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	begin := make([]byte, len("#!"))
	if n, err := f.Read(begin); string(begin[:n]) != "#!" {
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return nil, err
	}
	return io.ReadAll(io.LimitReader(f, maxScript))
}
