package inbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"session-manager/supervisor/internal/database"
)

// everything lists all events after a cursor once one of them is a gap and all these texts are among them.
func (r *rig) everything(cursor string, texts []string) (list []Event) {
	r.t.Helper()
	for deadline := time.After(time.Minute); ; {
		list, _, _, changed, err := r.List(r.t.Context(), cursor, MaxList)
		if err != nil {
			r.t.Fatal(err)
		}
		isGap := func(e Event) bool { return e.Kind == Gap }
		hasText := func(text string) bool {
			return slices.ContainsFunc(list, func(e Event) bool { return e.Kind == Arrived && e.Text == text })
		}
		if slices.ContainsFunc(list, isGap) && !slices.ContainsFunc(texts, func(text string) bool { return !hasText(text) }) {
			return list
		}
		select {
		case <-changed:
		case <-deadline:
			r.t.Fatalf("%d events: %s", len(list), words(list))
		}
	}
}

// Of a damaged file all is kept that can be read, under its cursors and ids; what the page still has is reported again.
func TestEventsOfADamagedInboxAreSalvaged(t *testing.T) {
	const n, old, size, most = 150, 100, 4096, 40 // rows of a page at most
	r := newRig(t, filepath.Join(t.TempDir(), "inbox"))
	var texts []string
	for i := range n {
		texts = append(texts, fmt.Sprintf("text %d %s", i, strings.Repeat("x", 500)))
	}
	r.page.write(texts...)
	r.start()
	list, _ := r.await("", n)
	r.page.feel(7, "2@c.us", "👍", true)
	r.hint()
	reactions, cursor := r.await(list[n-1].Cursor, 1)
	list = append(list, reactions...)
	r.stop()
	for i := range old { // the page no longer has them, or not as new ones
		r.page.rows[i].At = time.Now().Add(-2 * overlap)
	}
	whole, err := os.ReadFile(r.o.Path)
	if err != nil {
		t.Fatal(err)
	}
	spoil := func(words string) []byte {
		at := bytes.LastIndex(whole, []byte(words)) / size * size
		return slices.Concat(whole[:at], bytes.Repeat([]byte{0xA5}, size), whole[at+size:])
	}
	name := hash(string(r.page.account), string(r.page.rows[50].Key))
	for damage, c := range map[string]struct {
		spoiled []byte // in place of the file; nil if it was moved aside
		change  string // of what was moved aside
		lost    bool   // cursors are
		most    int    // how many of the old ones may be missing
	}{
		"a kill":         {},
		"old texts":      {spoiled: spoil(texts[50]), most: most},
		"new texts":      {spoiled: spoil(texts[120])},
		"events":         {spoiled: spoil(`{"event":"message","event_id":"` + list[60].ID), most: most},
		"messages":       {spoiled: spoil(name + "one_3A50")},
		"settings":       {spoiled: spoil(`{"boot":`), lost: true},
		"everything":     {spoiled: spoil("CREATE TABLE"), lost: true, most: old + 1},
		"wrong sequence": {change: "UPDATE sqlite_sequence SET seq = 1 << 62", lost: true},
		"lost sequence":  {change: "DELETE FROM sqlite_sequence", lost: true},
		"wrong settings": {change: "UPDATE setting SET value = json_set(value, '$.dropped', 1 << 39)", lost: true},
		"wrong times":    {change: "UPDATE event SET kept = 1 << 60"},
		"wrong position": {change: "UPDATE event SET seq = 1 << 62 WHERE seq = 3", most: 1},
	} {
		t.Run(damage, func(t *testing.T) {
			r := &rig{t: t, page: r.page, o: r.o}
			r.replaceFile(whole, c.spoiled, c.change)
			r.start()
			defer func() { r.stop() }()
			r.checkSalvaged(r.everything("", texts[old:]), list, c.most)
			after, _, _, _, err := r.List(t.Context(), cursor, MaxList)
			switch {
			case c.lost && !errors.Is(err, ErrLost):
				t.Errorf("after a cursor that is lost: %v", err)
			case !c.lost && (err != nil || len(after) == 0 || after[0].Kind != Gap):
				t.Errorf("after the cursor: %s, %v", words(after), err)
			}
		})
	}
}

// As long as the disk is full nothing takes the place of what a damaged file has.
func TestSalvageIsRepeatedAfterAFullDisk(t *testing.T) {
	const n = 40
	r := newRig(t, filepath.Join(t.TempDir(), "inbox"))
	for range n {
		r.page.write(strings.Repeat("x", 4000))
	}
	r.start()
	_, cursor := r.await("", n)
	r.stop()
	if _, err := database.MoveAside(r.o.Path); err != nil {
		t.Fatal(err)
	}
	db, err := database.Open(r.o.Path, format)
	if err != nil {
		t.Fatal(err)
	}
	s := newStore(r.o.Path, r.o.Limits, nil, nil)
	errFull := errors.Join(db.Exec("PRAGMA max_page_count = 30"), s.load(db))
	err = errors.Join(db.Exec("PRAGMA max_page_count = 10000"), s.load(db), db.Close())
	if !database.Full(errFull) || err != nil || s.events != n+1 || s.cursor(n) != cursor {
		t.Errorf("%d events, %s is %s; %v, and then %v", s.events, cursor, s.cursor(n), errFull, err)
	}
}

// What was handed on is not known without the settings. Then only events of the last day are handed on again.
func TestOldSalvagedEventsAreNotHandedOnAgain(t *testing.T) {
	r := newRig(t, filepath.Join(t.TempDir(), "inbox"))
	r.page.write("old", "new")
	r.start()
	r.await("", 2)
	r.stop()
	r.page.rows[0].At = time.Now().Add(-2 * overlap)
	changeFile(t, r.o.Path, "DELETE FROM setting", fmt.Sprintf("UPDATE event SET kept = kept - %d WHERE seq = 1", 2*overlap.Milliseconds()))
	if _, err := database.MoveAside(r.o.Path); err != nil {
		t.Fatal(err)
	}
	handed := make(chan []Event, 10)
	r.o.Report = func(_ context.Context, _ string, all []Event) error {
		handed <- all
		return nil
	}
	r.start()
	defer func() { r.stop() }()
	var got []Event
	for len(got) < 2 {
		got = append(got, <-handed...)
	}
	r.expect(got, "new, messages.gap damaged")
}

// replaceFile puts a spoiled file in place of the present one. Without one, a whole one that has changed is moved aside.
func (r *rig) replaceFile(whole, spoiled []byte, change string) {
	r.t.Helper()
	content := whole
	if spoiled != nil {
		content = spoiled
	}
	err := errors.Join(database.Remove(r.o.Path), os.WriteFile(r.o.Path, content, 0o600))
	if err == nil && spoiled == nil {
		changeFile(r.t, r.o.Path, change)
		_, err = database.MoveAside(r.o.Path)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// checkSalvaged checks that events are as they were, of which at most so many are missing.
func (r *rig) checkSalvaged(got, want []Event, most int) {
	r.t.Helper()
	missing := 0
	for _, e := range want {
		at := slices.IndexFunc(got, func(other Event) bool { return other.ID == e.ID })
		if at < 0 {
			missing++
		} else if words(got[at:at+1]) != words([]Event{e}) {
			r.t.Errorf("%s has become %s", encode(e), encode(got[at]))
		}
	}
	if gaps := len(got) - len(want) + missing; missing > most || gaps != 1 {
		r.t.Errorf("%d are missing, %d are new", missing, gaps)
	}
	kept, err := use(r.t.Context(), r.store, func(db *database.DB) ([]int64, error) {
		return database.Values[int64](db, "SELECT max(kept) FROM event UNION ALL SELECT count(*) FROM content WHERE seq NOT IN (SELECT seq FROM event)")
	})
	if err != nil || kept[0] > time.Now().UnixMilli() || kept[1] != 0 {
		r.t.Errorf("would be kept until %d, %d texts for ever, %v", kept[0], kept[1], err)
	}
}
