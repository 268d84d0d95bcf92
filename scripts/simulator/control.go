package simulator

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"
)

// leverTimeout bounds a lever that is pulled over HTTP.
const leverTimeout = 10 * time.Second

// maxBody bounds what a control request may carry.
const maxBody = 16 << 10

// controlBody is what a control request may carry.
type controlBody struct {
	Payload string `json:"payload"`
	Code    string `json:"code"`
}

// Control returns the levers as an HTTP API, for shell scripts and demos. It
// shows QR payloads, so it belongs on a listener of its own on loopback.
//
//	GET  /screen                 what the page shows, QR payload included
//	GET  /healthz                whether the simulator runs
//	GET  /profiles, /faults      what there is to choose from
//	POST /scan                   the phone scans the screen, or {"payload": "…"}
//	POST /code                   the phone is given the pairing {"code": "…"}
//	POST /logout /takeover /rotate-adv /expire /reload /hang /crash /ask /chatter /hoard
//	POST /network/drop /network/stall /network/restore
//	POST /profile/{name}         for the next load
//	POST /fault/{switch}         such as /fault/sync=stuck:99; DELETE /fault clears all
//
// Answers are JSON: {"ok": true}, or {"error": "…"} with status 400 for a
// request that makes no sense and 409 for one that can't be done now.
func (s *Server) Control() http.Handler {
	mux := http.NewServeMux()
	levers := map[string]func(context.Context, controlBody) error{
		"/scan": func(ctx context.Context, body controlBody) error {
			if body.Payload != "" {
				return s.ScanPayload(ctx, body.Payload)
			}
			return s.Scan(ctx)
		},
		"/code":            func(ctx context.Context, body controlBody) error { return s.EnterCode(ctx, body.Code) },
		"/logout":          plain(s.LogOut),
		"/takeover":        plain(s.TakeOver),
		"/rotate-adv":      plain(s.RotateADV),
		"/expire":          plain(s.ExpireNow),
		"/network/drop":    plain(func() error { s.DropNetwork(); return nil }),
		"/network/stall":   plain(func() error { s.StallNetwork(); return nil }),
		"/network/restore": plain(func() error { s.RestoreNetwork(); return nil }),
	}
	for _, order := range []Order{Hang, Crash, Ask, Chatter, Hoard, Reload} {
		levers["/"+string(order)] = plain(func() error { return s.Order(order) })
	}
	for path, pull := range levers {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) { pullLever(w, r, pull) })
	}
	mux.HandleFunc("POST /profile/{name}", func(w http.ResponseWriter, r *http.Request) {
		answer(w, http.StatusBadRequest, s.SetProfile(r.PathValue("name")))
	})
	mux.HandleFunc("POST /fault/{fault}", func(w http.ResponseWriter, r *http.Request) {
		answer(w, http.StatusBadRequest, s.SetFault(r.PathValue("fault")))
	})
	mux.HandleFunc("DELETE /fault", func(w http.ResponseWriter, _ *http.Request) {
		s.ClearFaults()
		answer(w, http.StatusConflict, nil)
	})
	for path, get := range map[string]func() any{
		"/screen":   func() any { return s.OnScreen() },
		"/healthz":  func() any { return map[string]bool{"ok": true} },
		"/profiles": func() any { return Profiles() },
		"/faults":   func() any { return FaultNames() },
	} {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) { answerJSON(w, http.StatusOK, get()) })
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		answer(w, http.StatusNotFound, errors.New("there is no "+r.Method+" "+r.URL.Path))
	})
	return mux
}

// plain adapts a lever that needs neither time nor a body.
func plain(pull func() error) func(context.Context, controlBody) error {
	return func(context.Context, controlBody) error { return pull() }
}

// pullLever reads the body, which may be empty, and pulls the lever.
func pullLever(w http.ResponseWriter, r *http.Request, pull func(context.Context, controlBody) error) {
	var body controlBody
	decoder := json.NewDecoder(io.LimitReader(r.Body, maxBody))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&body); err != nil && !errors.Is(err, io.EOF) {
		answer(w, http.StatusBadRequest, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), leverTimeout)
	defer cancel()
	answer(w, http.StatusConflict, pull(ctx, body))
}

// answer answers that something was done, or, with status code, why not.
func answer(w http.ResponseWriter, code int, err error) {
	if err != nil {
		answerJSON(w, code, map[string]string{"error": err.Error()})
		return
	}
	answerJSON(w, http.StatusOK, map[string]bool{"ok": true})
}

func answerJSON(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body) // A reader that left needs no answer.
}
