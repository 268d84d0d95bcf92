package worker

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/hashicorp/go-plugin"

	"session-manager/shared/reason"
	"session-manager/shared/rpc"
)

// maxHandshake bounds the first line of stdout. With its certificate it has about
// 900 bytes.
const maxHandshake = 16 << 10

// stdout takes the worker's standard output. Its first line goes to go-plugin;
// what follows is counted and dropped, since nothing belongs there, and nobody
// would read it.
type stdout struct {
	// handshake is go-plugin's end.
	handshake *io.PipeReader
	line      *io.PipeWriter
	done      chan struct{}

	dropped atomic.Int64
	refused atomic.Pointer[error]
}

func newStdout() *stdout {
	r, w := io.Pipe()
	return &stdout{handshake: r, line: w, done: make(chan struct{})}
}

// pump reads until from is closed.
func (s *stdout) pump(from io.Reader) {
	defer close(s.done)
	// go-plugin takes the end of its stdout for the end of the worker.
	defer func() { _ = s.line.Close() }()
	reader := bufio.NewReaderSize(from, maxHandshake)
	line, err := reader.ReadSlice('\n')
	if len(line) > 0 {
		if refused := checkHandshake(string(line)); refused != nil {
			s.refused.Store(&refused)
			_ = s.line.Close()
		} else {
			_, _ = s.line.Write(line)
		}
	}
	if err == nil || errors.Is(err, bufio.ErrBufferFull) {
		n, _ := io.Copy(io.Discard, reader)
		s.dropped.Add(n)
	}
}

// refusal returns why the first line is no handshake of ours; nil when it is, or
// there was none.
func (s *stdout) refusal() error {
	if err := s.refused.Load(); err != nil {
		return *err
	}
	return nil
}

// checkHandshake finds out what go-plugin tells in words only: whether the first
// line is that of a worker of our version. Its fields are the version of
// go-plugin's core protocol, ours, the network, the address, and more.
func checkHandshake(line string) error {
	fields := strings.Split(strings.TrimSpace(line), "|")
	version, err := 0, error(nil)
	if len(fields) >= 4 {
		version, err = strconv.Atoi(fields[1])
	}
	switch {
	case len(fields) < 4 || err != nil:
		err = errors.New("the program is no worker of this service: its first line is no handshake")
	case fields[0] != strconv.Itoa(plugin.CoreProtocolVersion):
		err = fmt.Errorf("the worker speaks version %.20q of go-plugin's protocol, the supervisor %d; build both from one tree",
			fields[0], plugin.CoreProtocolVersion)
	case version != rpc.ProtocolVersion:
		err = fmt.Errorf("the worker speaks protocol version %d, the supervisor %d; build both from one tree", version, rpc.ProtocolVersion)
	case fields[2] != "unix":
		err = fmt.Errorf("the worker listens on %.20q, not on a unix socket", fields[2])
	}
	return reason.Wrap(reason.WorkerUnusable, err)
}
