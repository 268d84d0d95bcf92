package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// strangers is more connections than the service serves at once.
const strangers = 2300

// clientFaults are clients that take what the others need.
func clientFaults() []fault {
	const get = "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n"
	var faults []fault
	for _, kind := range []struct{ what, request string }{
		{"that are idle", fmt.Sprintf(get, "/healthz")},
		{"that send nothing", ""},
		{"that send their headers slowly", "GET / HTTP/1.1\r\nHost: loc"},
		{"that send their bodies slowly", "POST /session/restart HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{"},
		{"that wait", fmt.Sprintf(get, "/status?wait=60s")},
		{"that listen to events", fmt.Sprintf(get, "/events")},
	} {
		faults = append(faults, fault{
			name: fmt.Sprintf("%d connections %s", strangers, kind.what), expect: nothing, hold: 3 * time.Second, inject: crowd(kind.request),
		})
	}
	return faults
}

// crowd opens many connections that send a request, and holds them until the fault is over.
func crowd(request string) action {
	return simply(func(h *hit) error {
		var open []net.Conn
		h.afterwards(func() error {
			for _, conn := range open {
				_ = conn.Close()
			}
			return nil
		})
		for range strangers {
			conn, err := net.DialTimeout("tcp", h.address, patience)
			if err != nil {
				return errors.Join(errSkipped, err)
			}
			open = append(open, conn)
			_, _ = io.WriteString(conn, request) // it may have had to make way
		}
		return nil
	})
}
