package selectors

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
)

// lineAt returns the line, from 1, of a byte offset.
func lineAt(data []byte, offset int64) int {
	offset = min(max(offset, 0), int64(len(data)))
	return 1 + bytes.Count(data[:offset], []byte{'\n'})
}

// lineOfError returns the line of a decoding error. For an unknown key the
// decoder knows only how far it has read, which is the value after it.
func lineOfError(data []byte, dec *json.Decoder, err error) int {
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		return lineAt(data, e.Offset)
	}
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return lineAt(data, e.Offset)
	}
	if key, ok := unknownKey(err); ok {
		if at := bytes.Index(data, []byte(key)); at >= 0 {
			return lineAt(data, int64(at))
		}
	}
	return lineAt(data, dec.InputOffset())
}

// unknownKey takes the quoted key out of encoding/json's message, which has no
// type of its own.
func unknownKey(err error) (string, bool) {
	_, key, found := bytes.Cut([]byte(err.Error()), []byte("unknown field "))
	return string(key), found
}

// lineOf returns the line of the value that path leads to, or of the last of
// its ancestors that exists. The data must be valid JSON.
func lineOf(data []byte, path []string) int {
	dec := json.NewDecoder(bytes.NewReader(data))
	for _, name := range path {
		if !descend(dec, name) {
			break
		}
	}
	return lineAt(data, dec.InputOffset())
}

// descend moves dec just before the member called name of the object, or the
// element with that number of the array, that comes next.
func descend(dec *json.Decoder, name string) bool {
	open, err := dec.Token()
	if err != nil {
		return false
	}
	for i := 0; dec.More(); i++ {
		key := strconv.Itoa(i)
		if open == json.Delim('{') {
			tok, err := dec.Token()
			if err != nil {
				return false
			}
			key, _ = tok.(string)
		}
		if key == name {
			return true
		}
		var skip json.RawMessage
		if err := dec.Decode(&skip); err != nil {
			return false
		}
	}
	return false
}
