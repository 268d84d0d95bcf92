package rpc

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// maxRequest bounds what a worker reads of its standard input, in bytes. Selectors
// files, the only part of any size, have a bound of their own far below it.
const maxRequest = 8 << 20

// SendRequest writes r to the standard input of a worker, and closes it. The worker
// begins at once: Chrome starts while go-plugin shakes hands, which takes as long as
// a tenth of a second.
func SendRequest(stdin io.WriteCloser, r RunRequest) error {
	encoded, err := json.Marshal(r)
	if err == nil {
		_, err = stdin.Write(encoded)
	}
	if err := errors.Join(err, stdin.Close()); err != nil {
		return fmt.Errorf("cannot send request: %w", err)
	}
	return nil
}

// ReceiveRequest reads what SendRequest writes, and returns when that is closed.
// ErrNoRequest when it is closed without a request.
func ReceiveRequest(stdin io.Reader) (RunRequest, error) {
	encoded, err := io.ReadAll(io.LimitReader(stdin, maxRequest+1))
	switch {
	case err != nil:
		return RunRequest{}, fmt.Errorf("cannot receive request: %w", err)
	case len(encoded) == 0:
		return RunRequest{}, ErrNoRequest
	case len(encoded) > maxRequest:
		return RunRequest{}, fmt.Errorf("cannot receive request: it is longer than %d bytes", maxRequest)
	}
	var r RunRequest
	if err := json.Unmarshal(encoded, &r); err != nil {
		return RunRequest{}, fmt.Errorf("cannot decode request: %w", err)
	}
	return r, nil
}
