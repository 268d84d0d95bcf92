package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"time"

	"session-manager/shared/strictjson"
	"session-manager/supervisor/internal/session"
)

// maxBody bounds a request's body, in bytes. The largest that makes sense is a
// phone number.
const maxBody = 4 << 10

// input reads the body of a command into target, a pointer to a struct: one JSON
// object with no other fields, or nothing at all.
func input(r *http.Request, target any) *problem {
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxBody))
	if err != nil {
		return unreadable(err)
	}
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
		return &problem{Status: http.StatusRequestEntityTooLarge, Code: "body_too_large", Detail: "The body is larger than 4 kB."}
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
	if err := strictjson.Check(body); err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(target); err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	return nil
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
	draining <-chan struct{}
	waits    *shares
}

// wait returns the present snapshot, or, with ?wait=25s, the first one that is
// enough for the caller, or the one after that time. enough also gets the first
// snapshot.
func (s waiter) wait(r *http.Request, enough func(first, now *session.Snapshot) bool) (*session.Snapshot, *problem) {
	snapshot, changed := s.Changed()
	text := r.URL.Query().Get("wait")
	if text == "" {
		return snapshot, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d > maxWait {
		return nil, &problem{
			Status: http.StatusBadRequest, Code: "bad_wait",
			Detail: fmt.Sprintf("wait=%.40q is not a valid duration.", text),
			Hint:   fmt.Sprintf("Use a duration from 0s to %s, such as 25s.", maxWait),
		}
	}
	if d == 0 || enough(snapshot, snapshot) {
		return snapshot, nil
	}
	release, bad := s.waits.take(r)
	if bad != nil {
		return nil, bad
	}
	defer release()
	timeout := time.NewTimer(d)
	defer timeout.Stop()
	for first := snapshot; !enough(first, snapshot); snapshot, changed = s.Changed() {
		select {
		case <-changed:
			continue
		case <-timeout.C:
		case <-s.draining:
		case <-r.Context().Done():
		}
		return s.Snapshot(), nil
	}
	return snapshot, nil
}
