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

// backUpOf backs up a profile that holds content, two hours after the last backup, at
// an end for that reason.
func (r *rig) backUpOf(content string, why reason.Code) {
	r.t.Helper()
	r.put(content)
	r.now = r.now.Add(2 * time.Hour)
	r.spawn()
	r.see(time.Second, rpc.PageObserved{Condition: rpc.PageReady, Registered: true, Persisted: true})
	r.AfterStop(r.t.Context(), r.folder, worker.Closing{
		Reason: why, Clean: true, ChromeVersion: "156.0.1.2", Stopping: why == reason.Stopping,
	})
}

// kept are the contents of the kept backups, newest first, with a star for verified
// ones.
func (r *rig) kept() (held []string) {
	r.t.Helper()
	found, err := r.folder.Backups.List()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, s := range found {
		content, err := os.ReadFile(filepath.Join(r.folder.Backups.Path(s), loginFile))
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

func TestBackupIsVerifiedWhenNobodyWaits(t *testing.T) {
	const forBackup, forOther, stop = reason.Maintenance, reason.WorkerReplaced, reason.Stopping
	type made struct {
		content string
		why     reason.Code
	}
	for name, tt := range map[string]struct {
		made             []made
		want             []string
		attempted        []string
		counts, verified bool
	}{
		"it opens":                   {[]made{{"a", forBackup}}, []string{"a*"}, []string{"a"}, true, true},
		"it does not":                {[]made{{"bad", forBackup}}, nil, []string{"bad"}, false, false},
		"that can't be found out":    {[]made{{"odd", forBackup}}, []string{"odd"}, []string{"odd"}, true, false},
		"at a stop":                  {[]made{{"bad", stop}}, []string{"bad"}, nil, true, false},
		"at another planned restart": {[]made{{"bad", forOther}}, []string{"bad"}, nil, true, false},
		"the earlier ones stay": {[]made{{"a", forBackup}, {"b", forBackup}, {"c", forBackup}, {"bad", forBackup}},
			[]string{"c*", "b*", "a*"}, []string{"a", "b", "c", "bad"}, false, true},
		"a good one replaces them": {[]made{{"a", forBackup}, {"b", forBackup}, {"c", forBackup}, {"d", forBackup}},
			[]string{"d*", "c*", "b*"}, []string{"a", "b", "c", "d"}, true, true},
		"unverified ones don't replace the last verified": {[]made{{"a", forBackup}, {"b", stop}, {"c", forOther}, {"d", stop}},
			[]string{"d", "c", "a*"}, []string{"a"}, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			for _, m := range tt.made {
				r.backUpOf(m.content, m.why)
			}
			if got := r.kept(); !slices.Equal(got, tt.want) || !slices.Equal(r.verified, tt.attempted) {
				t.Errorf("backups %v, verified %v", got, r.verified)
			}
			s := r.published()
			if s.BackupAt.Equal(r.now) != tt.counts || s.BackupVerifiedAt.IsZero() == tt.verified {
				t.Errorf("published %+v", s)
			}
			// The next supervisor knows as much.
			r.start()
			if again := r.published(); again != s {
				t.Errorf("then published %+v, before %+v", again, s)
			}
		})
	}
}

func TestBackupIsVerifiedBeforeItIsRestored(t *testing.T) {
	for name, tt := range map[string]struct {
		// oldest first, made at stops but for those with a star
		made     []string
		want     string
		verified []string
	}{
		"the newest opens":                {[]string{"a", "b"}, "b", []string{"b"}},
		"the newest does not":             {[]string{"a", "bad"}, "a", []string{"bad", "a"}},
		"it was verified before":          {[]string{"a", "b*"}, "b", nil},
		"none opens":                      {[]string{"bad", "bad too"}, "torn", []string{"bad too", "bad"}},
		"that can't be found out":         {[]string{"a", "odd"}, "odd", []string{"odd"}},
		"a verified one behind a bad one": {[]string{"a*", "bad"}, "a", []string{"bad"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			for _, content := range tt.made {
				why := reason.Stopping
				bare, verified := strings.CutSuffix(content, "*")
				if verified {
					why = reason.Maintenance
				}
				r.backUpOf(bare, why)
			}
			r.verified = nil
			r.put("torn")
			r.start()
			r.see(time.Second, qrShown)
			r.beat(6 * time.Second)
			r.spawn()
			r.holds(tt.want)
			if !slices.Equal(r.verified, tt.verified) {
				t.Errorf("verified %v", r.verified)
			}
			if s := r.published(); (s.RestoredFrom == "") != (tt.want == "torn") {
				t.Errorf("published %+v", s)
			}
		})
	}
}
