package main

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"os"
	"reflect"
	"strings"
	"time"

	"session-manager/shared/rpc"
)

// bodies are one event of each kind that a worker may send again and again.
var bodies = []rpc.EventBody{
	rpc.PhaseChanged{}, rpc.BrowserStarted{}, rpc.PageObserved{}, rpc.QRShown{}, rpc.QRGone{}, rpc.Heartbeat{},
	rpc.BackupChecked{}, rpc.MessageChanged{}, rpc.SendingObserved{}, rpc.ReceivingObserved{}, rpc.PasskeyChanged{}, rpc.BrowserExited{}, rpc.Failure{},
}

// attack does what the mode says: "exaggerate" sends one event of
// each kind, everything in it larger than it may be; "oversize KIND" one of 60 MB; "flood
// KIND" sends small ones without end, "strangers" events of another generation; "endless
// stdout" and "endless stderr" write there.
func (w *worker) attack(req rpc.RunRequest, say func(rpc.EventBody) error, emit func(rpc.Event) error) error {
	verb, kind, _ := strings.Cut(w.mode, " ")
	switch verb {
	case "exaggerate":
		for _, body := range bodies {
			if err := say(exaggerated(body, 100_000)); err != nil {
				return err
			}
		}
	case "oversize":
		return say(exaggerated(bodyOf(kind), 60<<20))
	case "flood":
		for n := 0; kind != ""; n++ {
			if err := say(varied(bodyOf(kind), n)); err != nil {
				return err
			}
		}
	case "endless":
		to := map[string]*os.File{"stdout": w.stdout, "stderr": w.stderr}[kind]
		lines := bytes.Repeat(append(large(1<<16), '\n'), 16)
		for {
			if _, err := to.Write(lines); err != nil {
				return err
			}
		}
	case "strangers":
		for {
			if err := emit(rpc.Event{Generation: req.Generation + 1, Body: rpc.QRGone{}}); err != nil {
				return err
			}
		}
	}
	return nil
}

func bodyOf(kind string) rpc.EventBody {
	for _, body := range bodies {
		if reflect.TypeOf(body).Name() == kind {
			return body
		}
	}
	panic("there is no event " + kind)
}

// exaggerated returns body with n bytes in each text, and the largest number in each
// number. The process is left alone, for it must exist.
func exaggerated(body rpc.EventBody, n int) rpc.EventBody {
	v := reflect.New(reflect.TypeOf(body)).Elem()
	for i := range v.NumField() {
		switch f := v.Field(i); f.Kind() {
		case reflect.String:
			f.SetString(strings.Repeat("2@A,", n/4))
		case reflect.Int:
			f.SetInt(math.MaxInt32)
		case reflect.Int64:
			f.SetInt(math.MaxInt64)
		case reflect.Uint, reflect.Uint64:
			f.SetUint(math.MaxUint32)
		case reflect.Slice:
			lines := make([]string, n/100)
			for i := range lines {
				lines[i] = "x"
			}
			f.Set(reflect.ValueOf(append(lines, strings.Repeat("+49", n/3))))
		}
	}
	forever := time.UnixMilli(math.MaxInt64)
	switch b := v.Interface().(type) {
	case rpc.BrowserStarted:
		b.PID = os.Getpid()
		return b
	case rpc.MessageChanged:
		b.At = forever
		return b
	case rpc.SendingObserved:
		b.NewChats = rpc.NewChats{RestrictedUntil: forever, CappedUntil: forever, Used: math.MaxInt32, Quota: math.MaxInt32}
		return b
	}
	return v.Interface().(rpc.EventBody)
}

// varied returns the n-th of a flood, each of which changes what readers see.
func varied(body rpc.EventBody, n int) rpc.EventBody {
	switch body.(type) {
	case rpc.PageObserved:
		conditions := []rpc.Condition{rpc.PageUnlinked, rpc.PageReady, rpc.PageBlocked, "unheard of"}
		return rpc.PageObserved{Condition: conditions[n%len(conditions)], Detail: strings.Repeat("d", n%1000), Progress: n % 100, Persisted: true}
	case rpc.QRShown:
		return rpc.QRShown{Payload: rpc.QRPayload(strings.Repeat("2", n%rpc.MaxQRPayload)), Seq: uint64(n), TTL: time.Minute}
	case rpc.PhaseChanged:
		return rpc.PhaseChanged{Phase: []rpc.Phase{rpc.PhaseNavigate, rpc.PhasePage}[n%2]}
	case rpc.BrowserStarted:
		return rpc.BrowserStarted{PID: os.Getpid(), Product: strings.Repeat("p", n%100)}
	case rpc.MessageChanged:
		return rpc.MessageChanged{ID: rpc.MessageID(fmt.Sprintf("3EB0%018X", n)), Ack: n % 5}
	case rpc.ReceivingObserved:
		return rpc.ReceivingObserved{Possible: n%2 == 0, Why: strings.Repeat("w", n%1000)}
	case rpc.SendingObserved:
		return rpc.SendingObserved{Possible: n%2 == 0, Why: strings.Repeat("w", n%1000)}
	}
	return body
}

// large is what a method answers in the modes "large answers" and "large screenshot".
func large(size int) []byte { return bytes.Repeat([]byte("2@AB"), size/4) }

func (w *worker) largeAnswers() bool { return w.mode == "large answers" }

// diagnosis exceeds every bound, by less than a message may have.
func diagnosis() rpc.Diagnosis {
	text := string(large(100_000))
	d := rpc.Diagnosis{URL: text, PageVersion: text, UserAgent: text, Outline: text}
	for range 2000 {
		d.Console = append(d.Console, "x")
		d.Readers = append(d.Readers, rpc.ReaderView{Reader: "r", Saw: "s"})
	}
	d.Console[1999], d.Readers[0] = text, rpc.ReaderView{Reader: text, Saw: text}
	return d
}

// Screenshot implements rpc.Worker.
func (w *worker) Screenshot(context.Context) ([]byte, error) {
	switch w.mode {
	case "large answers":
		return large(300 << 20), nil
	case "large screenshot":
		return large(17 << 20), nil // just more than the supervisor takes
	}
	return []byte("\x89PNG"), nil
}

func (w *worker) Pair(context.Context, rpc.Secret) (rpc.Pairing, error) {
	if w.largeAnswers() {
		return rpc.Pairing{Code: rpc.Secret(large(1000)), TTL: math.MaxInt64}, nil
	}
	return rpc.Pairing{Code: "ABCD1234", TTL: time.Minute}, nil
}

func (w *worker) Diagnose(context.Context) (rpc.Diagnosis, error) {
	if w.largeAnswers() {
		return diagnosis(), nil
	}
	return rpc.Diagnosis{Outline: "html"}, nil
}

// notLinked is what the worker answers about messages, unless its answers are to be large.
func (w *worker) notLinked() error {
	if w.largeAnswers() {
		return nil
	}
	return &rpc.SendError{Code: rpc.SendNotReady}
}

// someone is an address that is far too long.
func someone() rpc.Secret { return rpc.Secret(large(100_000)) }

// Send answers as notLinked explains.
func (w *worker) Send(_ context.Context, m rpc.Message) (rpc.MessageState, error) {
	return stateOf(m.ID), w.notLinked()
}

func stateOf(id rpc.MessageID) rpc.MessageState {
	return rpc.MessageState{
		ID: id, Chat: rpc.Chat{Phone: someone()}, Stored: true, Ack: math.MaxInt32, Refusal: math.MaxInt32, At: time.UnixMilli(math.MaxInt64),
	}
}

// Lookup answers as notLinked explains.
func (w *worker) Lookup(_ context.Context, refs []rpc.MessageRef) (states []rpc.MessageState, _ error) {
	for _, r := range refs {
		states = append(states, stateOf(r.ID))
	}
	return states, w.notLinked()
}

// Receive answers as notLinked explains.
func (w *worker) Receive(context.Context, rpc.ReceiveQuery) (rpc.Reception, error) {
	return rpc.Reception{Account: rpc.Account{Phone: someone(), LID: someone()}}, w.notLinked()
}

// Contact answers as notLinked explains.
func (w *worker) Passkey(context.Context, rpc.PasskeyCommand) (rpc.PasskeyCall, error) {
	return rpc.PasskeyCall{Options: rpc.Secret(strings.Repeat("x", rpc.MaxPasskeyOptions+1)), TTL: time.Hour << 10}, nil
}

func (w *worker) Contact(context.Context, rpc.Secret) (rpc.Contact, error) {
	return rpc.Contact{OnWhatsApp: true, Phone: someone(), LID: someone()}, w.notLinked()
}
