package profile

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// StateFile is the path of a small JSON file next to the profile.
type StateFile string

// Save writes value as a whole or not at all.
func (f StateFile) Save(value any) error {
	name := filepath.Base(string(f))
	data, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("cannot marshal %s: %w", name, err)
	}
	if err := renameio.WriteFile(string(f), data, 0o600); err != nil {
		return unwritable("cannot save "+name, err)
	}
	return nil
}

// Load reads what was saved into value, a pointer. It changes nothing when the file
// does not exist.
func (f StateFile) Load(value any) error {
	data, err := os.ReadFile(string(f))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot read state: %w", err)
	}
	if err := json.Unmarshal(data, value); err != nil {
		return fmt.Errorf("cannot parse %s: %w", filepath.Base(string(f)), err)
	}
	return nil
}
