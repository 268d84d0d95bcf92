package e2e

import (
	"encoding/base64"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// qr returns the picture of /qr, and false for NO_QR.
func (s *service) qr() ([]byte, bool) {
	s.t.Helper()
	png, err := parseQR(s.get("/qr").body)
	if err != nil {
		s.t.Fatal(err)
	}
	return png, png != nil
}

// parseQR returns the picture of a body of /qr, nil for NO_QR. Everything that
// is not one of the two forms of the contract to the letter is an error.
func parseQR(body string) ([]byte, error) {
	if body == `{"status":"NO_QR"}` {
		return nil, nil
	}
	encoded, ok := strings.CutPrefix(body, `{"status":"QR_AVAILABLE","qr":"`)
	encoded, ok2 := strings.CutSuffix(encoded, `"}`)
	if !ok || !ok2 {
		return nil, errors.New("not the contract: " + body)
	}
	return base64.StdEncoding.DecodeString(encoded)
}

// awaitQR waits until /qr serves a picture, and returns its string.
func (s *service) awaitQR() string {
	s.t.Helper()
	ctx := within(s.t)
	path := "/qr"
	for {
		a, err := s.try(ctx, path)
		if err != nil {
			s.t.Fatalf("waiting for a QR: %v; session: %s", err, s.mustSession())
		}
		png, err := parseQR(a.body)
		if err != nil {
			s.t.Fatal(err)
		}
		if png != nil {
			return decode(s.t, png)
		}
		path = "/qr?wait=1s"
	}
}

// awaitNewQR waits until /qr serves another picture than at the last call, and
// returns its string.
func (s *service) awaitNewQR(variant string) string {
	s.t.Helper()
	ctx := within(s.t)
	path := "/qr"
	for {
		a, err := s.try(ctx, path)
		if err != nil {
			s.t.Fatalf("%s: waiting for a new QR: %v; session: %s", variant, err, s.mustSession())
		}
		picture, err := parseQR(a.body)
		if err != nil {
			s.t.Fatal(err)
		}
		if picture != nil && a.body != s.lastQR {
			s.lastQR = a.body
			return scan(s.t, picture)
		}
		path = "/qr?wait=1s"
	}
}

// decode reads a QR with zbar, a decoder that shares nothing with ours.
func decode(t *testing.T, png []byte) string {
	t.Helper()
	zbarimg, err := exec.LookPath("zbarimg")
	if err != nil {
		t.Skip("zbarimg is missing: apt-get install zbar-tools")
	}
	file := filepath.Join(t.TempDir(), "qr.png")
	if err := os.WriteFile(file, png, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), zbarimg, "--quiet", "--raw", file).Output()
	if err != nil {
		t.Fatalf("zbarimg: %v", err)
	}
	return strings.TrimSuffix(string(out), "\n")
}
