package profile

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
)

// stampFile lies in the profile, and goes wherever that goes. Chrome leaves what
// it does not know alone.
const stampFile = ".session-manager"

// maxStamp bounds the stamp, in bytes.
const maxStamp = 256

// Stamp returns the name that the present profile got when it was first used. A
// profile without one gets it now: it is new, or another one than before.
func (p *Profile) Stamp() (string, error) {
	path := filepath.Join(p.Dir(), stampFile)
	data, err := readBounded(path, maxStamp)
	if err == nil {
		if stamp := strings.TrimSpace(string(data)); stamp != "" {
			return stamp, nil
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		// What stands in the way is no stamp.
		if err := os.RemoveAll(path); err != nil {
			return "", unwritable("cannot name profile", err)
		}
	}
	stamp := rand.Text()
	if err := renameio.WriteFile(path, []byte(stamp+"\n"), 0o600); err != nil {
		return "", unwritable("cannot name profile", err)
	}
	return stamp, nil
}

// SaveLogin keeps what is known of the login beside the profile.
func (p *Profile) SaveLogin(login any) error { return p.save("login", login) }

// LoadLogin reads into login, a pointer, what SaveLogin has kept; nothing when
// there is nothing.
func (p *Profile) LoadLogin(login any) error { return p.load("login", login) }
