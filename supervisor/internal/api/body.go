package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
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
			status: http.StatusUnsupportedMediaType, code: "body_not_json",
			detail: "The body has another content type than application/json.",
			hint:   "Send no body, or JSON with Content-Type: application/json.",
		}
	}
	if err := decode(body, target); err != nil {
		return &problem{
			status: http.StatusBadRequest, code: "bad_body",
			detail: "The body is not the JSON object that is expected: " + err.Error() + ".",
		}
	}
	return nil
}

func unreadable(err error) *problem {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return &problem{
			status: http.StatusRequestEntityTooLarge, code: "body_too_large",
			detail: "The body is larger than 4 kB.",
		}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &problem{
			status: http.StatusRequestTimeout, code: "body_timeout",
			detail: "The body did not come in time.",
		}
	default:
		return &problem{status: http.StatusBadRequest, code: "bad_body", detail: "The body did not come whole."}
	}
}

func decode(body []byte, target any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if !bytes.HasPrefix(bytes.TrimSpace(body), []byte("{")) {
		return errors.New("it is no object")
	}
	if err := d.Decode(target); err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	if d.More() {
		return errors.New("something follows it")
	}
	return nil
}
