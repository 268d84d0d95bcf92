package outbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"session-manager/shared/logging"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/database"
	"session-manager/supervisor/internal/logid"
	"session-manager/supervisor/internal/media"
)

// store is the database and the goroutine that alone uses it. What is asked of it at the
// same time is written in one transaction, with one fsync.
type store struct {
	limits Limits
	media  *media.Store // nil without one
	log    *slog.Logger
	// opened receives the messages that wait when the database was opened, and changed each
	// message that has changed, from the store's goroutine.
	opened  func(loaded)
	changed func(change)
	// reporting: what changes is kept until it was reported.
	reporting bool

	wake chan struct{}
	// purging: everything is to be erased before the next job.
	purging atomic.Bool
	// counts is what is kept, as of the last transaction.
	counts atomic.Pointer[counts]

	mu     sync.Mutex
	jobs   []job // guarded by mu
	closed bool  // guarded by mu

	// What follows is owned by the store's goroutine.
	file    database.File
	db      messages // file's, while a batch is done
	failing bool     // the last transaction failed
}

// job is something to be done with the database.
type job struct {
	// read is called outside of a transaction, write within one that may be shared. It may
	// be called again after the transaction has failed.
	read  func(messages) error
	write func(*transaction) error
	// done is called once what was done is on disk, or with an error that matches ErrNoSpace or
	// ErrUnavailable, or ErrUnknownMessage if read returned that. It must not block.
	done func(error)
	// keep: it is tried again until it succeeds, or the store is closed.
	keep bool
	// ended, if it is set, returns an error once nobody waits for it. Then it is not begun.
	ended func() error
}

// counts is how much is kept.
type counts struct {
	byStatus map[Status]int
	bytes    int64
}

// settings are what is kept besides messages.
type settings struct {
	link
	History history `json:"history"`
}

// link is whose messages are sent.
type link struct {
	// Account is empty while it is unknown whose the page is. Alias may belong to Last.
	holder
	// Last is the address of the account before, while the present one is unknown.
	Last string `json:"last,omitempty"`
}

// owner is the account that is linked or, while it is unknown, the one before.
func (l link) owner() rpc.Account { return rpc.AccountAt(l.Account, l.Last, l.Alias) }

// linked is the account that is linked, zero while it is unknown.
func (l link) linked() rpc.Account {
	if l.Account == "" {
		return rpc.Account{}
	}
	return l.owner()
}

// to is l once it is known that an account is linked, or with a zero one that none is. What may
// be another name of the account is one as long as nobody has unlinked the phone.
func (l link) to(a rpc.Account) link {
	before := l.owner()
	switch {
	case a == (rpc.Account{}):
		return link{Last: cmp.Or(l.Account, l.Last), holder: holder{Alias: l.Alias}}
	case before.Is(a), l.Account != "" && !before.Other(a):
		l.Account, l.Last = cmp.Or(l.Account, l.Last), ""
		l.Alias = before.With(a).Alias(l.Account)
		return l
	}
	return link{holder: holder{a.Address(), a.Alias(a.Address())}}
}

const (
	// storePause is the time until the next attempt after a failure.
	storePause = 2 * time.Second
	// maxBatch bounds a transaction, maxJobs what waits for a database that can't be
	// written, and maxAsked what else may be asked then, which may have large texts.
	maxBatch = 500
	maxJobs  = 50_000
	maxAsked = 2000
	// housekeeping is how often what is too old is erased.
	housekeeping = 10 * time.Minute
)

func newStore(o Options) *store {
	s := &store{limits: o.Limits, media: o.Media, log: o.Logger, wake: make(chan struct{}, 1)}
	open := func(db *database.DB) error {
		lost, err := salvage(o.Path, messages{db})
		if lost != nil {
			o.Logger.Warn(logid.OutboxWriteFailed, logging.KeyError, lost)
		}
		if err != nil {
			return err
		}
		return s.load(db)
	}
	s.file = database.File{Path: o.Path, Format: format, Opened: open, MovedAside: func(aside string, err error) {
		s.log.Error(logid.OutboxDamaged, logging.KeyPath, aside, logging.KeyError, err)
	}, RowsAside: func(n int) {
		s.log.Error(logid.RowsDamaged, "count", n, logging.KeyPath, o.Path)
		for range n {
			o.Count("damaged")
		}
	}}
	s.counts.Store(&counts{})
	return s
}

// do has a job done, in order.
func (s *store) do(j job) {
	s.mu.Lock()
	full := s.closed || len(s.jobs) >= maxJobs || !j.keep && len(s.jobs) >= maxAsked
	if !full {
		s.jobs = append(s.jobs, j)
	}
	s.mu.Unlock()
	if full {
		j.finish(ErrUnavailable)
		return
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (j job) finish(err error) {
	if j.done != nil {
		j.done(err)
	}
}

// ask has a job done and waits for it until ctx ends; a job that was not begun by then never is.
// Its error is ctx's, or one that done can get.
func (s *store) ask(ctx context.Context, j job) error {
	j.ended = ctx.Err
	answer, done := make(chan error, 1), j.done
	j.done = func(err error) {
		if done != nil {
			done(err)
		}
		answer <- err
	}
	s.do(j)
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	}
}

// run does jobs until ctx ends, and then what is left.
func (s *store) run(ctx context.Context) {
	defer s.close()
	clean := time.NewTicker(housekeeping)
	defer clean.Stop()
	retry := time.NewTimer(0)
	defer retry.Stop()
	var age clock
	begun := time.Now()
	now := func() time.Time { return age.now(time.Now(), time.Since(begun)) }
	retain := job{write: func(t *transaction) error { return t.retain(s.limits, now()) }, keep: true, done: s.sweep}
	s.do(retain)
	for {
		select {
		case <-ctx.Done():
			return
		case <-clean.C:
			if err := database.ExpireAside(s.file.Path, now().Add(-s.limits.Keep)); err != nil {
				s.log.Warn(logid.OutboxWriteFailed, logging.KeyError, err)
			}
			retain.keep = false
			s.do(retain)
		case <-s.wake:
		case <-retry.C:
		}
		for s.batch() {
			if ctx.Err() != nil {
				break
			}
		}
		if s.failing {
			retry.Reset(storePause)
		}
	}
}

// clock is the time by which messages are old enough to be erased. One that is set forward counts
// once it has stayed so for a day: a message whose key is erased too early could be sent twice.
type clock struct {
	wall time.Time
	at   time.Duration // when it was wall
	// jumped is how long it has been ahead.
	jumped time.Duration
}

// now returns the time when the machine's clock is at wall, so long after the start.
func (c *clock) now(wall time.Time, at time.Duration) time.Time {
	steady, passed := c.wall.Add(at-c.at), at-c.at
	ahead := !c.wall.IsZero() && wall.Sub(steady) > time.Hour
	if c.jumped += passed; !ahead || c.jumped >= day {
		steady, c.jumped = wall, 0
	}
	c.wall, c.at = steady, at
	return steady
}

// close does what is left, once, and closes the database.
func (s *store) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	for s.batch() && !s.failing {
	}
	s.mu.Lock()
	left := s.jobs
	s.jobs = nil
	s.mu.Unlock()
	for _, j := range left {
		j.finish(ErrUnavailable)
	}
	if err := s.file.Close(); err != nil {
		s.log.Warn(logid.OutboxCloseFailed, logging.KeyError, err)
	}
}

// batch does the jobs that are next, and reports whether more are left that can be done now.
func (s *store) batch() bool {
	s.mu.Lock()
	jobs := s.jobs[:min(len(s.jobs), maxBatch)]
	s.jobs = s.jobs[len(jobs):]
	s.mu.Unlock()
	jobs = slices.DeleteFunc(jobs, func(j job) bool {
		ended := j.ended != nil && j.ended() != nil
		if ended {
			j.finish(ErrUnavailable)
		}
		return ended
	})
	err := s.purge()
	if err == nil {
		s.db.DB, err = s.file.Open()
	}
	if err == nil {
		jobs, err = s.read(jobs)
	}
	if err == nil && len(jobs) > 0 {
		err = s.write(jobs)
	}
	if err == nil && s.file.Noticed() { // messages that may wait are no longer there
		jobs, err = nil, s.load(s.db.DB)
	}
	if err == nil {
		s.failing = false
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.jobs) > 0
	}
	s.failed(err)
	var kept []job
	for _, j := range jobs {
		if j.keep {
			kept = append(kept, j)
		} else {
			j.finish(asError(err))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.jobs = append(kept, s.jobs...)
	return false
}

// failed notes that the database could not be used, and reports whether it was closed. One
// cause is logged once.
func (s *store) failed(err error) (closed bool) {
	if !s.failing {
		s.log.Warn(logid.OutboxWriteFailed, logging.KeyError, err)
	}
	s.failing = true
	return s.file.Failed(err)
}

// asError is an error of the database, for those who use the store.
func asError(err error) error {
	if database.Full(err) {
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// read does those of the jobs that read, and returns the others. The error means that the
// database is no longer open.
func (s *store) read(jobs []job) (left []job, err error) {
	for i, j := range jobs {
		if j.read == nil {
			left = append(left, j)
			continue
		}
		err := j.read(s.db)
		if err == nil || errors.Is(err, ErrUnknownMessage) || errors.Is(err, errLost) || errors.Is(err, errClaimed) { // an answer, not a failure
			j.finish(err)
			continue
		}
		closed := s.failed(err)
		j.finish(asError(err))
		if closed {
			return append(left, jobs[i+1:]...), err
		}
	}
	return left, nil
}

// write does jobs, all of them or nothing.
func (s *store) write(jobs []job) error {
	t, err := s.db.transact(*s.counts.Load(), func(t *transaction) error {
		t.reporting = s.reporting
		for _, j := range jobs {
			if err := j.write(t); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.counts.Store(&t.counts)
	for _, c := range t.changed {
		s.changed(c)
	}
	for _, j := range jobs {
		j.finish(nil)
	}
	return nil
}

// sweep removes the files of messages that were erased, and those that never belonged to
// one, unless what was done before has failed.
func (s *store) sweep(err error) {
	if err != nil || s.media == nil {
		return
	}
	if err := s.media.Sweep(s.db.owns); err != nil {
		s.log.Warn(logid.OutboxWriteFailed, logging.KeyError, err)
	}
}

// purge erases everything if that was asked for.
func (s *store) purge() error {
	if !s.purging.Load() {
		return nil
	}
	err := s.file.Remove()
	if s.media != nil {
		err = errors.Join(err, s.media.Sweep(func(string) (bool, error) { return false, nil }))
	}
	s.purging.Store(err != nil)
	return err
}

// load begins with what is kept in a database that was opened.
func (s *store) load(opened *database.DB) error {
	db := messages{opened}
	var c counts
	var l loaded
	var err error
	if l.waiting, err = db.waiting(); err != nil {
		return err
	}
	if l.settings, err = db.settings(); err != nil {
		return err
	}
	if l.people, err = db.people(); err != nil {
		return err
	}
	if c, err = db.count(); err == nil {
		s.counts.Store(&c)
		s.opened(l)
	}
	return err
}

// loaded is what the loop begins with.
type loaded struct {
	waiting  []entry
	settings settings
	// people are the addresses of those who have several.
	people [][]string
}

func (c counts) clone() counts {
	c.byStatus = maps.Clone(c.byStatus)
	if c.byStatus == nil {
		c.byStatus = map[Status]int{}
	}
	return c
}

func (c counts) messages() (all, waiting int) {
	for s, n := range c.byStatus {
		all += n
		if s.waiting() {
			waiting += n
		}
	}
	return all, waiting
}
