// Package strictjson reads JSON that comes from outside. encoding/json lets the last of
// several equal keys win, and equal is to it what differs only in case: two readers of
// the same text could see different values.
package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// maxDepth bounds how deep values may be nested. Ours are six deep.
const maxDepth = 100

var errTrailing = errors.New("something follows it")

// KeyError is a key that an object has twice.
type KeyError struct {
	Key string
	// Offset is where the second one ends, in bytes.
	Offset int64
}

// Error implements error.
func (e *KeyError) Error() string { return fmt.Sprintf("the key %.60q is there twice", e.Key) }

// Unmarshal is json.Unmarshal, and refuses objects that have a key twice.
func Unmarshal(data []byte, v any) error {
	if err := Check(data); err != nil {
		return err
	}
	return json.Unmarshal(data, v)
}

// Check returns nil if data is one JSON value, and no object in it has a key twice,
// regardless of case; a key that is there twice is a *KeyError.
func Check(data []byte) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := value(d, 0); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errTrailing
	}
	return nil
}

// value reads one value.
func value(d *json.Decoder, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("it is nested more than %d deep", maxDepth)
	}
	token, err := next(d)
	if err != nil {
		return err
	}
	open, ok := token.(json.Delim)
	if !ok {
		return nil
	}
	keys := map[string]bool{}
	for d.More() {
		if open == '{' {
			if token, err = next(d); err != nil {
				return err
			}
			key, _ := token.(string)
			folded := strings.ToLower(strings.ToUpper(key))
			if keys[folded] {
				return &KeyError{key, d.InputOffset()}
			}
			keys[folded] = true
		}
		if err := value(d, depth+1); err != nil {
			return err
		}
	}
	_, err = next(d)
	return err
}

// next reads a token within a value, where the end of the text is an error.
func next(d *json.Decoder) (json.Token, error) {
	token, err := d.Token()
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return token, err
}
