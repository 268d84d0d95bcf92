package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestRunServesPageAndLeversUntilStopped(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	out, in := io.Pipe()
	code := make(chan int, 1)
	var stderr bytes.Buffer
	go func() {
		args := []string{"--listen=127.0.0.1:0", "--control=127.0.0.1:0", "--speed=10", "--fault=slow=1"}
		code <- run(ctx, args, in, &stderr)
		_ = in.Close()
	}()
	line := make([]byte, 200)
	n, err := out.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	words := strings.Fields(string(line[:n]))
	for _, url := range []string{words[1], words[3] + "healthz"} {
		response, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		if response.StatusCode != http.StatusOK {
			t.Errorf("%s is answered with %s", url, response.Status)
		}
		_ = response.Body.Close()
	}
	stop()
	if got := <-code; got != 0 {
		t.Errorf("exit code %d, %s", got, &stderr)
	}
}

func TestRunRefusesBadFlags(t *testing.T) {
	for name, row := range map[string]struct {
		args []string
		code int
		says string
	}{
		"all interfaces":  {[]string{"--listen=0.0.0.0:0"}, 1, "loopback only"},
		"control outside": {[]string{"--listen=127.0.0.1:0", "--control=:0"}, 1, "loopback only"},
		"no address":      {[]string{"--listen=3002"}, 1, "missing port"},
		"profile":         {[]string{"--profile=1999"}, 1, "is not one of"},
		"fault":           {[]string{"--fault=gravity"}, 1, "is not a switch"},
		"unknown flag":    {[]string{"--gravity"}, 2, "not defined"},
	} {
		var stderr bytes.Buffer
		if code := run(t.Context(), row.args, io.Discard, &stderr); code != row.code || !strings.Contains(stderr.String(), row.says) {
			t.Errorf("%s: exit code %d, %s", name, code, &stderr)
		}
	}
}
