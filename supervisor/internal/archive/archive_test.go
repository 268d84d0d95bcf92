package archive

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"

	"session-manager/supervisor/internal/profile"
)

// cheap makes the tests fast; the real cost takes a second a time.
const cheap = 4

const passphrase = "correct horse battery staple"

func sealed(t *testing.T) []byte {
	t.Helper()
	dir := t.TempDir()
	for rel, content := range map[string]string{
		"Local State": "{}", "Default/Local Storage/leveldb/000003.log": "login", "Default/Cache/data": "cache", "Default/empty": "",
	} {
		target := filepath.Join(dir, rel)
		if err := errors.Join(os.MkdirAll(filepath.Dir(target), 0o755), os.WriteFile(target, []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	var b bytes.Buffer
	m := profile.Manifest{CreatedAt: time.Unix(1, 0).UTC(), Stamp: "a", LinkedAt: time.Unix(2, 0).UTC(), ChromeVersion: "156.0.1.2"}
	if _, err := Write(t.Context(), &b, passphrase, cheap, dir, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func read(t *testing.T, data []byte, phrase string) (profile.Manifest, map[string]string, error) {
	t.Helper()
	into := t.TempDir()
	m, err := Read(t.Context(), bytes.NewReader(data), phrase, into)
	found := map[string]string{}
	for _, f := range m.Files {
		content, readErr := os.ReadFile(filepath.Join(into, f.Path))
		info, statErr := os.Stat(filepath.Join(into, f.Path))
		if readErr != nil || statErr != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v %v", f.Path, readErr, statErr, info)
		}
		found[f.Path] = string(content)
	}
	return m, found, err
}

func TestExportedLoginCanBeRead(t *testing.T) {
	m, found, err := read(t, sealed(t), passphrase)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"Local State": "{}", "Default/Local Storage/leveldb/000003.log": "login", "Default/empty": ""}
	if d := cmp.Diff(want, found); d != "" {
		t.Error(d)
	}
	if m.Stamp != "a" || m.ChromeVersion != "156.0.1.2" || !m.LinkedAt.Equal(time.Unix(2, 0)) {
		t.Errorf("got %+v", m)
	}
}

func TestStreamHoldsNothingInTheClear(t *testing.T) {
	for _, word := range []string{"login", "Local State", "manifest"} {
		if bytes.Contains(sealed(t), []byte(word)) {
			t.Errorf("%q can be read", word)
		}
	}
}

func TestWrongPassphraseHasItsOwnError(t *testing.T) {
	if _, _, err := read(t, sealed(t), "wrong"); !errors.Is(err, ErrPassphrase) {
		t.Errorf("got %v", err)
	}
}

func TestDamagedFilesAreRefused(t *testing.T) {
	whole := sealed(t)
	flipped := bytes.Clone(whole)
	flipped[len(flipped)-20] ^= 1
	for name, data := range map[string][]byte{
		"empty": nil, "text": []byte("hello, world"), "cut": whole[:len(whole)-1], "cut in half": whole[:len(whole)/2],
		"a changed bit": flipped, "something follows": append(bytes.Clone(whole), "more"...),
	} {
		if _, _, err := read(t, data, passphrase); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// forged seals a tar that Write would not make.
func forged(t *testing.T, entries ...tar.Header) []byte {
	t.Helper()
	recipient, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		t.Fatal(err)
	}
	recipient.SetWorkFactor(cheap)
	var b bytes.Buffer
	w, err := age.Encrypt(&b, recipient)
	if err != nil {
		t.Fatal(err)
	}
	packed := gzip.NewWriter(w)
	out := tar.NewWriter(packed)
	for _, h := range entries {
		content := []byte("{}")
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(content))
		}
		if err := out.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := out.Write(content); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := errors.Join(out.Close(), packed.Close(), w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestForgedFilesWriteNothingElsewhere(t *testing.T) {
	for name, entries := range map[string][]tar.Header{
		"a path upwards":        {{Typeflag: tar.TypeReg, Name: "profile/../../evil"}},
		"an absolute path":      {{Typeflag: tar.TypeReg, Name: "/tmp/evil"}},
		"next to the profile":   {{Typeflag: tar.TypeReg, Name: "evil"}},
		"a link":                {{Typeflag: tar.TypeSymlink, Name: "profile/link", Linkname: "/etc"}},
		"a device":              {{Typeflag: tar.TypeChar, Name: "profile/null", Devmajor: 1, Devminor: 3}},
		"a file twice":          {{Typeflag: tar.TypeReg, Name: "profile/a"}, {Typeflag: tar.TypeReg, Name: "profile/a"}},
		"no manifest":           {{Typeflag: tar.TypeReg, Name: "profile/a"}},
		"nothing":               nil,
		"an unknown manifest":   {{Typeflag: tar.TypeReg, Name: "manifest.json"}},
		"a file without folder": {{Typeflag: tar.TypeReg, Name: "profile/no/such"}},
	} {
		if _, _, err := read(t, forged(t, entries...), passphrase); err == nil {
			t.Errorf("%s: it was accepted", name)
		}
	}
}

func TestReadEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Read(ctx, bytes.NewReader(sealed(t)), passphrase, t.TempDir()); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
