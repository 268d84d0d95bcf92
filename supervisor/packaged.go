package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"session-manager/supervisor/internal/config"
	"session-manager/supervisor/internal/installed"
)

// packaged is the installed service that a command means.
type packaged struct {
	service *installed.Service
	below   config.Below
	// user is whose process this is now.
	user string
}

// findPackaged returns the installed service that a command means, and nil if it means none.
// Root has become the service's user then, so that nothing that the command makes is root's.
func findPackaged(args []string) (*packaged, error) {
	if !config.Names(args, "doctor") && !config.Names(args, "session") && !slices.Contains(args, "--print-config") {
		return nil, nil
	}
	return usePackaged(config.InstanceOf(args))
}

// usePackaged returns the installed service with this instance, or nil if instance is empty and
// nothing is installed.
func usePackaged(instance string) (*packaged, error) {
	program, err := os.Executable()
	if err == nil {
		program, err = filepath.EvalSymlinks(program)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot find this program: %w", err)
	}
	service, err := installed.Find(program, instance)
	switch {
	case errors.Is(err, installed.ErrNotInstalled) && instance == "":
		return nil, nil
	case errors.Is(err, installed.ErrNotInstalled):
		return nil, &config.Problem{Name: "--instance", Value: instance, Allowed: err.Error()}
	case err != nil:
		return nil, err
	}
	p := &packaged{service: service}
	if p.below, err = belowOf(service); err != nil {
		return nil, err
	}
	p.user, err = service.Become()
	return p, err
}

// belowOf reads what only root can read.
func belowOf(s *installed.Service) (b config.Below, err error) {
	b.Sources = map[string]string{}
	if b.Credentials, err = s.OpenCredentials(); err != nil {
		return b, err
	}
	for name, path := range b.Credentials {
		b.Sources[path] = s.Credentials[name]
	}
	for _, arg := range s.Args {
		b.Args = append(b.Args, config.Given{Text: arg, Where: s.Name})
	}
	for _, v := range s.Environ {
		b.Environ = append(b.Environ, config.Given{Text: v.Name + "=" + v.Value, Where: v.Where})
	}
	return b, nil
}

// announce writes whose settings are used.
func (p *packaged) announce(cfg *config.Config, w io.Writer) {
	files := p.service.Files
	if cfg != nil && cfg.File != "" {
		files = append(slices.Clone(files), cfg.File)
	}
	as := "as user " + p.user
	if user := p.service.User(); user != "" && user != p.user {
		as += ", while the service is " + user + "; root can act as that user"
	}
	_, _ = fmt.Fprintf(w, "%s: settings of %s (%s), %s\n", filepath.Base(os.Args[0]), p.service.Name, strings.Join(files, ", "), as)
}
