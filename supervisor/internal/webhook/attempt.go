package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// maxAnswer bounds what is read of an answer, in bytes: the connection can be
// used again only when it was read.
const maxAnswer = 64 << 10

// attempt posts body once. Any answer but 2xx is an error; after is how long the
// receiver wants to be left alone.
func (s *Sender) attempt(ctx context.Context, id string, body []byte) (after time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.Timings.Attempt)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL, bytes.NewReader(body))
	if err != nil {
		return 0, withoutURL(err)
	}
	now := strconv.FormatInt(time.Now().Unix(), 10)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "session-manager/"+s.Version)
	r.Header.Set("Webhook-Id", id)
	r.Header.Set("Webhook-Timestamp", now)
	if len(s.Key) > 0 {
		r.Header.Set("Webhook-Signature", Signature(s.Key, id, now, body))
	}
	resp, err := s.client.Do(r)
	if err != nil {
		return 0, withoutURL(err)
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.CopyN(io.Discard, resp.Body, maxAnswer)
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return retryAfter(resp.Header.Get("Retry-After")), errStatus(resp.StatusCode)
	}
	return 0, nil
}

// Signature is what webhook-signature must hold for a delivery: "v1," and the
// base64 of HMAC-SHA256 over "id.timestamp.body".
func Signature(key []byte, id, timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, key)
	_, _ = fmt.Fprintf(mac, "%s.%s.%s", id, timestamp, body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// withoutURL drops the address, and with it what may be secret, from an error of
// net/http.
func withoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return fmt.Errorf("cannot reach the receiver: %w", e.Err)
	}
	return errors.New("cannot use the receiver's address")
}

// retryAfter reads the form in seconds; the other one, a date, is rare.
func retryAfter(text string) time.Duration {
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0
	}
	return min(time.Duration(min(n, 3600))*time.Second, maxRetryAfter)
}

// minKey is the shortest key, in bytes, that is worth the name.
const minKey = 16

// secretPrefix marks a key in base64, as Standard Webhooks writes it.
const secretPrefix = "whsec_"

// ReadKey reads the signing key from a file: "whsec_" and base64, or the key as
// it is.
func ReadKey(path string) ([]byte, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read webhook key: %w", err)
	}
	key := bytes.TrimSpace(content)
	if text, ok := strings.CutPrefix(string(key), secretPrefix); ok {
		if key, err = base64.StdEncoding.DecodeString(text); err != nil {
			return nil, fmt.Errorf("cannot use webhook key of %s: after %s it is no base64", path, secretPrefix)
		}
	}
	if len(key) < minKey {
		return nil, fmt.Errorf("cannot use webhook key of %s: it needs at least %d bytes (openssl rand -hex 24 makes a good one)", path, minKey)
	}
	return key, nil
}
