package peers

import (
	"fmt"
	"net"
	"net/http/httptest"
	"os"

	"session-manager/scripts/simulator"
)

// Stage is a simulator for one program, and a folder that Close removes.
type Stage struct {
	Sim    *simulator.Server
	Folder string
	web    *httptest.Server // over TLS, with a certificate for another name
}

// OpenStage serves the simulator's page.
func OpenStage(o simulator.Options) (*Stage, error) {
	sim, err := simulator.New(o)
	if err != nil {
		return nil, err
	}
	folder, err := os.MkdirTemp("/tmp", "peers") // short, as sockets are made below it
	if err != nil {
		sim.Close()
		return nil, fmt.Errorf("cannot make folder: %w", err)
	}
	return &Stage{Sim: sim, Folder: folder, web: httptest.NewTLSServer(sim)}, nil
}

// Close ends the simulator and removes the folder.
func (s *Stage) Close() {
	s.web.CloseClientConnections()
	s.Sim.Close()
	s.web.Close()
	_ = os.RemoveAll(s.Folder)
}

// ChromeArgs lead a Chrome to the page, and nowhere else.
func (s *Stage) ChromeArgs() []string {
	_, port, _ := net.SplitHostPort(s.web.Listener.Addr().String())
	return []string{
		fmt.Sprintf("--host-resolver-rules=MAP web.whatsapp.com 127.0.0.1:%s, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", port),
		"--ignore-certificate-errors", "--disable-background-networking", "--disable-component-update",
	}
}
