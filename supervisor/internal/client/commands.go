package client

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"session-manager/shared/reason"
	"session-manager/supervisor/internal/apikey"
	"session-manager/supervisor/internal/outbox"
	"session-manager/supervisor/internal/session"
)

// reasonBody is session.Reason as it is received.
type reasonBody struct {
	Code, Message, Action, Detail string
	Since                         time.Time
}

// words returns a reason for people.
func (r reasonBody) words() string {
	text := cmp.Or(printable(r.Message), printable(r.Code))
	if r.Detail != "" {
		text += " (" + printable(r.Detail) + ")"
	}
	if r.Action != "" {
		text += "\n→ " + printable(r.Action)
	}
	return text
}

// stateBody is the body of an event about the state.
type stateBody struct {
	Status session.State
	Reason reasonBody
}

func (s stateBody) words() string {
	text := printable(string(s.Status))
	if why := s.Reason.words(); why != "" {
		text += ": " + why
	}
	return text
}

// sessionBody is what the command status shows of GET /session.
type sessionBody struct {
	stateBody
	Since    time.Time
	Progress *int `json:"progress_percent"`
	Warnings []reasonBody
	Login    struct {
		LinkedAt         time.Time `json:"linked_at"`
		BackupAt         time.Time `json:"backup_at"`
		BackupVerifiedAt time.Time `json:"backup_verified_at"`
	}
	Page    struct{ Version string }
	Version string
}

func (s sessionBody) words() string {
	text := s.stateBody.words() + "\n"
	line := func(name, value string) { text += fmt.Sprintf("%-10s %s\n", name, printable(value)) }
	moment := func(name string, at time.Time) {
		if !at.IsZero() {
			line(name, at.Local().Format(time.DateTime))
		}
	}
	moment("since", s.Since)
	if s.Progress != nil {
		line("progress", fmt.Sprintf("%d %%", *s.Progress))
	}
	moment("linked", s.Login.LinkedAt)
	moment("backup", s.Login.BackupAt)
	moment("verified", s.Login.BackupVerifiedAt)
	if s.Page.Version != "" {
		line("WhatsApp", s.Page.Version)
	}
	line("service", s.Version)
	var warnings strings.Builder
	for _, w := range s.Warnings {
		warnings.WriteString("Warning: " + w.words() + "\n")
	}
	return text + warnings.String()
}

// Status shows the session, once it is READY if wait is set. Another state is ErrFailed.
func (c *Client) Status(ctx context.Context, out Output, wait bool) error {
	if wait {
		if err := c.awaitReady(ctx); err != nil {
			return err
		}
	}
	var body sessionBody
	raw, err := c.object(ctx, request{method: http.MethodGet, path: "/session", needs: apikey.Read}, &body)
	if err != nil {
		return err
	}
	text := body.words()
	if out.JSON {
		text = indented(raw)
	}
	if _, err := io.WriteString(out, text); err != nil {
		return err
	}
	if body.Status != session.Ready {
		return ErrNotReady
	}
	return nil
}

// ErrNotReady is ErrFailed for the state that was shown.
var ErrNotReady = fmt.Errorf("%w: the session is not READY", ErrFailed)

func indented(raw []byte) string {
	var b bytes.Buffer
	_ = json.Indent(&b, bytes.TrimSpace(raw), "", "  ") // it was decoded
	return harmless(b.Bytes()) + "\n"
}

// awaitReady returns when the session is READY.
func (c *Client) awaitReady(ctx context.Context) error {
	query := url.Values{"wait": {hold.String()}}
	for _, s := range session.States() {
		if s != session.Ready {
			query.Add("not", string(s))
		}
	}
	return persist(ctx, func(alive func()) error {
		for {
			asked := time.Now()
			var body struct{ Status session.State }
			if _, err := c.object(ctx, request{method: http.MethodGet, path: "/status?" + query.Encode(), needs: apikey.Read, timeout: hold + answerTimeout}, &body); err != nil {
				return err
			}
			alive()
			if body.Status == session.Ready {
				return final{}
			}
			if time.Since(asked) < hold {
				return errHurried
			}
		}
	})
}

// errHurried is an answer that was to be held, as the service is stopping.
var errHurried = fmt.Errorf("%w: the service does not hold its answer", ErrLater)

// errReady ends the following of a session.
var errReady = errors.New("the session is READY")

const scanHint = "Scan it: WhatsApp on the phone, Linked devices, Link a device. It is renewed here until then; Ctrl-C ends this."

const nextHint = "The phone is linked. Next, try: session-manager send NUMBER TEXT"

// ShowQR shows the QR until it is scanned, and returns when the session is READY.
func (c *Client) ShowQR(ctx context.Context, v *View) error {
	var state stateBody
	var code string
	err := c.follow(ctx, "state,qr", func(e event) error {
		switch e.Type {
		case "state":
			state = stateBody{} // what the new one leaves out is not that of the last one
			if err := json.Unmarshal(e.Data, &state); err != nil {
				return c.foreign(err)
			}
		case "qr":
			var err error
			if code, err = c.code(ctx, e.Data); err != nil {
				return err
			}
		}
		if state.Status == "" {
			return nil
		}
		if wantsScan := state.Reason.Code == string(reason.ScanQR) || state.Reason.Code == string(reason.LoggedOut); wantsScan {
			state.Reason.Action = "" // the QR is here, and the hint below it
		}
		shown, text := "", state.words()+"\n"
		switch {
		case state.Status == session.Ready:
			text += nextHint + "\n"
		case state.Status == session.QRRequired && code != "":
			shown, text = code, text+scanHint+"\n"
		}
		if err := v.show(shown, text); err != nil {
			return err
		}
		return readyIf(state)
	})
	return ready(err)
}

func readyIf(s stateBody) error {
	if s.Status == session.Ready {
		return errReady
	}
	return nil
}

func ready(err error) error {
	if errors.Is(err, errReady) {
		return nil
	}
	return err
}

// code returns the QR that an event is about, drawn, or nothing.
func (c *Client) code(ctx context.Context, data []byte) (string, error) {
	var body struct{ Available bool }
	if err := json.Unmarshal(data, &body); err != nil {
		return "", c.foreign(err)
	}
	if !body.Available {
		return "", nil
	}
	received, err := c.ask(ctx, request{method: http.MethodGet, path: "/qr.txt", needs: apikey.Read})
	if refused, ok := errors.AsType[*Refusal](err); ok && refused.Status == http.StatusNotFound {
		return "", nil // it went away meanwhile, which is the next event
	}
	if err != nil {
		return "", err
	}
	drawn, err := redraw(string(received))
	if err != nil {
		return "", c.foreign(err)
	}
	return drawn, nil
}

// Pair shows a code for the phone with this number, and returns when the session is READY. With
// JSON it returns at once.
func (c *Client) Pair(ctx context.Context, v *View, phone string) error {
	var body struct {
		Code      string
		ExpiresAt time.Time `json:"expires_at"`
	}
	raw, err := c.object(ctx, request{
		method: http.MethodPost, path: "/session/pair", needs: apikey.Command, timeout: commandTimeout, body: map[string]string{"phone": phone},
	}, &body)
	if err != nil {
		return err
	}
	if v.out.JSON {
		_, err := io.WriteString(v.out, indented(raw))
		return err
	}
	hint := fmt.Sprintf("%s\nEnter this code on the phone before %s: WhatsApp, Linked devices, Link a device, Link with phone number instead.\n",
		printable(body.Code), body.ExpiresAt.Local().Format(time.TimeOnly))
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	expiry := time.AfterFunc(time.Until(body.ExpiresAt), func() { cancel(errExpired) })
	defer expiry.Stop()
	return ready(c.follow(ctx, "state", func(e event) error {
		var state stateBody
		if err := json.Unmarshal(e.Data, &state); err != nil {
			return c.foreign(err)
		}
		text := state.words() + "\n"
		switch state.Status {
		case session.QRRequired:
			text = hint
		case session.Ready:
			text += nextHint + "\n"
			fallthrough
		default:
			expiry.Stop()
		}
		if err := v.show("", text); err != nil {
			return err
		}
		return readyIf(state)
	}))
}

var errExpired = fmt.Errorf("%w: the code has expired", ErrLater)

// LogOut unlinks the phone, and erases the login if purge is set.
func (c *Client) LogOut(ctx context.Context, out Output, purge bool) error {
	var body struct{ Quarantined, Detail string }
	path := fmt.Sprintf("/session/logout?purge=%t", purge)
	if _, err := c.object(ctx, request{method: http.MethodPost, path: path, needs: apikey.Command, timeout: commandTimeout}, &body); err != nil {
		return err
	}
	text := "The phone is unlinked."
	if body.Quarantined != "" {
		text += " The old login is " + printable(body.Quarantined) + " in admin.quarantine."
	}
	_, err := fmt.Fprintln(out, strings.TrimSpace(text+" "+printable(body.Detail)))
	return err
}

// Restart closes Chrome and starts it again, at once if now is set.
func (c *Client) Restart(ctx context.Context, out Output, now bool) error {
	var body struct {
		DeferredUntil time.Time `json:"deferred_until"`
	}
	path := fmt.Sprintf("/session/restart?now=%t", now)
	if _, err := c.object(ctx, request{method: http.MethodPost, path: path, needs: apikey.Command, timeout: commandTimeout}, &body); err != nil {
		return err
	}
	text := "Chrome is being restarted."
	if !body.DeferredUntil.IsZero() {
		text = "Chrome is restarted at " + body.DeferredUntil.Local().Format(time.TimeOnly) + " at the latest, as a phone was just linked; --now does not wait."
	}
	_, err := fmt.Fprintln(out, text)
	return err
}

// Message is a text message to be sent.
type Message struct {
	To, Text string
	// Key is the name of the request; one is drawn if it is nil.
	Key *string
	// Wait means until it was sent.
	Wait bool
}

// messageBody is what is shown of a message.
type messageBody struct {
	ID     string
	Status outbox.Status
	Error  *struct {
		Code  string
		Until time.Time
	}
}

func (m messageBody) words() string {
	text := printable(m.ID) + " " + printable(string(m.Status))
	if m.Error != nil {
		text += ": " + printable(m.Error.Code)
		if !m.Error.Until.IsZero() {
			text += " until " + m.Error.Until.Local().Format(time.DateTime)
		}
	}
	return text + "\n"
}

// pending are the statuses of a message of which nobody knows yet whether it will be sent, and
// unsent those of one that never will be.
var (
	pending = []outbox.Status{outbox.Queued, outbox.Sending, outbox.Unknown}
	unsent  = []outbox.Status{outbox.Failed, outbox.Cancelled, outbox.Expired}
)

// Send has the service send a message. One that will never be sent is ErrFailed.
func (c *Client) Send(ctx context.Context, out Output, m Message) error {
	key := rand.Text()
	if m.Key != nil {
		key = *m.Key
	}
	if !outbox.ValidKey(key) {
		return fmt.Errorf("%w: an idempotency key has 1 to %d visible ASCII characters", ErrRefused, outbox.MaxKey)
	}
	var now messageBody
	raw, err := c.object(ctx, request{
		method: http.MethodPost, path: "/messages", needs: apikey.Send, header: http.Header{"Idempotency-Key": {key}},
		body: map[string]any{"to": m.To, "type": "text", "text": map[string]string{"body": m.Text}},
	}, &now)
	if isAway(err) {
		return fmt.Errorf("%w; repeat this with --idempotency-key %s, so that nothing is sent twice", err, key)
	}
	if err != nil {
		return err
	}
	if err = now.print(out, raw); err == nil && m.Wait {
		err = persist(ctx, func(alive func()) error { return c.followMessage(ctx, out, &now, alive) })
	}
	if err == nil && slices.Contains(unsent, now.Status) {
		err = fmt.Errorf("%w: the message will not be sent", ErrFailed)
	}
	return err
}

// print writes a message, of which raw is the JSON.
func (m messageBody) print(out Output, raw []byte) error {
	text := m.words()
	if out.JSON {
		text = line(raw)
	}
	_, err := io.WriteString(out, text)
	return err
}

// followMessage prints what becomes of a message until nothing more will, which is final.
func (c *Client) followMessage(ctx context.Context, out Output, now *messageBody, alive func()) error {
	alive()
	for slices.Contains(pending, now.Status) {
		seen, asked := now.words(), time.Now()
		path := "/messages/" + url.PathEscape(now.ID) + "?" + url.Values{"wait": {hold.String()}, "not": {string(now.Status)}}.Encode()
		raw, err := c.object(ctx, request{method: http.MethodGet, path: path, needs: apikey.Send, timeout: hold + answerTimeout}, now)
		if err != nil {
			return err
		}
		alive()
		if now.words() == seen {
			if time.Since(asked) < hold {
				return errHurried
			}
			continue
		}
		if err := now.print(out, raw); err != nil {
			return err
		}
	}
	return final{}
}

// line returns JSON as one harmless line.
func line(raw []byte) string {
	var b bytes.Buffer
	_ = json.Compact(&b, raw) // it was decoded
	return harmless(b.Bytes()) + "\n"
}

// Events prints what happens until ctx ends.
func (c *Client) Events(ctx context.Context, out Output, types string) error {
	return c.follow(ctx, types, func(e event) error {
		if !json.Valid(e.Data) {
			return c.foreign(errors.New("its events are not JSON"))
		}
		text := time.Now().Format(time.TimeOnly) + " " + printable(e.Type) + " " + line(e.Data)
		var state stateBody
		switch {
		case out.JSON:
			encoded, err := json.Marshal(map[string]any{"id": e.ID, "type": e.Type, "data": json.RawMessage(e.Data)})
			if err != nil {
				return c.foreign(err)
			}
			text = line(encoded)
		case e.Type == "state" && json.Unmarshal(e.Data, &state) == nil:
			text = time.Now().Format(time.TimeOnly) + " state " + strings.ReplaceAll(state.words(), "\n", " ") + "\n"
		}
		_, err := io.WriteString(out, text)
		return err
	})
}
