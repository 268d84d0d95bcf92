package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"sync"
	"time"

	"session-manager/scripts/harness"
	"session-manager/scripts/simulator"
	"session-manager/shared/proctree"
)

const (
	// chats is how many an account has, arrivals how many messages come while Chrome is away,
	// from so many people, and waiting how many wait to be sent, to so many.
	chats, arrivals, authors, waiting, recipients = 20_000, 500, 50, 10_000, 1000
	// posters is how many clients fill the outbox.
	posters = 8
	// trimmed is how long it takes until a process has returned what it does not need, but for 1 MB.
	trimmed = 2*proctree.TrimPeriod + 2*time.Second
	// moreReceiving and moreWaiting are how many MB all that may take, with the 1 MB that the
	// supervisor and the worker may each have kept.
	moreReceiving, moreWaiting = 7, 8
)

// mailbox is a service that is linked to an account with many chats.
type mailbox struct {
	side
	b      *bench
	folder string
	args   []string
}

// measureMailboxes takes the time in which a service catches up on what has arrived while it
// was stopped. Then it compares this service, and one in whose outbox many messages wait, with
// one without messages, at the same moment.
func measureMailboxes(ctx context.Context, b *bench) (err error) {
	all, err := b.mailboxes(ctx)
	for _, m := range all {
		if m != nil {
			defer m.end(&err)
		}
	}
	if err != nil {
		return err
	}
	for i := range all {
		if err := all[i].miss(ctx); err != nil {
			return err
		}
		if i == 1 {
			took, err := all[i].catchUp(ctx)
			if err != nil {
				return err
			}
			b.table.add(absolute(fmt.Sprintf("READY to the last of %d messages, %d chats", arrivals, chats), "ms", took.Seconds()*1000, 10_000))
		}
	}
	without, receiving, sending := all[0], all[1], all[2]
	if err := fill(ctx, sending.Service); err != nil {
		return err
	}
	name := fmt.Sprintf("%d waiting messages: ", waiting)
	slower, err := compareAnswers(ctx, sending.Base+"/status", without.Base+"/status")
	if err != nil {
		return err
	}
	if err := harness.Pause(ctx, trimmed); err != nil {
		return err
	}
	more := func(name string, with, without uint64, limit float64) row {
		return row{Name: name, Unit: "MB", Ours: megabytes(with), Floor: megabytes(without), Result: megabytes(with) - megabytes(without), Limit: limit}
	}
	both, off := proctree.TreeMemory(receiving.PID()), proctree.TreeMemory(without.PID())
	full, err := sending.memory(ctx)
	if err != nil {
		return err
	}
	empty, err := without.memory(ctx)
	if err != nil {
		return err
	}
	b.table.add(more("memory at rest of the whole tree, receiving", both, off, moreReceiving),
		more(name+"memory of supervisor and worker", full, empty, moreWaiting),
		absolute(name+"/status, in answers of a service without", "", slower, moreLatency))
	return nil
}

// memory is that of supervisor and worker.
func (m *mailbox) memory(ctx context.Context) (uint64, error) {
	v, err := m.Session(ctx)
	return proctree.Memory(m.PID()) + proctree.Memory(v.Worker.PID), err
}

// mailboxes links three services at once: without messages, receiving, and sending. Those that could be
// linked are returned with an error, too.
func (b *bench) mailboxes(ctx context.Context) (all [3]*mailbox, err error) {
	var errs [3]error
	var linking sync.WaitGroup
	for i, args := range [][]string{{"off"}, {"both"}, {"out", "--message-pause", "1h", "--new-chat-pause", "1h"}} {
		linking.Go(func() { all[i], errs[i] = b.mailbox(ctx, append([]string{"--messages"}, args...)...) })
	}
	linking.Wait()
	return all, errors.Join(errs[:]...)
}

// mailbox links a service.
func (b *bench) mailbox(ctx context.Context, args ...string) (*mailbox, error) {
	p, err := harness.NewPhone(simulator.Options{Faults: []string{"chats=" + strconv.Itoa(chats)}})
	if err != nil {
		return nil, err
	}
	m := &mailbox{side{phone: p}, b, b.fresh(), args}
	if m.Service, err = b.start(ctx, p, m.folder, args...); err != nil {
		p.Close()
		return nil, err
	}
	if err := p.Link(ctx, m.Service); err != nil {
		m.end(&err)
		return nil, err
	}
	return m, nil
}

// miss has messages arrive while the service is stopped, and returns when it is READY again.
func (m *mailbox) miss(ctx context.Context) (err error) {
	if err := m.Stop(); err != nil {
		return err
	}
	for n := range arrivals {
		m.phone.Receive(strconv.Itoa(15_550_200_000+n%authors), "message "+strconv.Itoa(n))
	}
	if m.Service, err = m.b.start(ctx, m.phone, m.folder, m.args...); err != nil {
		return err
	}
	return m.AwaitStatus(ctx, "READY")
}

// catchUp returns how long it takes from READY until all that has arrived is listed.
func (m *mailbox) catchUp(ctx context.Context) (time.Duration, error) {
	begun := time.Now()
	for after, left := "", arrivals; left > 0; {
		body, err := m.Get(ctx, "/messages?direction=in&limit=200&wait=20s&after="+url.QueryEscape(after))
		if err != nil {
			return 0, err
		}
		var list struct {
			Messages []struct{ Type string }
			Next     string
		}
		if err := json.Unmarshal([]byte(body), &list); err != nil {
			return 0, fmt.Errorf("cannot read what was received: %w", err)
		}
		left, after = left-len(list.Messages), list.Next
	}
	return time.Since(begun), nil
}

// fill has messages accepted that wait.
func fill(ctx context.Context, s *harness.Service) error {
	var errs [posters]error
	var clients sync.WaitGroup
	for c := range errs {
		clients.Go(func() {
			for i := c; i < waiting && errs[c] == nil; i += posters {
				_, errs[c] = post(ctx, s, strconv.Itoa(15_550_300_000+i%recipients), "Your parcel will arrive today between 2 and 4 pm.")
			}
		})
	}
	clients.Wait()
	return errors.Join(errs[:]...)
}
