package client

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"session-manager/supervisor/internal/apikey"
)

// event is one of GET /events.
type event struct {
	ID, Type string
	Data     []byte
}

// follow calls handle with each event of these types, all if there are none, until handle
// returns an error or ctx ends. A connection that is lost is made again, and continues where it
// ended.
func (c *Client) follow(ctx context.Context, types string, handle func(event) error) error {
	path := "/events"
	if types != "" {
		path += "?types=" + url.QueryEscape(types)
	}
	last := ""
	return persist(ctx, func(alive func()) error {
		return c.stream(ctx, path, &last, func(e event) error {
			alive()
			err := handle(e)
			if err != nil && !isAway(err) {
				return final{err}
			}
			return err
		})
	})
}

// final is an error that another attempt would not change.
type final struct{ error }

func (f final) Unwrap() error { return f.error }

// persist calls try again while the service is away, as during a restart, unless it has
// never been there. try calls alive when the service responds.
func persist(ctx context.Context, try func(alive func()) error) error {
	var heard time.Time
	for {
		err := try(func() { heard = time.Now() })
		if done, ok := errors.AsType[final](err); ok {
			return done.error
		}
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case !isAway(err) || heard.IsZero() || time.Since(heard) > patience:
			return err
		}
		timer := time.NewTimer(reconnectAfter)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		}
	}
}

// isAway reports whether the service may be back soon.
func isAway(err error) bool { return errors.Is(err, ErrUnreachable) || errors.Is(err, ErrLater) }

// stream reads events until the connection ends, which is an error.
func (c *Client) stream(ctx context.Context, path string, last *string, handle func(event) error) error {
	bounded, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	quiet := time.AfterFunc(silence, func() { cancel(fmt.Errorf("%w: it sent nothing for %s", ErrUnreachable, silence)) })
	defer quiet.Stop()
	header := http.Header{}
	if *last != "" {
		header.Set("Last-Event-ID", *last)
	}
	needs := apikey.Read
	if strings.Contains(path, "message") {
		needs |= apikey.Send
	}
	resp, err := c.do(bounded, request{method: http.MethodGet, path: path, needs: needs, header: header})
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.Header.Get("Content-Type") != "text/event-stream" {
		return c.foreign(errors.New("it sends no events"))
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxEvent)
	var e event
	for lines.Scan() {
		quiet.Reset(silence)
		name, value, _ := bytes.Cut(lines.Bytes(), []byte(": "))
		switch string(name) {
		case "id":
			*last = string(value)
		case "event":
			e.Type = string(value)
		case "data":
			e.Data = bytes.Clone(value)
		case "":
			if e.Type == "" {
				continue
			}
			e.ID = *last
			if err := handle(e); err != nil {
				return err
			}
			e = event{}
		}
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		return c.foreign(lines.Err())
	}
	return c.unreachable(bounded, errors.Join(errors.New("the connection has ended"), lines.Err()))
}
