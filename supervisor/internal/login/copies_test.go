package login

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/worker"
)

// copyOf makes a copy of a profile that holds content, two hours after the last one,
// at an end for that reason.
func (r *rig) copyOf(content string, why reason.Code) {
	r.t.Helper()
	r.put(content)
	r.now = r.now.Add(2 * time.Hour)
	r.spawn()
	r.see(time.Second, rpc.PageObserved{Condition: rpc.PageReady, Registered: true, Persisted: true})
	r.AfterStop(r.t.Context(), r.folder, worker.Closing{
		Reason: why, Clean: true, ChromeVersion: "156.0.1.2", Stopping: why == reason.Stopping,
	})
}

// copies are what the kept copies hold, newest first, those that were opened on
// trial with a star.
func (r *rig) copies() (held []string) {
	r.t.Helper()
	found, err := r.folder.Backups.List()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, s := range found {
		content, err := os.ReadFile(filepath.Join(r.folder.Backups.Path(s), "Default", "login"))
		if err != nil {
			r.t.Fatal(err)
		}
		star := ""
		if !s.VerifiedAt.IsZero() {
			star = "*"
		}
		held = append(held, string(content)+star)
	}
	return held
}

func TestCopyIsOpenedOnTrialWhenNobodyWaits(t *testing.T) {
	const forCopy, forOther, stop = reason.Maintenance, reason.WorkerReplaced, reason.Stopping
	type made struct {
		content string
		why     reason.Code
	}
	for name, tt := range map[string]struct {
		made             []made
		want             []string
		opened           []string
		counts, verified bool
	}{
		"it opens":                   {[]made{{"a", forCopy}}, []string{"a*"}, []string{"a"}, true, true},
		"it does not":                {[]made{{"bad", forCopy}}, nil, []string{"bad"}, false, false},
		"that can't be found out":    {[]made{{"odd", forCopy}}, []string{"odd"}, []string{"odd"}, true, false},
		"at a stop":                  {[]made{{"bad", stop}}, []string{"bad"}, nil, true, false},
		"at another planned restart": {[]made{{"bad", forOther}}, []string{"bad"}, nil, true, false},
		"the earlier ones stay": {[]made{{"a", forCopy}, {"b", forCopy}, {"c", forCopy}, {"bad", forCopy}},
			[]string{"c*", "b*", "a*"}, []string{"a", "b", "c", "bad"}, false, true},
		"a good one replaces them": {[]made{{"a", forCopy}, {"b", forCopy}, {"c", forCopy}, {"d", forCopy}},
			[]string{"d*", "c*", "b*"}, []string{"a", "b", "c", "d"}, true, true},
		"many others spare the last one": {[]made{{"a", forCopy}, {"b", stop}, {"c", forOther}, {"d", stop}},
			[]string{"d", "c", "a*"}, []string{"a"}, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			for _, m := range tt.made {
				r.copyOf(m.content, m.why)
			}
			if got := r.copies(); !slices.Equal(got, tt.want) || !slices.Equal(r.opened, tt.opened) {
				t.Errorf("copies %v, opened %v", got, r.opened)
			}
			s := r.told()
			if s.SnapshotAt.Equal(r.now) != tt.counts || s.SnapshotVerifiedAt.IsZero() == tt.verified {
				t.Errorf("told %+v", s)
			}
			// The next supervisor knows as much.
			r.start()
			if again := r.told(); again != s {
				t.Errorf("then told %+v, before %+v", again, s)
			}
		})
	}
}

func TestCopyIsOpenedOnTrialBeforeItIsBroughtBack(t *testing.T) {
	for name, tt := range map[string]struct {
		// oldest first, made at stops but for those with a star
		made   []string
		want   string
		opened []string
	}{
		"the newest opens":             {[]string{"a", "b"}, "b", []string{"b"}},
		"the newest does not":          {[]string{"a", "bad"}, "a", []string{"bad", "a"}},
		"it was opened before":         {[]string{"a", "b*"}, "b", nil},
		"none opens":                   {[]string{"bad", "bad too"}, "torn", []string{"bad too", "bad"}},
		"that can't be found out":      {[]string{"a", "odd"}, "odd", []string{"odd"}},
		"a verified one behind a lost": {[]string{"a*", "bad"}, "a", []string{"bad"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			for _, content := range tt.made {
				why := reason.Stopping
				bare, verified := strings.CutSuffix(content, "*")
				if verified {
					why = reason.Maintenance
				}
				r.copyOf(bare, why)
			}
			r.opened = nil
			r.put("torn")
			r.start()
			r.see(time.Second, aQR)
			r.beat(6 * time.Second)
			r.spawn()
			r.holds(tt.want)
			if !slices.Equal(r.opened, tt.opened) {
				t.Errorf("opened %v", r.opened)
			}
			if s := r.told(); (s.RestoredFrom == "") != (tt.want == "torn") {
				t.Errorf("told %+v", s)
			}
		})
	}
}
