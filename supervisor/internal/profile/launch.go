package profile

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"

	"session-manager/shared/proctree"
)

// launch names one Chrome for good: a pid alone comes again.
type launch struct {
	// Target is what its SingletonLock says.
	Target string `json:"target"`
	BootID string `json:"boot_id"`
	PID    int    `json:"pid"`
	// Start is in the kernel's ticks since boot.
	Start uint64 `json:"start"`
}

// RecordLaunch remembers, across the supervisor's death too, that pid is the
// Chrome that holds our profile, so that CleanLock knows its lock again. It is
// an error that carries reason.ProfileInUse when the lock does not name pid:
// then Chrome is on another profile.
func (p *Profile) RecordLaunch(pid int) error {
	target, err := os.Readlink(filepath.Join(p.Dir(), lockFile))
	if err != nil {
		return inUse("Chrome (pid %d) has not locked our profile: %w", pid, err)
	}
	if name, ok := parseLock(target); !ok || name.pid != pid {
		return inUse("Chrome (pid %d) has not locked our profile, the lock says %q", pid, target)
	}
	process, err := proctree.Look(pid)
	if err != nil {
		return fmt.Errorf("cannot record launch: %w", err)
	}
	boot, err := bootID()
	if err != nil {
		return fmt.Errorf("cannot record launch: %w", err)
	}
	return p.save("launch", launch{Target: target, BootID: boot, PID: pid, Start: process.Start})
}

// lastLaunch returns the zero launch when none was recorded, or what is there
// can't be read: it is one proof among others.
func (p *Profile) lastLaunch() (launch, error) {
	data, err := os.ReadFile(p.path("launch"))
	if errors.Is(err, fs.ErrNotExist) {
		return launch{}, nil
	}
	if err != nil {
		return launch{}, fmt.Errorf("cannot read last launch: %w", err)
	}
	var l launch
	if json.Unmarshal(data, &l) != nil {
		return launch{}, nil
	}
	return l, nil
}

// SaveRestarts keeps the restart policy's state beside the profile.
func (p *Profile) SaveRestarts(state any) error { return p.save("restarts", state) }

// LoadRestarts reads into state, a pointer, what SaveRestarts has kept; nothing
// when there is nothing.
func (p *Profile) LoadRestarts(state any) error { return p.load("restarts", state) }

func (p *Profile) load(name string, value any) error {
	data, err := os.ReadFile(p.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot read %s: %w", name, err)
	}
	if err := json.Unmarshal(data, value); err != nil {
		return fmt.Errorf("cannot parse %s: %w", name, err)
	}
	return nil
}

// save writes a small file beside the profile as a whole or not at all.
func (p *Profile) save(name string, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("cannot marshal %s: %w", name, err)
	}
	if err := renameio.WriteFile(p.path(name), data, 0o600); err != nil {
		return unwritable("cannot save "+name, err)
	}
	return nil
}

func bootID() (string, error) {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("cannot read boot id: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}
