package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"session-manager/scripts/harness"
	"session-manager/shared/chrome"
	"session-manager/shared/chrome/chrometest"
	"session-manager/shared/rpc"
)

func TestMain(m *testing.M) {
	if rpc.StartedAsWorker() {
		main()
		return
	}
	os.Exit(m.Run())
}

// sample is one fault of each kind, in the order of the catalogue; make chaos injects
// them all. Every other one is injected while an account is linked.
var sample = []string{
	"worker killed",
	"Chrome killed",
	"renderer killed",
	"page in an endless loop",
	"page floods the console",
	"network lost",
	"worker binary replaced by half of one, and then by a whole one",
	"worker deadlocked",
	"disk full",
	"no file descriptors left",
	"Chrome exits at once",
	"the profile is a link to nowhere",
	"a foreign Chrome has the profile",
	"supervisor terminated three times at once",
	"supervisor killed, a lock left that is a file",
}

// inChrome are those that depend on the engine: chrome-headless-shell has no locks of its own, and
// on a busy machine it answers nothing for seconds while a page floods it. The others hit the engine
// that costs least.
var inChrome = []string{"page floods the console", "a foreign Chrome has the profile", "supervisor killed, a lock left that is a file"}

func needsChrome(f fault) bool { return slices.Contains(inChrome, f.name) }

// What happened counts in the sample, not how fast: tests run next to it. A service is hit
// in each state, side by side: most of a fault is waiting for it to be detected.
func TestFaultsCostNoRequestAndNoLogin(t *testing.T) {
	if _, err := chrome.Find(""); err != nil {
		t.Skip(err)
	}
	binaries, err := harness.Build(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	o := options{
		Binaries: binaries, speed: 4, stopLimit: time.Minute,
		pause: 50 * time.Millisecond, // the processors are for the services, and for other tests
	}
	all := slices.DeleteFunc(catalogue(), func(f fault) bool { return !slices.Contains(sample, f.name) })
	if len(all) != len(sample) {
		t.Fatalf("%d of %d faults are in the catalogue", len(all), len(sample))
	}
	states := []string{"QR", "READY"}
	var running sync.WaitGroup
	for i, state := range states {
		var faults []fault
		for ; i < len(all); i += len(states) {
			faults = append(faults, all[i])
		}
		light := slices.DeleteFunc(slices.Clone(faults), needsChrome)
		heavy := slices.DeleteFunc(faults, func(f fault) bool { return !needsChrome(f) })
		faults = append(light, heavy...) // each change of the engine costs a start
		running.Go(func() {
			t.Run(state, func(t *testing.T) { injectEach(t, o, state == "READY", faults) })
		})
	}
	running.Wait()
}

// injectEach injects one fault after the other on a service, which is restarted
// where one would not leave the next what it needs.
func injectEach(t *testing.T, o options, linked bool, faults []fault) {
	s, err := newStage(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	must := func(t *testing.T, from int64, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%v\nlog of the service:\n%s", err, s.logSince(from))
		}
	}
	_, err = s.useEngineFor(faults[0])
	must(t, 0, err)
	_, err = s.fresh(t.Context(), nil)
	must(t, 0, err)
	if linked {
		must(t, 0, s.link(t.Context()))
	}
	var rep report
	fresh := false
	for _, f := range faults {
		changed, err := s.useEngineFor(f)
		must(t, s.logged(), err)
		fresh = fresh || changed || !f.random
		s.hurried = !fresh
		from := s.logged()
		passed := t.Run(f.name, func(t *testing.T) {
			err = s.round(t.Context(), io.Discard, f, &rep, fresh)
			must(t, from, err)
			row := rep.rows[len(rep.rows)-1]
			row.tally.Longest, row.cold = 0, 0
			if row.skipped != "" {
				t.Skip(row.skipped)
			}
			if missed := row.missed(); len(missed) > 0 {
				t.Errorf("%s\nlog of the service:\n%s", strings.Join(missed, "; "), s.logSince(from))
			}
			if row.tally.Asked == 0 {
				t.Error("nobody asked")
			}
		})
		if err != nil {
			return // the rest can't be injected
		}
		fresh = !passed || !f.random
	}
	if s.service == nil {
		from := s.logged()
		_, err = s.fresh(t.Context(), nil)
		must(t, from, err)
	}
	s.mustLeaveNothing(t)
}

func (s *stage) mustLeaveNothing(t *testing.T) {
	t.Helper()
	if left := s.stopAndInspect(); len(left) > 0 {
		t.Errorf("left at the end: %v", left)
	}
}

// useEngineFor has a fault hit the browser that it needs, and reports whether that is another one
// than before: the service is stopped then.
func (s *stage) useEngineFor(f fault) (changed bool, err error) {
	setting := chrometest.Light()
	if needsChrome(f) {
		setting = ""
	}
	found, err := chrome.Find(setting)
	if err != nil || found.Path == s.files.browser {
		return false, err
	}
	s.files.browser = found.Path
	return true, errors.Join(s.stop(), s.files.restoreChrome())
}

// logged is how much the service has logged so far, and logSince what it has logged
// since then, or the end of that.
func (s *stage) logged() int64 {
	info, err := os.Stat(filepath.Join(s.files.root, "log"))
	if err != nil {
		return 0
	}
	return info.Size()
}

func (s *stage) logSince(from int64) []byte {
	log, _ := os.ReadFile(filepath.Join(s.files.root, "log"))
	log = log[min(from, int64(len(log))):]
	return log[max(0, len(log)-32<<10):]
}

func TestRowReportsMissedGoals(t *testing.T) {
	good := row{
		fault: fault{expect: restarts, reasons: []string{"b", "c"}}, cold: time.Second, tally: harness.Tally{Asked: 9, Longest: slowest},
		reasons: []string{"a", "b"}, back: 2300 * time.Millisecond, delay: time.Second,
	}
	tests := map[string]struct {
		change func(*row)
		missed string
	}{
		"good":                     {func(*row) {}, ""},
		"a failed request":         {func(r *row) { r.tally.Failed, r.tally.First = 1, "refused" }, "1 requests failed: refused"},
		"a slow answer":            {func(r *row) { r.tally.Longest += time.Millisecond }, "an answer took 251ms"},
		"excused of both":          {func(r *row) { r.fault.excused, r.tally.Failed, r.tally.Longest = true, 1, time.Hour }, ""},
		"no name":                  {func(r *row) { r.reasons = []string{"a"} }, "the cause was not named b or c"},
		"nothing to name":          {func(r *row) { r.reasons, r.fault.reasons = nil, nil }, ""},
		"late":                     {func(r *row) { r.back += time.Millisecond }, "back after 2.301s, the bound is 2.3s"},
		"late, in the page's time": {func(r *row) { r.back, r.fault.expect = time.Hour, waits }, ""},
		"something left":           {func(r *row) { r.left = []string{"x"} }, "left: x"},
		"linked again":             {func(r *row) { r.loginLost = true }, "the login was lost"},
		"an error":                 {func(r *row) { r.err = "e" }, "e"},
		"skipped":                  {func(r *row) { r.skipped, r.err = "no", "e" }, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := good
			tt.change(&r)
			if got := strings.Join(r.missed(), "; "); got != tt.missed {
				t.Errorf("missed() = %q, want %q", got, tt.missed)
			}
		})
	}
}

func TestGrowthHasBounds(t *testing.T) {
	from := harness.Size{Memory: 30 << 20, Goroutines: 40, Files: 20}
	for to, want := range map[harness.Size]string{
		from: "",
		{Memory: 10 << 20, Goroutines: 10, Files: 5}:                                                                  "",
		{Memory: 30<<20 + harness.MoreMemory, Goroutines: 40 + harness.MoreGoroutines, Files: 20 + harness.MoreFiles}: "",
		{Memory: 60 << 20, Goroutines: 60, Files: 40}:                                                                 "20 goroutines more, 20 files more, 30 MiB more",
	} {
		if got := (growth{from, to}).excess(); got != want {
			t.Errorf("excess() = %q, want %q", got, want)
		}
	}
}

func TestFaultNamesAreDistinctAndListed(t *testing.T) {
	var out strings.Builder
	if err := run(context.Background(), []string{"--list"}, &out); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, f := range catalogue() {
		if seen[f.name] || !strings.Contains(out.String(), f.name+"\n") {
			t.Errorf("%s is there twice, or not listed", f.name)
		}
		seen[f.name] = true
	}
}
