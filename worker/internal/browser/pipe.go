package browser

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// messageLimit is the longest message that is taken from Chrome. The longest
// that we ask for is a screenshot, below 10 MiB.
const messageLimit = 64 << 20

// pipe is the DevTools connection over Chrome's file descriptors 3 and 4: JSON
// messages, each ended by a NUL byte (Chromium's devtools_pipe_handler.cc). Once
// one direction has failed the whole connection is closed, so that no call can
// wait for an answer that never comes, and a living Chrome closes itself.
type pipe struct {
	commands *os.File // our end of Chrome's fd 3
	answers  *os.File // our end of Chrome's fd 4
	reader   *bufio.Reader
	// writeLimit is how long one Send may take.
	writeLimit time.Duration

	// answered is when Chrome's last answer to a command came, nil before the first one.
	answered atomic.Pointer[time.Time]

	mu    sync.Mutex            // serialises Send
	cause atomic.Pointer[error] // why the connection ended, first cause first; nil while it lives
}

func newPipe(commands, answers *os.File) *pipe {
	return &pipe{commands: commands, answers: answers, reader: bufio.NewReaderSize(answers, 64<<10), writeLimit: writeLimit}
}

// Send implements cdp.WebSocketable. It does not block for longer than
// writeLimit; then the connection is given up, since half a message can't be taken
// back.
func (p *pipe) Send(data []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if cause := p.cause.Load(); cause != nil {
		return fmt.Errorf("cannot send to Chrome: %w", *cause)
	}
	err := p.commands.SetWriteDeadline(time.Now().Add(p.writeLimit))
	if err == nil {
		_, err = p.commands.Write(append(data, 0))
	}
	if err != nil {
		return fmt.Errorf("cannot send to Chrome: %w", p.end(err))
	}
	return nil
}

// Read implements cdp.WebSocketable. It is called by one goroutine. A message that
// rod's client could not decode ends the connection here, because the client would
// panic.
func (p *pipe) Read() ([]byte, error) {
	var answers bool
	data, err := p.readMessage()
	if err == nil {
		answers, err = checkEnvelope(data)
	}
	if err != nil {
		// A Send that has begun must fail before the reader fails the calls that
		// wait; one that has not begun finds the pipe closed.
		cause := p.end(err)
		p.mu.Lock()
		defer p.mu.Unlock()
		return nil, fmt.Errorf("cannot read from Chrome: %w", cause)
	}
	if answers {
		p.answered.Store(new(time.Now()))
	}
	return data, nil
}

// end closes both directions, which frees a Send that is blocked, and returns why
// the connection ended: err, unless it had ended before.
func (p *pipe) end(err error) error {
	cause := ErrGone
	if err != nil {
		cause = fmt.Errorf("%w: %w", ErrGone, err)
	}
	p.cause.CompareAndSwap(nil, &cause)
	_ = p.commands.Close()
	_ = p.answers.Close()
	return *p.cause.Load()
}

func (p *pipe) readMessage() ([]byte, error) {
	var message []byte
	for {
		part, err := p.reader.ReadSlice(0)
		message = append(message, part...)
		switch {
		case len(message) > messageLimit:
			return nil, fmt.Errorf("message is longer than %d bytes", messageLimit)
		case err == nil:
			return message[:len(message)-1], nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}

// anything is JSON that is not looked at.
type anything struct{}

// UnmarshalJSON implements json.Unmarshaler.
func (*anything) UnmarshalJSON([]byte) error { return nil }

// checkEnvelope returns an error if rod's client can't decode data, and reports whether it
// answers a command; otherwise it is an event.
func checkEnvelope(data []byte) (answers bool, err error) {
	var envelope struct {
		ID        int      `json:"id"`
		SessionID string   `json:"sessionId"`
		Method    string   `json:"method"`
		Params    anything `json:"params"`
		Result    anything `json:"result"`
		Error     *struct {
			Code    int    `json:"code"`
			Message string `json:"message"`
			Data    string `json:"data"`
		} `json:"error"`
	}
	err = json.Unmarshal(data, &envelope)
	return envelope.ID != 0, err
}

// Close ends the connection in both directions, which makes a living Chrome close
// itself cleanly. It returns when no Send is under way. It may be called
// again.
func (p *pipe) Close() {
	_ = p.end(nil)
	p.mu.Lock()
	defer p.mu.Unlock()
}
