package api

import (
	"bytes"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"session-manager/supervisor/internal/qr"
	"session-manager/supervisor/internal/session"
)

const (
	pngType  = "image/png"
	textType = "text/plain"
)

const noQR = `{"status":"NO_QR"}`

// freshQR returns the QR that a phone could scan now, or nil. With ?wait= it
// waits until that is another one, or, for a caller who has a tag, until there
// is one with another tag.
func (a *api) freshQR(r *http.Request) (*session.QR, *problem) {
	known, asked := r.Header.Get("If-None-Match"), time.Now()
	s, bad := a.wait(r, func(first, now *session.Snapshot) bool {
		q := now.FreshQR(time.Now())
		if known == "" {
			return a.qrID(q) != a.qrID(first.FreshQR(asked))
		}
		return q != nil && !strings.Contains(known, a.pngTag(q)) && !strings.Contains(known, a.textTag(q))
	})
	if bad != nil {
		return nil, bad
	}
	return s.FreshQR(time.Now()), nil
}

// qrID identifies a QR without telling anything about its string.
func (a *api) qrID(q *session.QR) string {
	if q == nil {
		return ""
	}
	return fmt.Sprintf("%s-%d-%d", a.boot, q.Generation, q.Seq)
}

// qr answers GET /qr: the contract's JSON, always 200. Where there is a QR, and
// Accept asks for it, the answer is the picture or text instead.
func (a *api) qr(r *http.Request) response {
	q, bad := a.freshQR(r)
	switch {
	case bad != nil:
		return *bad
	case q == nil:
		return raw{http.StatusOK, jsonType, []byte(noQR)}
	}
	switch preferred(r.Header.Get("Accept"), jsonType, pngType, textType) {
	case pngType:
		return a.picture(q)
	case textType:
		return a.text(q)
	default:
		return raw{http.StatusOK, jsonType, a.available(q.Code)}
	}
}

// availableBody is the contract's answer for one code.
type availableBody struct {
	code *qr.Code
	body []byte
}

// available returns the answer for code. It is kept, as pollers ask for the same
// code again and again.
func (a *api) available(code *qr.Code) []byte {
	if kept := a.lastQR.Load(); kept != nil && kept.code == code {
		return kept.body
	}
	body := []byte(`{"status":"QR_AVAILABLE","qr":"` + code.Base64() + `"}`)
	a.lastQR.Store(&availableBody{code, body})
	return body
}

// qrPNG answers GET /qr.png: the picture, or 404 when there is none.
func (a *api) qrPNG(r *http.Request) response { return a.qrAs(r, a.picture) }

// qrText answers GET /qr.txt: the code drawn for a terminal, or 404.
func (a *api) qrText(r *http.Request) response { return a.qrAs(r, a.text) }

func (a *api) qrAs(r *http.Request, form func(*session.QR) response) response {
	q, bad := a.freshQR(r)
	switch {
	case bad != nil:
		return *bad
	case q == nil:
		return a.noQR()
	default:
		return form(q)
	}
}

func (a *api) pngTag(q *session.QR) string { return `"` + a.qrID(q) + `"` }

func (a *api) textTag(q *session.QR) string { return `"` + a.qrID(q) + `-text"` }

func (a *api) picture(q *session.QR) response {
	return drawn{qr: q, tag: a.pngTag(q), contentType: pngType, body: q.Code.PNG()}
}

func (a *api) text(q *session.QR) response {
	return drawn{qr: q, tag: a.textTag(q), contentType: textType + "; charset=utf-8", body: []byte(q.Code.Text())}
}

func (a *api) noQR() problem {
	return problem{
		status: http.StatusNotFound, code: "no_qr",
		detail: "There is no QR to scan now; the session's state is " + string(a.Session.Snapshot().State) + ".",
		hint:   "GET /session says why. /qr.png?wait=25s waits for the next one.",
	}
}

// drawn is a QR in a form for the eye, with standard headers that tell its age.
type drawn struct {
	qr          *session.QR
	tag         string
	contentType string
	body        []byte
}

func (d drawn) write(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	standard(h, d.contentType)
	h.Set("ETag", d.tag)
	h.Set("Expires", d.qr.ExpiresAt.UTC().Format(http.TimeFormat))
	http.ServeContent(w, r, "", d.qr.IssuedAt.Time, bytes.NewReader(d.body))
}

// preferred returns the offer that the Accept header likes best; among equals
// the first one. The first offer also answers a header that accepts none.
func preferred(accept string, offers ...string) string {
	best, bestQ := offers[0], 0.0
	for _, offer := range offers {
		if q := quality(accept, offer); q > bestQ {
			best, bestQ = offer, q
		}
	}
	return best
}

// quality is the weight that the most specific matching range of accept gives
// to the media type offer.
func quality(accept, offer string) float64 {
	q, specificity := 0.0, -1
	for part := range strings.SplitSeq(accept, ",") {
		mediaRange, params, err := mime.ParseMediaType(part)
		if err != nil {
			continue
		}
		s := matches(mediaRange, offer)
		if s <= specificity {
			continue
		}
		q, specificity = 1, s
		if text, ok := params["q"]; ok {
			if v, err := strconv.ParseFloat(text, 64); err == nil {
				q = v
			}
		}
	}
	return q
}

// matches is how specifically mediaRange names offer: 2, 1 or 0, or -1 if it
// does not.
func matches(mediaRange, offer string) int {
	kind, _, _ := strings.Cut(offer, "/")
	switch mediaRange {
	case offer:
		return 2
	case kind + "/*":
		return 1
	case "*/*":
		return 0
	default:
		return -1
	}
}
