package doctor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"session-manager/supervisor/internal/profile/profiletest"
)

func TestPlaceOfTheLoginIsNamed(t *testing.T) {
	want := map[string]string{
		"plain folder": "✓ ", "link": "✓ is a link to", "link to a link": "✓ is a link to",
		"link to another file system": "✓ is a link to", "link to a mount point": "✓ is a link to",
		"mount point": "✓ is a mount point", "mount point of the same file system": "✓ is a mount point",
		"overlay":                             "! is in an overlay",
		"quarantine and backups behind links": "✓ ", "quarantine and backups on mount points": "✓ ",
	}
	for _, place := range profiletest.Places {
		t.Run(place.Name, func(t *testing.T) {
			tokens, check := place.Put(t, "login")
			f := checkPlace(tokens)(t.Context())
			mark, text, _ := strings.Cut(want[place.Name], " ")
			if f.Mark.String() != mark || !strings.Contains(f.Found, text) || !strings.Contains(f.Found, filepath.Join(tokens, "admin")) {
				t.Errorf("got %+v", f)
			}
			check()
		})
	}
	for name, want := range map[string]Mark{"admin": Bad, "admin/Default": Warning} {
		tokens := t.TempDir()
		if got := checkPlace(tokens)(t.Context()); got.Mark != Good || !strings.Contains(got.Found, "no profile yet") {
			t.Errorf("nothing: %+v", got)
		}
		link := filepath.Join(tokens, name)
		if err := os.MkdirAll(filepath.Dir(link), 0o700); err != nil {
			t.Fatal(err)
		}
		target := map[Mark]string{Bad: "/not/mounted", Warning: t.TempDir()}
		if err := os.Symlink(target[want], link); err != nil {
			t.Fatal(err)
		}
		if got := checkPlace(tokens)(t.Context()); got.Mark != want || !strings.Contains(got.Found, link+" is a link") || got.Do == "" {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
