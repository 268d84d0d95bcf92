package api

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/munnerz/goautoneg"

	"session-manager/supervisor/internal/session"
)

// codes answers for the QR, in several forms.
type codes struct {
	waiter
	// boot makes entity tags of one run differ from those of the next.
	boot string
}

// availability is the status in the answer of /qr.
type availability string

const (
	noQR        availability = "NO_QR"
	qrAvailable availability = "QR_AVAILABLE"
)

func availabilityOf(q *session.QR) availability {
	if q == nil {
		return noQR
	}
	return qrAvailable
}

// fresh returns the QR that a phone could scan now, or nil. With ?wait= it waits
// until the QR changes, or, for a caller with a tag, until there is one with
// another tag; where none is an answer like another, that it went away is a change, too.
func (c *codes) fresh(r *http.Request, noneIsAnswer bool) (*session.QR, *problem) {
	known, asked := r.Header.Get("If-None-Match"), time.Now()
	not, bad := excluded(r, noQR, qrAvailable)
	if bad != nil {
		return nil, bad
	}
	s, bad := c.wait(r, func(first, now *session.Snapshot) bool {
		q := now.FreshQR(time.Now())
		if known == "" && not == nil {
			return !q.Same(first.FreshQR(asked))
		}
		missing := known != "" && q == nil && !noneIsAnswer
		return !missing && !knows(known, c.tag(q, ""), c.tag(q, textSuffix), c.tag(q, jsonSuffix)) && !slices.Contains(not, availabilityOf(q))
	})
	if bad != nil {
		return nil, bad
	}
	return s.FreshQR(time.Now()), nil
}

const (
	textSuffix = "-text"
	jsonSuffix = "-json"
)

// tag identifies a form of a QR, or the absence of one, without revealing its payload.
func (c *codes) tag(q *session.QR, suffix string) string {
	if q == nil {
		return `"` + c.boot + `-none"`
	}
	return fmt.Sprintf(`"%s-%d-%d%s"`, c.boot, q.Generation, q.Seq, suffix)
}

// any answers GET /qr: the contract's JSON, always 200. Where there is a QR, and
// Accept asks for it, the answer is the image or text instead.
func (c *codes) any(r *http.Request) http.Handler {
	q, bad := c.fresh(r, true)
	switch {
	case bad != nil:
		return bad
	case q == nil:
		return tagged{c.tag(nil, ""), content{jsonType, []byte(`{"status":"NO_QR"}`)}}
	}
	form := jsonType
	if accept := r.Header.Get("Accept"); accept != "" {
		form = goautoneg.Negotiate(accept, []string{jsonType, pngType, textType})
	}
	switch form {
	case pngType:
		return c.image(q)
	case textType:
		return c.terminal(q)
	default:
		return tagged{c.tag(q, jsonSuffix), content{jsonType, q.Code.JSON}}
	}
}

// as answers GET /qr.png and /qr.txt: the QR in one form, or 404 without one.
func (c *codes) as(form func(*session.QR) http.Handler) answer {
	return func(r *http.Request) http.Handler {
		q, bad := c.fresh(r, false)
		if bad != nil {
			return bad
		}
		if q != nil {
			return form(q)
		}
		return problem{
			Status: http.StatusNotFound, Code: "no_qr",
			Detail: "There is no QR to scan now; the session's state is " + string(c.Snapshot().State) + ".",
			Hint:   "GET /session explains why. /qr.png?wait=25s waits for the next one.",
		}
	}
}

func (c *codes) image(q *session.QR) http.Handler {
	return drawn(q, c.tag(q, ""), pngType, q.Code.PNG)
}

func (c *codes) terminal(q *session.QR) http.Handler {
	return drawn(q, c.tag(q, textSuffix), utf8Text, []byte(q.Code.Text))
}

// drawn answers with a QR in a form for people, with standard headers for its age.
func drawn(q *session.QR, tag, contentType string, body []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", contentType)
		h.Set("ETag", tag)
		h.Set("Expires", q.ExpiresAt.UTC().Format(http.TimeFormat))
		http.ServeContent(w, r, "", q.IssuedAt.Time, bytes.NewReader(body))
	})
}
