// Package crash keeps a report of each abnormal exit of a worker, and of each
// incident in which the page could not be understood. A report is a folder,
// bounded in number and size, readable by the service's user only, and free of QR
// payloads, pairing codes and phone numbers.
package crash

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"github.com/google/renameio/v2"

	"session-manager/supervisor/internal/session"
	"session-manager/supervisor/internal/smallfile"
)

const (
	// keep is how many reports are kept.
	keep = 20
	// maxFile bounds one file of a report.
	maxFile = 4 << 20

	reportFile       = "report.json"
	unfinishedPrefix = ".unfinished-"
)

// ErrNotFound means that there is no such report, or no such file in it.
var ErrNotFound = errors.New("there is no such report")

// Kind of a report.
type Kind string

// Kinds.
const (
	// Exit is the abnormal exit of a worker.
	Exit Kind = "exit"
	// Incident is a page that responds and cannot be used.
	Incident Kind = "incident"
)

// Report describes what happened. It is stored as report.json, and holds no secret.
type Report struct {
	ID   string `json:"id"`
	Kind Kind   `json:"kind"`
	// Exit is how the worker exited. Of an incident it has only the generation, the
	// time, the reason and the detail.
	session.Exit
	Message string `json:"message"`
	// StateBefore and Phase are what the session and the worker were in.
	StateBefore session.State `json:"state_before"`
	Phase       string        `json:"phase"`

	// URL, without its query, and Readers are what the page of an incident showed.
	URL     string   `json:"url,omitempty"`
	Readers []Reader `json:"readers,omitempty"`

	Versions Versions `json:"versions"`
	// WorkerBytes is the memory of the worker's process tree at its last heartbeat.
	WorkerBytes uint64 `json:"worker_bytes,omitempty"`
	// Timeline holds the steps that led here, the newest last.
	Timeline []Step `json:"timeline"`
	// Files are the names of the files next to report.json.
	Files []string `json:"files"`
}

// Versions of what took part.
type Versions struct {
	Service string `json:"service"`
	Browser string `json:"browser,omitempty"`
	Page    string `json:"page,omitempty"`
	// UserAgent is what Chrome sends to the page.
	UserAgent string `json:"user_agent,omitempty"`
}

// Reader is what one of the readers of the page saw last.
type Reader struct {
	Name string `json:"name"`
	Saw  string `json:"saw"`
}

// Step is one entry of a timeline.
type Step struct {
	At    time.Time `json:"at"`
	Event string    `json:"event"`
	Text  string    `json:"text,omitempty"`
}

// Store is a folder of reports. Its methods may be called from any goroutine,
// Add from one at a time.
type Store struct{ dir string }

// NewStore returns the store in dir, which is created when it is needed.
func NewStore(dir string) *Store { return &Store{dir: dir} }

// idForm is the form of an id, which cannot leave the folder, and longestID how many bytes
// it has at most.
var idForm = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z_.-]*$`)

const longestID = 100

func validID(id string) bool { return len(id) <= longestID && idForm.MatchString(id) }

// Add writes r with its files, removes what is too old, and returns r's new ID. A
// report is stored whole or not at all.
func (s *Store) Add(r Report, files map[string][]byte) (string, error) {
	r.ID = fmt.Sprintf("%s-gen%d-%s", r.At.UTC().Format("20060102T150405.000Z"), r.Generation, r.Reason)
	all := map[string][]byte{}
	for name, content := range files {
		if len(content) > 0 {
			all[name] = content[:min(len(content), maxFile)]
			r.Files = append(r.Files, name)
		}
	}
	slices.Sort(r.Files)
	var err error
	if all[reportFile], err = json.MarshalIndent(r, "", "  "); err != nil {
		return "", fmt.Errorf("cannot encode report: %w", err)
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return "", fmt.Errorf("cannot create folder for reports: %w", err)
	}
	unfinished, err := os.MkdirTemp(s.dir, unfinishedPrefix)
	if err != nil {
		return "", fmt.Errorf("cannot create report: %w", err)
	}
	defer func() { _ = os.RemoveAll(unfinished) }()
	for name, content := range all {
		if err := renameio.WriteFile(filepath.Join(unfinished, name), content, 0o600); err != nil {
			return "", fmt.Errorf("cannot write report: %w", err)
		}
	}
	if err := os.Rename(unfinished, filepath.Join(s.dir, r.ID)); err != nil {
		return "", fmt.Errorf("cannot rename report: %w", err)
	}
	return r.ID, s.prune()
}

// prune removes the oldest reports, and unfinished ones that a crash left behind.
func (s *Store) prune() error {
	ids, err := s.ids()
	if err != nil {
		return err
	}
	old, _ := filepath.Glob(filepath.Join(s.dir, unfinishedPrefix+"*")) // the pattern is valid
	for _, id := range ids[min(keep, len(ids)):] {
		old = append(old, filepath.Join(s.dir, id))
	}
	for _, path := range old {
		err = errors.Join(err, os.RemoveAll(path))
	}
	if err != nil {
		return fmt.Errorf("cannot remove old reports: %w", err)
	}
	return nil
}

// ids returns the ids of the reports, the newest first: they begin with the time.
func (s *Store) ids() ([]string, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot list reports: %w", err)
	}
	var ids []string
	for _, e := range slices.Backward(entries) {
		if e.IsDir() && validID(e.Name()) {
			ids = append(ids, e.Name())
		}
	}
	return ids, nil
}

// List returns the reports, the newest first, without those that cannot be read.
func (s *Store) List() ([]Report, error) {
	ids, err := s.ids()
	if err != nil {
		return nil, err
	}
	reports := []Report{}
	for _, id := range ids {
		if r, err := s.Get(id); err == nil {
			reports = append(reports, r)
		}
	}
	return reports, nil
}

// Get returns one report. Its error matches ErrNotFound if there is no such report.
func (s *Store) Get(id string) (Report, error) {
	content, err := s.read(id, reportFile)
	if err != nil {
		return Report{}, err
	}
	var r Report
	if err := json.Unmarshal(content, &r); err != nil {
		return Report{}, fmt.Errorf("cannot decode report %s: %w", id, err)
	}
	return r, nil
}

// File returns one of a report's files. Its error matches ErrNotFound if there is
// no such report, or no such file in it.
func (s *Store) File(id, name string) ([]byte, error) {
	r, err := s.Get(id)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(r.Files, name) {
		return nil, fmt.Errorf("file %.60q: %w", name, ErrNotFound)
	}
	return s.read(id, name)
}

func (s *Store) read(id, name string) ([]byte, error) {
	if !validID(id) || !validID(name) {
		return nil, fmt.Errorf("report %.60q: %w", id, ErrNotFound)
	}
	content, err := smallfile.ReadSoon(context.Background(), filepath.Join(s.dir, id, name), maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("report %s: %w", id, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read report: %w", err)
	}
	return content, nil
}
