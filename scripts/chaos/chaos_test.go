package main

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"session-manager/scripts/harness"
	"session-manager/shared/rpc"
)

func TestMain(m *testing.M) {
	if rpc.StartedAsWorker() {
		main()
		return
	}
	os.Exit(m.Run())
}

// services is how many are hit side by side in each state: most of a fault is waiting
// for it to be noticed.
const services = 2

// TestEveryFaultCostsNoRequestNoLoginAndLeavesNothing is the deterministic part, every
// other fault on a linked account. It judges what happened, not how fast: tests run
// beside it. For the same reason it leaves out what would hit them, too.
func TestEveryFaultCostsNoRequestNoLoginAndLeavesNothing(t *testing.T) {
	if _, err := findBrowser(""); err != nil {
		t.Skip(err)
	}
	bin := t.TempDir()
	for _, name := range []string{"supervisor", "worker"} {
		out, err := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(bin, name), "session-manager/"+name).CombinedOutput()
		if err != nil {
			t.Fatalf("go build %s: %v\n%s", name, err, out)
		}
	}
	o := options{
		supervisor: filepath.Join(bin, "supervisor"), worker: filepath.Join(bin, "worker"), speed: 4,
		soon:  time.Minute,
		pause: 50 * time.Millisecond, // the processors are for the services, and for other tests
	}
	all := slices.DeleteFunc(catalogue(), func(f fault) bool { return f.everywhere })
	states := []string{"QR", "READY"}
	var running sync.WaitGroup
	for i, state := range states {
		faults := make(chan fault, len(all))
		for ; i < len(all); i += len(states) {
			faults <- all[i]
		}
		close(faults)
		for range services {
			running.Go(func() {
				t.Run(state, func(t *testing.T) { bringAbout(t, o, state == "READY", faults) })
			})
		}
	}
	running.Wait()
}

// bringAbout brings one fault after the other upon a service, which is started anew
// where one would not leave the next what it needs.
func bringAbout(t *testing.T, o options, linked bool, faults <-chan fault) {
	r, err := newRig(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.close)
	must := func(t *testing.T, from int64, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%v\nlog of the service:\n%s", err, r.logSince(from))
		}
	}
	_, err = r.fresh(t.Context(), nil)
	must(t, 0, err)
	if linked {
		must(t, 0, r.link(t.Context()))
	}
	var rep report
	fresh := false
	for f := range faults {
		fresh = fresh || !f.random
		r.hurried = !fresh
		from := r.logged()
		passed := t.Run(f.name, func(t *testing.T) {
			err = r.round(t.Context(), io.Discard, f, &rep, fresh)
			must(t, from, err)
			row := rep.Rows[len(rep.Rows)-1]
			row.Tally.Longest, row.cold = 0, 0
			if row.Skipped != "" {
				t.Skip(row.Skipped)
			}
			if missed := row.judge(); len(missed) > 0 {
				t.Errorf("%s\nlog of the service:\n%s", strings.Join(missed, "; "), r.logSince(from))
			}
			if row.Tally.Asked == 0 {
				t.Error("nobody asked")
			}
		})
		if err != nil {
			return // others bring the rest about
		}
		fresh = !passed || !f.random
	}
	from := r.logged()
	_, err = r.fresh(t.Context(), nil)
	must(t, from, err)
	if left := r.atTheEnd(); len(left) > 0 {
		t.Errorf("left at the end: %v", left)
	}
}

// logged is how much the service has logged so far, and logSince what it has logged
// since then, or the end of that.
func (r *rig) logged() int64 {
	info, err := os.Stat(r.places.log)
	if err != nil {
		return 0
	}
	return info.Size()
}

func (r *rig) logSince(from int64) []byte {
	log, _ := os.ReadFile(r.places.log)
	log = log[min(from, int64(len(log))):]
	return log[max(0, len(log)-32<<10):]
}

func TestRowIsJudgedByTheGoals(t *testing.T) {
	good := row{Expect: restarts, Tally: tally{Asked: 9, Longest: slowest}, Reasons: []string{"a", "b"}, wanted: []string{"b", "c"},
		Back: 2300 * time.Millisecond, Delay: time.Second, cold: time.Second}
	tests := map[string]struct {
		change func(*row)
		missed string
	}{
		"good":                     {func(*row) {}, ""},
		"a failed request":         {func(r *row) { r.Tally.Failed, r.Tally.First = 1, "refused" }, "1 requests failed: refused"},
		"a slow answer":            {func(r *row) { r.Tally.Longest += time.Millisecond }, "an answer took 251ms"},
		"excused of both":          {func(r *row) { r.excused, r.Tally.Failed, r.Tally.Longest = true, 1, time.Hour }, ""},
		"no name":                  {func(r *row) { r.Reasons = []string{"a"} }, "the cause was not named b or c"},
		"nothing to name":          {func(r *row) { r.Reasons, r.wanted = nil, nil }, ""},
		"late":                     {func(r *row) { r.Back += time.Millisecond }, "back after 2.301s, the bound is 2.3s"},
		"late, in the page's time": {func(r *row) { r.Back, r.Expect = time.Hour, waits }, ""},
		"something left":           {func(r *row) { r.Left = []string{"x"} }, "left: x"},
		"linked anew":              {func(r *row) { r.Relogin = true }, "the login was lost"},
		"an error":                 {func(r *row) { r.Error = "e" }, "e"},
		"skipped":                  {func(r *row) { r.Skipped, r.Error = "no", "e" }, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := good
			tt.change(&r)
			if got := strings.Join(r.judge(), "; "); got != tt.missed {
				t.Errorf("judge() = %q, want %q", got, tt.missed)
			}
		})
	}
}

func TestGrowthHasBounds(t *testing.T) {
	from := harness.Size{RSS: 30 << 20, Goroutines: 40, Files: 20}
	for to, want := range map[harness.Size]string{
		from: "",
		{RSS: 10 << 20, Goroutines: 10, Files: 5}: "",
		{RSS: 30<<20 + harness.MoreRSS, Goroutines: 40 + harness.MoreGoroutines, Files: 20 + harness.MoreFiles}: "",
		{RSS: 60 << 20, Goroutines: 60, Files: 40}:                                                              "20 goroutines more, 20 files more, 30 MiB more",
	} {
		if got := (growth{from, to}).tooMuch(); got != want {
			t.Errorf("tooMuch() = %q, want %q", got, want)
		}
	}
}

func TestFaultsHaveDistinctNamesAndListIsComplete(t *testing.T) {
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
