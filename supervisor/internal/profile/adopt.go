package profile

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"session-manager/supervisor/internal/smallfile"
)

// chosen is the profile within Chrome's user-data-dir that the service uses, by the flag
// --profile-directory. chrome-headless-shell knows no other.
const chosen = "Default"

// formerDefault begins the name of what was called Default before another profile was.
const formerDefault = chosen + ".before-"

// Adopt decides once which of a user-data-dir's profiles is meant, and names that Default:
// in a folder that another Chrome has written, as a desktop's, the one that was used last
// (Local State, profile.last_used: chrome/common/pref_names.h). It returns its former name,
// or nothing if there was nothing to decide. It also completes what repair would. Chrome
// must not run.
func (p *Profile) Adopt() (former string, err error) {
	if err := p.tokens.repair(); err != nil {
		return "", err
	}
	dir := p.Dir()
	target := filepath.Join(dir, chosen)
	present := exists(target)
	if present && exists(filepath.Join(dir, stampFile)) {
		return "", nil
	}
	used := lastUsed(dir)
	if used == chosen {
		return "", nil
	}
	// If the process dies between the two, the next call does the second.
	if present {
		if err := moveFolder(target, filepath.Join(dir, formerDefault+suffix()), func() error { return nil }); err != nil {
			return "", err
		}
	}
	// With a stamp it is decided: what is left of a copied folder must not be adopted.
	return used, moveFolder(filepath.Join(dir, used), target, func() error { _, err := p.Stamp(); return err })
}

// lastUsed returns the name of the profile that Chrome used last or, where it does not say,
// that is the only one.
func lastUsed(dir string) string {
	var state struct {
		Profile struct {
			LastUsed string `json:"last_used"`
		} `json:"profile"`
	}
	if data, err := smallfile.Read(filepath.Join(dir, "Local State"), maxJSON); err == nil {
		_ = json.Unmarshal(data, &state)
	}
	switch used := state.Profile.LastUsed; {
	case isProfile(dir, used):
		return used
	case used == chosen, exists(filepath.Join(dir, chosen)):
		return chosen
	}
	names, _ := list(dir)
	names = slices.DeleteFunc(names, func(name string) bool { return !isProfile(dir, name) })
	if len(names) != 1 {
		return chosen
	}
	return names[0]
}

// isProfile reports whether dir has a profile of that name, which may come from anywhere.
func isProfile(dir, name string) bool {
	if !filepath.IsLocal(name) || name != filepath.Base(name) || name == "." || unfinished(name) ||
		name == "System Profile" || name == "Guest Profile" || strings.HasPrefix(name, formerDefault) {
		return false
	}
	// chrome-headless-shell makes no Preferences.
	return exists(filepath.Join(dir, name, "Preferences")) || exists(filepath.Join(dir, name, "Local Storage"))
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// moveFolder renames a folder or, where that can't be done, as in the lower layer of an
// overlay, copies it, calls copiedAll, and removes it.
func moveFolder(from, to string, copiedAll func() error) error {
	err := renameNew(from, to)
	if err == nil {
		return nil
	}
	copied := newPartial(filepath.Dir(to))
	if os.Mkdir(copied, 0o700) != nil {
		return unwritable("cannot move folder", err)
	}
	if _, err := copyTree(context.Background(), from, copied); err != nil {
		return err
	}
	if err := renameNew(copied, to); err != nil {
		return unwritable("cannot move folder", err)
	}
	syncFolder(filepath.Dir(to))
	if err := copiedAll(); err != nil {
		return err
	}
	if err := os.RemoveAll(from); err != nil {
		return unwritable("cannot move folder", err)
	}
	return nil
}
