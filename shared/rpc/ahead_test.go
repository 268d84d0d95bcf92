package rpc

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestARequestSentAheadArrivesAsItWasSent(t *testing.T) {
	want := RunRequest{
		Generation: 3, ChromePath: "/c", ChromeVersion: "156.0.0.1", ChromeArgs: []string{"--a"}, URL: "http://u/",
		ProfileDir: "/p", LeaseFile: "/l", ScratchDir: "/s", Selectors: bytes.Repeat([]byte("k"), 1<<20), DeadlineFactor: 2,
	}
	r, w := io.Pipe()
	sent := make(chan error, 1)
	go func() { sent <- SendAhead(w, want) }()
	got, err := ReceiveAhead(r)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

func TestWhatIsNoRequestBeginsNothing(t *testing.T) {
	if _, err := ReceiveAhead(strings.NewReader("")); !errors.Is(err, ErrNoRequest) {
		t.Errorf("nothing: %v", err)
	}
	for name, sent := range map[string]string{"garbage": "\xff\xff", "a flood": strings.Repeat("x", maxRequest+1)} {
		if r, err := ReceiveAhead(strings.NewReader(sent)); err == nil || errors.Is(err, ErrNoRequest) {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
}

func TestAWorkerThatDoesNotReadIsToldAboutAsAnError(t *testing.T) {
	r, w := io.Pipe()
	_ = r.Close()
	if err := SendAhead(w, RunRequest{Generation: 1}); !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
}
