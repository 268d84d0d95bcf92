package peers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http/httptest"
	"os"
	"testing"

	"session-manager/scripts/simulator"
)

// stage is a simulator for one program, and a folder that is thrown away.
type stage struct {
	sim    *simulator.Server
	web    *httptest.Server // over TLS, with a certificate for another name
	folder string
}

func openStage(t *testing.T, profile string) *stage {
	t.Helper()
	s := &stage{}
	var err error
	if s.sim, err = simulator.New(simulator.Options{Profile: profile}); err != nil {
		t.Fatal(err)
	}
	s.web = httptest.NewTLSServer(s.sim)
	t.Cleanup(func() {
		s.web.CloseClientConnections()
		s.sim.Close()
		s.web.Close()
	})
	if s.folder, err = os.MkdirTemp("/tmp", "peers"); err != nil { // short, as sockets are made below it
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(s.folder) })
	return s
}

// chromeArgs lead a Chrome to the page, and nowhere else.
func (s *stage) chromeArgs() []string {
	_, port, _ := net.SplitHostPort(s.web.Listener.Addr().String())
	return []string{
		fmt.Sprintf("--host-resolver-rules=MAP web.whatsapp.com 127.0.0.1:%s, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", port),
		"--ignore-certificate-errors", "--disable-background-networking", "--disable-component-update",
	}
}

// rotate makes the page draw another ADV secret under the same ref, and returns what
// it shows then.
func (s *stage) rotate(ctx context.Context) (simulator.Screen, error) {
	before := s.sim.OnScreen()
	if err := s.sim.RotateADV(); err != nil {
		return before, err
	}
	var after simulator.Screen
	err := s.sim.Await(ctx, func(c simulator.Screen) bool {
		after = c
		return c.Visible && c.Payload != before.Payload
	})
	if err == nil && after.Ref != before.Ref {
		err = errors.New("the ref has changed with the secret")
	}
	return after, err
}

// expire makes the list of codes run out, and returns when the page shows it.
func (s *stage) expire(ctx context.Context) error {
	if err := s.sim.ExpireNow(); err != nil {
		return err
	}
	return s.sim.Await(ctx, func(c simulator.Screen) bool { return c.Overlay == "idle" || c.State != "UNPAIRED" })
}
