package api

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"session-manager/shared/strictjson"
	"session-manager/supervisor/internal/session"
)

// Bounds of what a request may have, in bytes. A command's is no more than a phone number.
// In JSON a byte of a message's text may take six.
const (
	maxBody        = 4 << 10
	maxMessageBody = 448 << 10
)

// input reads the body of a command into target, a pointer to a struct: one JSON
// object with no other fields, or nothing at all.
func input(r *http.Request, target any) *problem {
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxBody))
	if err != nil {
		return unreadable(err)
	}
	return into(r, body, target)
}

// largeInput is input for a body of up to limit. One that is larger than a command's needs a
// place in large while it is read, so that slow clients can't fill the memory.
func largeInput(r *http.Request, limit int64, large *shares, target any) *problem {
	reader := http.MaxBytesReader(nil, r.Body, limit)
	body, err := io.ReadAll(io.LimitReader(reader, maxBody))
	if err == nil && len(body) == maxBody {
		release, bad := large.take(r)
		if bad != nil {
			return bad
		}
		defer release()
		var rest []byte
		rest, err = io.ReadAll(reader)
		body = append(body, rest...)
	}
	if err != nil {
		return unreadable(err)
	}
	return into(r, body, target)
}

// into decodes a body, which r describes, into target.
func into(r *http.Request, body []byte, target any) *problem {
	if len(body) == 0 {
		return nil
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != jsonType {
		return &problem{
			Status: http.StatusUnsupportedMediaType, Code: "body_not_json",
			Detail: "The body's content type is not application/json.",
			Hint:   "Send no body, or JSON with Content-Type: application/json.",
		}
	}
	if err := decode(body, target); err != nil {
		return &problem{
			Status: http.StatusBadRequest, Code: "bad_body",
			Detail: "The body is not the expected JSON object: " + err.Error() + ".",
		}
	}
	return nil
}

func unreadable(err error) *problem {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return &problem{Status: http.StatusRequestEntityTooLarge, Code: "body_too_large", Detail: fmt.Sprintf("The body is larger than %d kB.", tooLarge.Limit>>10)}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &problem{Status: http.StatusRequestTimeout, Code: "body_timeout", Detail: "The body did not arrive in time."}
	default:
		return &problem{Status: http.StatusBadRequest, Code: "bad_body", Detail: "The body is incomplete."}
	}
}

func decode(body []byte, target any) error {
	if !bytes.HasPrefix(bytes.TrimSpace(body), []byte("{")) {
		return errors.New("it is not an object")
	}
	if !utf8.Valid(body) {
		return errors.New("it is not valid UTF-8")
	}
	if err := strictjson.Check(body); err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	err := d.Decode(target)
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("%s must not be a %s", cmp.Or(wrong.Field, "it"), wrong.Value)
	}
	if err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	return nil
}

// excluded returns the values of ?not=, which a caller that waits has seen already. Each
// must be one of all.
func excluded[T ~string](r *http.Request, all ...T) ([]T, *problem) {
	var not []T
	for _, text := range r.URL.Query()["not"] {
		if !slices.Contains(all, T(text)) {
			return nil, &problem{
				Status: http.StatusBadRequest, Code: "bad_parameter",
				Detail: fmt.Sprintf("not=%.40q is not a status that the answer can have.", text),
				Hint:   fmt.Sprintf("Use one of %v; repeat the parameter for several.", all),
			}
		}
		not = append(not, T(text))
	}
	return not, nil
}

// knows reports whether a header If-None-Match has one of these entity tags.
func knows(header string, tags ...string) bool {
	return slices.ContainsFunc(tags, func(tag string) bool { return strings.Contains(header, tag) })
}

// flag reads the input of a command that has nothing but a parameter, which is true
// or false, and false when it is missing.
func flag(r *http.Request, name string) (bool, *problem) {
	if bad := input(r, &struct{}{}); bad != nil {
		return false, bad
	}
	switch r.URL.Query().Get(name) {
	case "", "false", "0":
		return false, nil
	case "true", "1":
		return true, nil
	}
	return false, &problem{
		Status: http.StatusBadRequest, Code: "bad_parameter",
		Detail: "The parameter " + name + " is neither true nor false.",
	}
}

// maxWait bounds ?wait=. The server's write timeout is longer.
const maxWait = 60 * time.Second

// waiter waits for a change of the session.
type waiter struct {
	Session
	holder
}

// wait returns the present snapshot, or, with ?wait=25s, the first one that is
// enough for the caller, or the one after that time. enough also gets the first
// snapshot.
func (s waiter) wait(r *http.Request, enough func(first, now *session.Snapshot) bool) (*session.Snapshot, *problem) {
	now, changed := s.Changed()
	first := now
	bad := s.hold(r, enough(first, now), changed, func() (bool, <-chan struct{}) {
		now, changed = s.Changed()
		return enough(first, now), changed
	})
	return now, bad
}

// holder holds answers for ?wait=.
type holder struct {
	draining <-chan struct{}
	waits    *shares
}

// parseWait understands 25s and the like, and plain seconds.
func parseWait(text string) (time.Duration, error) {
	if seconds, err := strconv.ParseUint(text, 10, 16); err == nil {
		return time.Duration(seconds) * time.Second, nil
	}
	return time.ParseDuration(text)
}

// hold returns when there is enough, when the time is over that the caller wants to wait,
// or when the service stops. After each change it looks again.
func (h holder) hold(r *http.Request, enough bool, changed <-chan struct{}, look func() (enough bool, changed <-chan struct{})) *problem {
	text := r.URL.Query().Get("wait")
	if text == "" {
		return nil
	}
	d, err := parseWait(text)
	if err != nil || d < 0 || d > maxWait {
		return &problem{
			Status: http.StatusBadRequest, Code: "bad_wait",
			Detail: fmt.Sprintf("wait=%.40q is not a valid duration.", text),
			Hint:   fmt.Sprintf("Use a duration from 0s to %s, such as 25s, or plain seconds.", maxWait),
		}
	}
	if d == 0 || enough {
		return nil
	}
	release, bad := h.waits.take(r)
	if bad != nil {
		return bad
	}
	defer release()
	timeout := time.NewTimer(d)
	defer timeout.Stop()
	for !enough {
		select {
		case <-changed:
			enough, changed = look()
			continue
		case <-timeout.C:
		case <-h.draining:
		case <-r.Context().Done():
		}
		look()
		return nil
	}
	return nil
}
