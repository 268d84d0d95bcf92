package rpc

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestRequestArrivesAsItWasSent(t *testing.T) {
	want := RunRequest{
		Generation: 3, Mode: ModeVerify, BackupDir: "/b", VerifyLimit: 2 * time.Second,
		ChromePath: "/c", ChromeVersion: "156.0.0.1", ChromeArgs: []string{"--a"}, URL: "http://u/",
		ProfileDir: "/p", LeaseFile: "/l", ScratchDir: "/s", Selectors: bytes.Repeat([]byte("k"), 1<<20), DeadlineFactor: 2,
	}
	r, w := io.Pipe()
	sent := make(chan error, 1)
	go func() { sent <- SendRequest(w, want) }()
	got, err := ReceiveRequest(r)
	if diff := cmp.Diff(want, got, cmp.Comparer(bytes.Equal)); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

func TestInvalidRequestIsAnError(t *testing.T) {
	if _, err := ReceiveRequest(strings.NewReader("")); !errors.Is(err, ErrNoRequest) {
		t.Errorf("nothing: %v", err)
	}
	for name, sent := range map[string]string{"garbage": "\xff\xff", "a flood": strings.Repeat("x", maxRequest+1)} {
		if r, err := ReceiveRequest(strings.NewReader(sent)); err == nil || errors.Is(err, ErrNoRequest) {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
}

func TestWorkerThatDoesNotReadIsAnError(t *testing.T) {
	r, w := io.Pipe()
	_ = r.Close()
	if err := SendRequest(w, RunRequest{Generation: 1}); !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
}
