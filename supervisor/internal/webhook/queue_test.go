package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/database"
)

// waiting is a queue without a sender.
func waiting(t *testing.T, path string, l Limits) *queue {
	t.Helper()
	q := newQueue(path, l, slog.New(slog.DiscardHandler))
	q.dropped, q.damaged = func() {}, func() {}
	q.announcement = func(l lost) row {
		body, _ := json.Marshal(l)
		return row{id: "dropped", kind: Dropped, chat: Dropped, body: body}
	}
	t.Cleanup(func() { _ = q.close(context.Background()) })
	return q
}

// put keeps an event with this id.
func (q *queue) put(t *testing.T, account, chat string, ids ...string) {
	t.Helper()
	for _, id := range ids {
		kind := "message.status"
		if chat == "" {
			kind = State
		}
		r := row{id: id, kind: kind, chat: chat, account: account, body: []byte(strconv.Quote("body of " + id))}
		if err := q.keep(t.Context(), rpc.Account{}, []row{r}, nil, 0); err != nil {
			t.Fatal(err)
		}
	}
}

// drain delivers what may be delivered, and returns the ids.
func (q *queue) drain(t *testing.T, held ...string) (ids []string) {
	t.Helper()
	for {
		r, ok, err := q.next(t.Context(), held)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return ids
		}
		if r.kind == Dropped {
			var l lost
			if err := json.Unmarshal(r.body, &l); err != nil || l.First.IsZero() || l.Last.Before(l.First) {
				t.Errorf("%s: %v", r.body, err)
			}
			ids = append(ids, fmt.Sprint(l.Count, l.Reasons))
		} else if string(r.body) != strconv.Quote("body of "+r.id) {
			t.Errorf("%s has the body %q", r.id, r.body)
		}
		if r.kind != Dropped {
			ids = append(ids, r.id)
		}
		if err := q.delivered(t.Context(), r.id); err != nil {
			t.Fatal(err)
		}
	}
}

func expect(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestChatThatIsHeldDelaysNoOther(t *testing.T) {
	q := waiting(t, filepath.Join(t.TempDir(), "q"), DefaultLimits())
	q.put(t, "1@c.us", "a", "a1", "a2")
	q.put(t, "", "", "s1")
	q.put(t, "1@c.us", "b", "b1")
	q.put(t, "1@c.us", "a", "a1") // waits already
	expect(t, q.drain(t, "a"), "s1", "b1")
	expect(t, q.drain(t), "a1", "a2")
	expect(t, q.drain(t))
}

func TestOldestIsDroppedAndThePresentKept(t *testing.T) {
	l := DefaultLimits()
	l.Events = 4
	path := filepath.Join(t.TempDir(), "q")
	q := waiting(t, path, l)
	q.put(t, "", "", "s1", "s2")
	q.put(t, "", "a", "a1", "a2", "a3", "a4", "a5")
	if err := q.close(t.Context()); err != nil { // what was dropped is not forgotten
		t.Fatal(err)
	}
	q = waiting(t, path, l)
	expect(t, q.drain(t), "3 map[too_many_minor:3]", "s1", "s2", "a4", "a5")

	l.Bytes = 100
	q.limits = l
	big := row{id: "big", kind: "message", chat: "a", body: bytes.Repeat([]byte("x"), 200)}
	if err := q.keep(t.Context(), rpc.Account{}, []row{big}, nil, 0); err != nil {
		t.Fatal(err)
	}
	q.put(t, "", "a", "small")
	expect(t, q.drain(t), "1 map[too_many:1]", "small")

	q.put(t, "", "", "s3", "s4")
	q.put(t, "", "a", "old")
	if err := q.retain(t.Context(), time.Now().Add(l.Age-time.Minute)); err != nil {
		t.Fatal(err)
	}
	if q.events != 3 {
		t.Errorf("%d are left", q.events)
	}
	if err := q.retain(t.Context(), time.Now().Add(l.Age+time.Minute)); err != nil {
		t.Fatal(err)
	}
	expect(t, q.drain(t), "2 map[too_old:2]", "s4")
	if q.events != 0 || q.bytes != 0 {
		t.Errorf("counted wrong: %d events, %d bytes", q.events, q.bytes)
	}
}

// A flood of reactions pushes out no message.
func TestMinorEventsAreDroppedFirst(t *testing.T) {
	l := DefaultLimits()
	l.Events = 4
	q := waiting(t, filepath.Join(t.TempDir(), "q"), l)
	n := 0
	keep := func(kinds ...string) {
		t.Helper()
		for _, kind := range kinds {
			n++
			id := kind + strconv.Itoa(n)
			if err := q.keep(t.Context(), rpc.Account{}, []row{{id: id, kind: kind, chat: "a", body: []byte(strconv.Quote("body of " + id))}}, nil, 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	keep("message", "message.reaction", "message.edited", "message.acknowledged", "message.status", "messages.gap", "message.revoked", "message.reaction")
	expect(t, q.drain(t), "4 map[too_many_minor:4]", "message1", "message.edited3", "messages.gap6", "message.revoked7")
	keep("message", "message", "message", "message", "message", "message.status")
	expect(t, q.drain(t), "2 map[too_many:1 too_many_minor:1]", "message10", "message11", "message12", "message13")
}

// Each of the names that were known of an account when an event was kept counts.
func TestNothingOfAnotherNameIsDelivered(t *testing.T) {
	q := waiting(t, filepath.Join(t.TempDir(), "q"), DefaultLimits())
	for _, account := range []string{"1@c.us 8@lid", "1@c.us", "8@lid", "2@c.us 9@lid", "2@c.us", "9@lid"} {
		q.put(t, account, "x", account)
	}
	if err := q.keep(t.Context(), rpc.AccountNamed("2@c.us"), nil, nil, 0); err != nil {
		t.Fatal(err)
	}
	if err := q.keep(t.Context(), rpc.AccountNamed("2@c.us 9@lid"), nil, nil, 0); err != nil {
		t.Fatal(err)
	}
	expect(t, q.drain(t), "3 map[account_changed:3]", "2@c.us 9@lid", "2@c.us", "9@lid")
}

func TestNothingOfAnEarlierAccountIsDelivered(t *testing.T) {
	const a, b, lid = "1@c.us", "2@c.us", "3@lid"
	path := filepath.Join(t.TempDir(), "q")
	q := waiting(t, path, DefaultLimits())
	link := func(account string) {
		t.Helper()
		if err := q.keep(t.Context(), rpc.AccountNamed(account), nil, nil, 0); err != nil {
			t.Fatal(err)
		}
	}
	q.put(t, a, "x", "before a is known")
	link(a)
	q.put(t, a, "x", "of a")
	q.put(t, lid, "x", "of a, by its LID")
	q.put(t, "", "", "session")
	q.put(t, b, "x", "of b, early")
	link("")
	link(a)
	expect(t, q.drain(t), "before a is known", "of a", "of a, by its LID", "session")

	q.put(t, a, "x", "late")
	q.put(t, "", "x", "failed, as the account has changed")
	link(b)
	q.put(t, a, "x", "later")
	if err := q.close(t.Context()); err != nil {
		t.Fatal(err)
	}
	q = waiting(t, path, DefaultLimits())
	q.put(t, a, "x", "much later")
	expect(t, q.drain(t), "1 map[account_changed:1]", "of b, early", "failed, as the account has changed")
	if err := q.retain(t.Context(), time.Now().Add(2*changeGrace)); err != nil {
		t.Fatal(err)
	}
	expect(t, q.drain(t), "2 map[account_changed:2]")

	q.put(t, "", "", "session")
	q.put(t, b, "x", "to be erased")
	q.put(t, "", "x", "to be erased, too")
	if err := q.forget(t.Context()); err != nil {
		t.Fatal(err)
	}
	expect(t, q.drain(t), "2 map[erased:2]", "session")
}

// holds reports whether any file of a queue, which are private, has a text.
func holds(t *testing.T, path, text string) (found bool) {
	t.Helper()
	names, _ := filepath.Glob(path + "*")
	for _, name := range names {
		content, err := os.ReadFile(name)
		info, statErr := os.Stat(name)
		if err != nil || statErr != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v %v %v", err, statErr, info.Mode())
		}
		found = found || bytes.Contains(content, []byte(text))
	}
	return found
}

func TestDeliveredEventIsErasedFromDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "q")
	q := waiting(t, path, DefaultLimits())
	r := row{id: "a", kind: "message", chat: "x", account: "1@c.us", body: []byte("the treasure is buried")}
	if err := q.keep(t.Context(), rpc.Account{}, []row{r}, nil, 0); err != nil || !holds(t, path, "treasure") {
		t.Fatalf("it is not on disk: %v", err)
	}
	if err := q.delivered(t.Context(), "a"); err != nil || holds(t, path, "treasure") {
		t.Errorf("it is still there: %v", err)
	}
}

func TestSetAsideEventIsErasedWithMessages(t *testing.T) {
	path := filepath.Join(t.TempDir(), "q")
	q := waiting(t, path, DefaultLimits())
	q.put(t, "", "", "session")
	damaged := row{id: "a", kind: "message", chat: "x", account: "1@c.us", body: []byte("{the treasure is buried")}
	if err := q.keep(t.Context(), rpc.Account{}, []row{damaged}, nil, 0); err != nil {
		t.Fatal(err)
	}
	q.drain(t)
	if err := os.WriteFile(path+database.AsideSuffix, damaged.body, 0o600); err != nil || !holds(t, path, "treasure") {
		t.Fatalf("it was not set aside: %v", err)
	}
	if err := q.forget(t.Context()); err != nil || holds(t, path, "treasure") {
		t.Errorf("it is still there: %v", err)
	}
}

func TestDamagedQueueIsMovedAside(t *testing.T) {
	for name, put := range map[string]func(path string) error{
		"not a database": func(path string) error { return os.WriteFile(path, bytes.Repeat([]byte("x"), 9000), 0o600) },
		"a folder":       func(path string) error { return os.MkdirAll(filepath.Join(path, "x"), 0o700) },
		"a pipe":         func(path string) error { return unix.Mkfifo(path, 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "q")
			if err := put(path); err != nil {
				t.Fatal(err)
			}
			q := waiting(t, path, DefaultLimits())
			restated := false
			q.damaged = func() { restated = true }
			q.put(t, "", "a", "a1")
			expect(t, q.drain(t), "1 map[damaged:1]", "a1")
			if !restated {
				t.Error("the present is not reported")
			}
			if err := q.retain(t.Context(), time.Now().Add(2*q.limits.Age)); err != nil {
				t.Error(err)
			}
			if names, _ := filepath.Glob(path + "*" + database.AsideSuffix); len(names) != 0 {
				t.Errorf("left: %q", names)
			}
		})
	}
}

// Of a damaged file all is delivered that can be read, also after a kill, and once.
func TestEventsOfADamagedQueueAreSalvaged(t *testing.T) {
	const n, size, least = 300, 4096, 40
	path := filepath.Join(t.TempDir(), "admin.webhook")
	q := waiting(t, path, DefaultLimits())
	var ids []string
	var rows []row
	for i := range n {
		ids = append(ids, fmt.Sprint("e", i))
		rows = append(rows, row{id: ids[i], kind: "message", chat: "x", account: "1@c.us", body: []byte(strconv.Quote("body of " + ids[i]))})
	}
	if err := errors.Join(q.keep(t.Context(), rpc.AccountAt("1@c.us"), rows, nil, 0), q.close(t.Context())); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(whole, []byte("body of e150")) / size * size // of some rows
	spoiled := slices.Concat(whole[:at], bytes.Repeat([]byte{0xA5}, size), whole[at+size:])
	for name, content := range map[string][]byte{path: spoiled, path + database.AsideSuffix: whole} {
		if err := errors.Join(database.Remove(path), os.WriteFile(name, content, 0o600)); err != nil {
			t.Fatal(err)
		}
		q := waiting(t, path, DefaultLimits())
		got := q.drain(t)
		if len(got) == 0 || got[0] != "1 map[damaged:1]" {
			t.Fatalf("got %v", got)
		}
		missing := slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return slices.Contains(got[1:], id) })
		if most := map[string]int{path: size / least}[name]; len(missing) > most || (len(missing) == 0) != (most == 0) {
			t.Errorf("%d are missing of %s", len(missing), filepath.Base(name))
		}
		if err := q.close(t.Context()); err != nil {
			t.Fatal(err)
		}
		expect(t, waiting(t, path, DefaultLimits()).drain(t))
	}
}

// An event that can't be delivered costs no other anything, and the receiver learns of it.
func TestDamagedEventIsSetAsideAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "q")
	q := waiting(t, path, DefaultLimits())
	q.put(t, "", "a", "a1", "a2")
	q.put(t, "", "b", "b1")
	_, err := use(t.Context(), q, func(db *database.DB) (nothing, error) {
		return nothing{}, db.Exec("UPDATE event SET body = 'x' WHERE id = 'a1'")
	})
	if err != nil {
		t.Fatal(err)
	}
	expect(t, q.drain(t), "1 map[damaged:1]", "a2", "b1")
	if q.events != 0 || q.bytes != 0 {
		t.Errorf("%d events with %d bytes are left", q.events, q.bytes)
	}
	q.put(t, "", "a", "a3")
	_, err = use(t.Context(), q, func(db *database.DB) (nothing, error) {
		return nothing{}, db.Exec("INSERT INTO setting VALUES (1, '[]') ON CONFLICT DO UPDATE SET value = excluded.value")
	})
	if err := errors.Join(err, q.close(t.Context())); err != nil {
		t.Fatal(err)
	}
	expect(t, waiting(t, path, DefaultLimits()).drain(t), "1 map[damaged:1]", "a3")
}

func TestQueueOfNoWebhookIsErased(t *testing.T) {
	path := filepath.Join(t.TempDir(), "q")
	if err := Discard(path); err != nil {
		t.Error(err)
	}
	q := waiting(t, path, DefaultLimits())
	q.put(t, "", "a", "a1")
	if err := Discard(path); err == nil || !strings.Contains(err.Error(), "locked") {
		t.Errorf("while it is used: %v", err)
	}
	if err := q.close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := Discard(path); err != nil {
		t.Error(err)
	}
	if names, _ := filepath.Glob(path + "*"); len(names) != 0 {
		t.Errorf("left: %q", names)
	}
}
