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

// Control returns the levers as an HTTP API, for shell scripts and demos. It
// shows login strings, so it belongs on a listener of its own on loopback.
//
//	GET  /screen                 what the page shows, login string and all
//	GET  /healthz                that the simulator runs
//	GET  /profiles, /faults      what there is to choose from
//	POST /scan                   the phone scans the screen, or {"login": "…"}
//	POST /code                   the phone is given the pairing {"code": "…"}
//	POST /logout /takeover /rotate-adv /expire /reload /hang /crash /ask /chatter /hoard
//	POST /network/drop /network/stall /network/restore
//	POST /profile/{name}         for the next load
//	POST /fault/{switch}         like /fault/sync=stuck:99; DELETE /fault clears all
//
// Answers are JSON: {"ok": true}, or {"error": "…"} with status 400 for a
// request that makes no sense and 409 for one that can't be done now.
func (s *Server) Control() http.Handler {
	mux := http.NewServeMux()
	for path, lever := range map[string]func() error{
		"/logout":          s.LogOut,
		"/takeover":        s.TakeOver,
		"/rotate-adv":      s.RotateADV,
		"/expire":          s.ExpireNow,
		"/reload":          s.Reload,
		"/hang":            s.Hang,
		"/crash":           s.Crash,
		"/ask":             s.Ask,
		"/chatter":         s.Chatter,
		"/hoard":           s.Hoard,
		"/network/drop":    func() error { s.DropNetwork(); return nil },
		"/network/stall":   func() error { s.StallNetwork(); return nil },
		"/network/restore": func() error { s.RestoreNetwork(); return nil },
	} {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, _ *http.Request) {
			answerLever(w, lever())
		})
	}
	mux.HandleFunc("POST /scan", s.controlScan)
	mux.HandleFunc("POST /code", s.controlCode)
	mux.HandleFunc("POST /profile/{name}", func(w http.ResponseWriter, r *http.Request) {
		answerChoice(w, s.SetProfile(r.PathValue("name")))
	})
	mux.HandleFunc("POST /fault/{fault}", func(w http.ResponseWriter, r *http.Request) {
		answerChoice(w, s.SetFault(r.PathValue("fault")))
	})
	mux.HandleFunc("DELETE /fault", func(w http.ResponseWriter, _ *http.Request) {
		s.ClearFaults()
		answerLever(w, nil)
	})
	mux.HandleFunc("GET /screen", func(w http.ResponseWriter, _ *http.Request) {
		answerJSON(w, http.StatusOK, s.OnScreen())
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answerLever(w, nil) })
	mux.HandleFunc("GET /profiles", func(w http.ResponseWriter, _ *http.Request) {
		answerJSON(w, http.StatusOK, Profiles())
	})
	mux.HandleFunc("GET /faults", func(w http.ResponseWriter, _ *http.Request) {
		answerJSON(w, http.StatusOK, FaultNames())
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		answerJSON(w, http.StatusNotFound, failure{Error: "there is no " + r.Method + " " + r.URL.Path})
	})
	return mux
}

// controlBody is what a control request may say.
type controlBody struct {
	Payload string `json:"payload"`
	Code    string `json:"code"`
}

type success struct {
	OK bool `json:"ok"`
}

type failure struct {
	Error string `json:"error"`
}

func (s *Server) controlScan(w http.ResponseWriter, r *http.Request) {
	body, err := readBody(r)
	if err != nil {
		answerChoice(w, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), leverTimeout)
	defer cancel()
	if body.Payload != "" {
		answerLever(w, s.ScanPayload(ctx, body.Payload))
		return
	}
	answerLever(w, s.Scan(ctx))
}

func (s *Server) controlCode(w http.ResponseWriter, r *http.Request) {
	body, err := readBody(r)
	if err != nil {
		answerChoice(w, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), leverTimeout)
	defer cancel()
	answerLever(w, s.EnterCode(ctx, body.Code))
}

// readBody takes an empty body for an empty object.
func readBody(r *http.Request) (controlBody, error) {
	var body controlBody
	decoder := json.NewDecoder(io.LimitReader(r.Body, maxBody))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&body); err != nil && !errors.Is(err, io.EOF) {
		return body, err
	}
	return body, nil
}

// answerLever answers for something that may be impossible now.
func answerLever(w http.ResponseWriter, err error) { answerStatus(w, http.StatusConflict, err) }

// answerChoice answers for something that may not exist.
func answerChoice(w http.ResponseWriter, err error) { answerStatus(w, http.StatusBadRequest, err) }

func answerStatus(w http.ResponseWriter, code int, err error) {
	if err != nil {
		answerJSON(w, code, failure{Error: err.Error()})
		return
	}
	answerJSON(w, http.StatusOK, success{OK: true})
}

func answerJSON(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body) // A reader that left needs no answer.
}
