package api

import (
	"bytes"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"session-manager/supervisor/internal/session"
)

const (
	pngType  = "image/png"
	textType = "text/plain"
)

const noQR = `{"status":"NO_QR"}`

func (a *api) freshQR(r *http.Request) (*session.QR, *problem) {
	s, bad := a.wait(r, func(s *session.Snapshot) string { return a.qrID(s.FreshQR(time.Now())) })
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
		return raw{http.StatusOK, jsonType, []byte(`{"status":"QR_AVAILABLE","qr":"` + q.Code.Base64() + `"}`)}
	}
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

func (a *api) picture(q *session.QR) response { return picture{qr: q, tag: `"` + a.qrID(q) + `"`} }

func (a *api) text(q *session.QR) response {
	return raw{http.StatusOK, textType + "; charset=utf-8", []byte(q.Code.Text())}
}

func (a *api) noQR() problem {
	return problem{
		status: http.StatusNotFound, code: "no_qr",
		detail: "There is no QR to scan now; the session's state is " + string(a.Session.Snapshot().State) + ".",
		hint:   "GET /session says why. /qr.png?wait=25s waits for the next one.",
	}
}

// picture is the PNG, with standard headers that tell its age.
type picture struct {
	qr  *session.QR
	tag string
}

func (p picture) write(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", pngType)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("ETag", p.tag)
	h.Set("Expires", p.qr.ExpiresAt.UTC().Format(http.TimeFormat))
	http.ServeContent(w, r, "", p.qr.IssuedAt, bytes.NewReader(p.qr.Code.PNG()))
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
