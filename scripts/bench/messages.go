package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"session-manager/scripts/harness"
	"session-manager/scripts/peers"
	"session-manager/scripts/simulator"
)

const (
	// texts is how many are sent to compare how long that takes.
	texts = 60
	// friend has written to the account, and is known at once.
	friend = "15550101001"
	// sendLimit bounds what a program takes for one text.
	sendLimit = 20 * time.Second
)

// unpaced are the settings of a service that sends at once.
var unpaced = []string{"--message-pause", "0s", "--new-chat-pause", "0s"}

// sender is a program that is linked on a stage of its own.
type sender struct {
	*peers.Stage
	// send sends a text, and returns once the server has it. taken is when the program was asked, or
	// has promised to send it.
	send func(ctx context.Context, text string) (taken time.Time, err error)
	stop func() error
}

// measureSending compares how long a text takes to the server, once it was accepted, with
// whatsapp-web.js, and the acceptance with an fsync. They take turns, so that what else the
// machine does hits all.
func measureSending(ctx context.Context, b *bench) (err error) {
	var accepted, synced []time.Duration
	programs := []func(context.Context, *bench, *sender) error{
		func(ctx context.Context, b *bench, s *sender) error { return startOurs(ctx, b, s, &accepted) },
	}
	if peersInstalled() {
		programs = append(programs, startTheirs)
	}
	senders := make([]sender, len(programs))
	for i, start := range programs {
		s := &senders[i]
		if s.Stage, err = peers.OpenStage(simulator.Options{Faults: []string{"key=serialized"}}); err != nil {
			return err
		}
		defer s.Close()
		if err := start(ctx, b, s); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.stop()) }()
	}
	took := make([][]time.Duration, len(programs))
	for n := range texts {
		wrote, err := timeSync(b.folder)
		if err != nil {
			return err
		}
		synced = append(synced, wrote)
		for i, s := range senders {
			one, err := s.time(ctx, "text "+strconv.Itoa(n))
			if err != nil {
				return err
			}
			if n > 0 { // or it had to find out who that is
				took[i] = append(took[i], one)
			}
		}
	}
	b.table.add(row{Name: "POST /messages to 202", Unit: "ms", Ours: median(accepted), Floor: median(synced), Result: median(accepted), Limit: 10})
	if len(took) == 1 {
		b.table.add(absolute("202 to the server's message", "ms", median(took[0]), 0))
		return nil
	}
	for _, p := range []struct {
		name  string
		part  float64
		limit float64
	}{{"median", 0.5, 1.3}, {"95%", 0.95, 0}} {
		b.table.add(ratio("202 to the server's message, compared with whatsapp-web.js, "+p.name, "ms", milliseconds(quantile(took[0], p.part)), milliseconds(quantile(took[1], p.part)), p.limit))
	}
	return nil
}

// time returns how long a text takes to the server.
func (s sender) time(ctx context.Context, text string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, sendLimit)
	defer cancel()
	taken, err := s.send(ctx, text)
	if err != nil {
		return 0, err
	}
	for _, one := range s.Sim.Sent() {
		if one.Text == text {
			return one.Times[0].Sub(taken), nil
		}
	}
	return 0, fmt.Errorf("the server does not have %q", text)
}

// startOurs starts the service, which adds to accepted how long each 202 took.
func startOurs(ctx context.Context, b *bench, s *sender, accepted *[]time.Duration) error {
	args := append([]string{"--chrome", b.browser}, unpaced...)
	for _, arg := range s.ChromeArgs() {
		args = append(args, "--chrome-arg="+arg)
	}
	service, err := harness.Start(ctx, harness.Options{Supervisor: b.supervisor, Folder: s.Folder, Args: args})
	if err != nil {
		return err
	}
	s.stop = service.Stop
	s.send = func(ctx context.Context, text string) (time.Time, error) {
		begun := time.Now()
		id, err := post(ctx, service, friend, text)
		taken := time.Now()
		*accepted = append(*accepted, taken.Sub(begun))
		if err == nil {
			_, err = service.Get(ctx, "/messages/"+id+"?wait=15s&not=queued&not=sending&not=unknown")
		}
		return taken, err
	}
	if _, _, err := service.NextQR(ctx, ""); err != nil {
		return errors.Join(err, service.Stop())
	}
	if err := errors.Join(s.Sim.Scan(ctx), service.AwaitStatus(ctx, "READY")); err != nil {
		return errors.Join(err, service.Stop())
	}
	return nil
}

// post has a service accept a text, and returns the message's id.
func post(ctx context.Context, s *harness.Service, phone, text string) (id string, err error) {
	a, err := s.Ask(ctx, http.MethodPost, "/messages", fmt.Sprintf(`{"to":"+%s","type":"text","text":{"body":%q}}`, phone, text))
	if err != nil {
		return "", err
	}
	var m struct{ ID string }
	if a.Code != http.StatusAccepted || json.Unmarshal([]byte(a.Body), &m) != nil {
		return "", fmt.Errorf("a message is answered with %d: %s", a.Code, a.Body)
	}
	return m.ID, nil
}

// startTheirs starts whatsapp-web.js.
func startTheirs(ctx context.Context, b *bench, s *sender) error {
	p, err := s.Start(ctx, peersFolder, "whatsapp-web.js sends lines", b.browser)
	if err != nil {
		return err
	}
	s.stop = func() error { p.Stop(); return nil }
	await := func(event string, n int) error {
		if !p.Await(ctx, peerLimit, func(peers.Event) bool { return len(p.Values(event)) >= n }) {
			return fmt.Errorf("whatsapp-web.js: no %s; %s", event, p.Complaint())
		}
		return nil
	}
	sent := 0
	s.send = func(_ context.Context, text string) (time.Time, error) {
		sent++
		if err := errors.Join(p.Say(text), await("sent", sent)); err != nil {
			return time.Time{}, err
		}
		return fromMonotonic(p.Values("sent")[sent-1])
	}
	if err = await("qr", 1); err == nil {
		err = s.Sim.Scan(ctx)
	}
	if err == nil {
		err = await("ready", 1)
	}
	if err != nil {
		p.Stop()
	}
	return err
}

// fromMonotonic returns the time at so many nanoseconds of the system's monotonic clock.
func fromMonotonic(text string) (time.Time, error) {
	var clock unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &clock); err != nil {
		return time.Time{}, fmt.Errorf("cannot read the clock: %w", err)
	}
	now := time.Now()
	at, err := strconv.ParseInt(text, 10, 64)
	return now.Add(time.Duration(at - clock.Nano())), err
}

// timeSync returns how long it takes to append a little to a file so that it is on disk.
func timeSync(folder string) (took time.Duration, err error) {
	f, err := os.OpenFile(filepath.Join(folder, "synced"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return 0, fmt.Errorf("cannot write: %w", err)
	}
	begun := time.Now()
	_, err = f.Write(make([]byte, 4096))
	err = errors.Join(err, f.Sync())
	took = time.Since(begun)
	return took, errors.Join(err, f.Close())
}
