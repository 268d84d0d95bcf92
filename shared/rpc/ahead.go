package rpc

import (
	"errors"
	"fmt"
	"io"

	"google.golang.org/protobuf/proto"

	"session-manager/shared/rpc/workerpb"
)

// maxRequest bounds what a worker reads of its standard input. Selectors files, the
// only part of any size, have a bound of their own far below it.
const maxRequest = 8 << 20

// ErrNoRequest says that nothing was written.
var ErrNoRequest = errors.New("no request was sent ahead")

// SendAhead writes to the standard input of a worker what Run will ask of it, and
// closes it. The worker begins at once, and Chrome starts while go-plugin shakes
// hands, which takes as long as a tenth of a second. A worker of which nothing is
// asked ahead begins at Run.
func SendAhead(stdin io.WriteCloser, r RunRequest) error {
	encoded, err := proto.Marshal(runRequestToProto(r))
	if err == nil {
		_, err = stdin.Write(encoded)
	}
	if err := errors.Join(err, stdin.Close()); err != nil {
		return fmt.Errorf("cannot send request ahead: %w", err)
	}
	return nil
}

// ReceiveAhead reads what SendAhead writes, and returns when that is closed.
// ErrNoRequest when it is closed without a request.
func ReceiveAhead(stdin io.Reader) (RunRequest, error) {
	encoded, err := io.ReadAll(io.LimitReader(stdin, maxRequest+1))
	switch {
	case err != nil:
		return RunRequest{}, fmt.Errorf("cannot receive request: %w", err)
	case len(encoded) == 0:
		return RunRequest{}, ErrNoRequest
	case len(encoded) > maxRequest:
		return RunRequest{}, fmt.Errorf("cannot receive request: it is longer than %d bytes", maxRequest)
	}
	var p workerpb.RunRequest
	if err := proto.Unmarshal(encoded, &p); err != nil {
		return RunRequest{}, fmt.Errorf("cannot decode request: %w", err)
	}
	return runRequestFromProto(&p), nil
}
