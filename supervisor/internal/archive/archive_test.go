package archive

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
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
	messages := Messages{filepath.Join(t.TempDir(), "messages"), filepath.Join(t.TempDir(), "received"), t.TempDir()}
	for path, content := range map[string]string{
		messages.Outbox: "to be sent", messages.Inbox: "received", filepath.Join(messages.Media, "3EB01"): "a file", filepath.Join(messages.Media, ".draft-1"): "half of a file",
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var b bytes.Buffer
	m := profile.Manifest{CreatedAt: time.Unix(1, 0).UTC(), Stamp: "a", LinkedAt: time.Unix(2, 0).UTC(), ChromeVersion: "156.0.1.2"}
	if _, err := Write(t.Context(), &b, passphrase, cheap, dir, messages, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// unpacked are new paths for messages.
func unpacked(t *testing.T) Messages {
	t.Helper()
	return Messages{filepath.Join(t.TempDir(), "outbox"), filepath.Join(t.TempDir(), "inbox"), filepath.Join(t.TempDir(), "media")}
}

func read(t *testing.T, data []byte, phrase string) (profile.Manifest, map[string]string, error) {
	t.Helper()
	into := t.TempDir()
	messages := unpacked(t)
	m, err := Read(t.Context(), bytes.NewReader(data), phrase, into, messages)
	found := map[string]string{}
	for _, described := range []*profile.File{m.Outbox, m.Inbox} {
		if described == nil {
			continue
		}
		content, err := os.ReadFile(map[string]string{"outbox": messages.Outbox, "inbox": messages.Inbox}[described.Path])
		if err != nil {
			t.Error(err)
		}
		found[described.Path] = string(content)
	}
	for _, f := range m.Media {
		content, err := os.ReadFile(filepath.Join(messages.Media, f.Path))
		if err != nil {
			t.Error(err)
		}
		found["media/"+f.Path] = string(content)
	}
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
	want := map[string]string{"Local State": "{}", "Default/Local Storage/leveldb/000003.log": "login", "Default/empty": "", "outbox": "to be sent", "inbox": "received", "media/3EB01": "a file"}
	if d := cmp.Diff(want, found); d != "" {
		t.Error(d)
	}
	if m.Stamp != "a" || m.ChromeVersion != "156.0.1.2" || !m.LinkedAt.Equal(time.Unix(2, 0)) {
		t.Errorf("got %+v", m)
	}
}

func TestProfileWithoutALoginIsNotExported(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "Local State"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, dir := range map[string]string{"empty": t.TempDir(), "without": dir} {
		if _, err := Write(t.Context(), io.Discard, passphrase, cheap, dir, Messages{}, profile.Manifest{}); !errors.Is(err, profile.ErrNoLogin) {
			t.Errorf("%s: got %v", name, err)
		}
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
		if _, _, err := read(t, data, passphrase); !errors.Is(err, ErrDamaged) || strings.Contains(err.Error(), "hello") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// entry is a file or a folder of a forged tar.
type entry struct {
	tar.Header
	content string
}

// file is an entry that Write would make.
func file(name, content string) entry {
	return entry{tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(content))}, content}
}

// folder is an entry, too.
func folder(name string) entry { return entry{Header: tar.Header{Typeflag: tar.TypeDir, Name: name}} }

// login is what every exported profile has.
var login = []entry{
	folder("profile/Default"), folder("profile/Default/Local Storage"), folder("profile/Default/Local Storage/leveldb"),
	file("profile/Default/Local Storage/leveldb/CURRENT", "{}"),
}

// manifest describes the login, and files whose content is "{}".
func manifest(paths ...string) entry {
	paths = append(paths, "Default/Local Storage/leveldb/CURRENT")
	list := make([]string, len(paths))
	for i, path := range paths {
		list[i] = `{"path":"` + path + `","size":2,"sha256":"44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}`
	}
	return file(manifestName, `{"format":1,"files":[`+strings.Join(list, ",")+`]}`)
}

// forged seals a tar that Write would not make, with the login, at a cost, and with something
// after its end.
func forged(t *testing.T, work int, after string, entries ...entry) []byte {
	t.Helper()
	recipient, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		t.Fatal(err)
	}
	recipient.SetWorkFactor(work)
	var b bytes.Buffer
	w, err := age.Encrypt(&b, recipient)
	if err != nil {
		t.Fatal(err)
	}
	packed := gzip.NewWriter(w)
	out := tar.NewWriter(packed)
	for _, e := range slices.Concat(login, entries) {
		if err := out.WriteHeader(&e.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Write([]byte(e.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = packed.Write([]byte(after))
	if err := errors.Join(err, packed.Close(), w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestForgedFilesAreRead(t *testing.T) {
	data := forged(t, cheap, "\x00\x00", folder("profile/a"), file("profile/a/b", "{}"), manifest("a/b"))
	if _, found, err := read(t, data, passphrase); err != nil || found["a/b"] != "{}" {
		t.Errorf("what the others are measured by: %v, %v", found, err)
	}
}

func TestForgedFilesAreRefused(t *testing.T) {
	link := entry{Header: tar.Header{Typeflag: tar.TypeSymlink, Name: "profile/link", Linkname: "/etc"}}
	device := entry{Header: tar.Header{Typeflag: tar.TypeChar, Name: "profile/null", Devmajor: 1, Devminor: 3}}
	a := file("profile/a", "{}")
	for name, entries := range map[string][]entry{
		"a path upwards":                {file("profile/../../evil", "{}")},
		"an absolute path":              {file("/tmp/evil", "{}")},
		"next to the profile":           {file("evil", "{}")},
		"the profile as a file":         {file("profile", "{}")},
		"a link":                        {link, manifest("link")},
		"a file behind a link":          {link, file("profile/link/passwd", "{}"), manifest("link/passwd")},
		"a device":                      {device},
		"a file twice":                  {a, a, manifest("a")},
		"a file twice, with two names":  {a, file("profile/./a", "{}"), manifest("a")},
		"a folder twice":                {folder("profile/f"), folder("profile/f"), a, manifest("a")},
		"a folder that is a file":       {a, folder("profile/a"), manifest("a")},
		"a file that is a folder":       {folder("profile/a"), a, manifest("a")},
		"a file below a file":           {a, file("profile/a/b", "{}"), manifest("a", "a/b")},
		"a file without folder":         {file("profile/no/such", "{}"), manifest("no/such")},
		"a long name":                   {file("profile/"+strings.Repeat("x", 300), "{}"), manifest("a")},
		"a long path":                   {file("profile/"+strings.Repeat("x/", 3000)+"x", "{}"), manifest("a")},
		"no manifest":                   {a},
		"a message's file not listed":   {file("media/a", "{}"), manifest()},
		"a message's file upwards":      {file("media/../../evil", "{}"), manifest()},
		"received but not listed":       {file("inbox", "{}"), manifest()},
		"received twice":                {file("inbox", "{}"), file("inbox", "{}"), manifest()},
		"a folder of messages' files":   {folder("media/a"), manifest()},
		"a message's hidden file":       {file("media/.draft-1", "{}"), manifest()},
		"nothing":                       nil,
		"an empty manifest":             {file(manifestName, `{"format":1,"files":[]}`)},
		"a missing file":                {a, manifest("a", "b")},
		"an additional file":            {a, file("profile/b", "{}"), manifest("a")},
		"a changed file":                {file("profile/a", "[]"), manifest("a")},
		"a file twice in the manifest":  {a, manifest("a", "a")},
		"a manifest that is a folder":   {folder(manifestName)},
		"an unknown format":             {a, file(manifestName, `{"format":2,"files":[]}`)},
		"a key twice in the manifest":   {a, file(manifestName, `{"format":2,`+manifest("a").content[1:])},
		"data after the manifest":       {a, file(manifestName, manifest("a").content+"{}")},
		"a file after the manifest":     {a, manifest("a"), file("profile/b", "{}")},
		"a manifest after the manifest": {a, manifest("a"), manifest("a")},
		"a pax header for all":          {{Header: tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"path": "profile/x"}}}},
	} {
		if _, _, err := read(t, forged(t, cheap, "", entries...), passphrase); !errors.Is(err, ErrDamaged) && !errors.Is(err, profile.ErrDamaged) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	whole := []entry{a, manifest("a")}
	for name, after := range map[string]string{"data": "x", "much": strings.Repeat("\x00", maxTail), "another tar": "a" + strings.Repeat("\x00", 1023)} {
		if _, _, err := read(t, forged(t, cheap, after, whole...), passphrase); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s after the end: got %v", name, err)
		}
	}
}

func TestFilesAndFoldersCountTowardTheLimit(t *testing.T) {
	for name, e := range map[string]entry{"a file": file("profile/a", "{}"), "a folder": folder("profile/a")} {
		u := unpacker{ctx: t.Context(), folder: t.TempDir(), left: 2, entries: maxEntries}
		if err := u.one(&e.Header, strings.NewReader(e.content)); err == nil {
			t.Errorf("%s more than the limit was accepted", name)
		}
		u = unpacker{ctx: t.Context(), folder: t.TempDir(), left: 2, entries: maxEntries - 1}
		if err := u.one(&e.Header, strings.NewReader(e.content)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	e := file("profile/a", "{}")
	u := unpacker{ctx: t.Context(), folder: t.TempDir(), left: 1}
	if err := u.one(&e.Header, strings.NewReader(e.content)); err == nil {
		t.Error("more bytes than the limit were accepted")
	}
}

// What a file claims is not computed when it is more than Write ever asks for.
func TestClaimedCostIsLimited(t *testing.T) {
	data := sealed(t)
	for claimed, want := range map[string]error{
		"19": ErrDamaged, "22": ErrDamaged, "30": ErrDamaged, "63": ErrDamaged, "0": ErrDamaged, "99999999999999999999": ErrDamaged,
		// Nothing but the passphrase seems to be wrong.
		"5": ErrPassphrase,
	} {
		header, rest, ok := bytes.Cut(data, []byte(" 4\n"))
		if !ok {
			t.Fatal("the header has no cost")
		}
		changed := slices.Concat(header, []byte(" "+claimed+"\n"), rest)
		if _, _, err := read(t, changed, passphrase); !errors.Is(err, want) {
			t.Errorf("%s: got %v", claimed, err)
		}
	}
}

// A header without an end costs no more memory than a long one.
func TestEndlessHeaderIsRefused(t *testing.T) {
	for _, line := range []string{"-> scrypt x 4\nAAAA\n", "x", "-> " + strings.Repeat("a ", 100)} {
		endless := io.MultiReader(strings.NewReader("age-encryption.org/v1\n"), &repeat{text: line})
		if _, err := Read(t.Context(), endless, passphrase, t.TempDir(), unpacked(t)); !errors.Is(err, ErrDamaged) {
			t.Errorf("got %v", err)
		}
	}
}

// repeat is a text without end.
type repeat struct{ text string }

func (r *repeat) Read(p []byte) (n int, err error) {
	for n < len(p) {
		n += copy(p[n:], r.text)
	}
	return n, nil
}

func TestReadEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Read(ctx, bytes.NewReader(sealed(t)), passphrase, t.TempDir(), unpacked(t)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// The reader that follows the header's last byte is called when the cost is about to be
// paid, which takes a second.
func TestNeitherEndWaitsForScrypt(t *testing.T) {
	data := forged(t, Work, "", file("profile/a", "{}"), manifest("a"))
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := Read(ctx, io.TeeReader(bytes.NewReader(data), canceller(cancel)), passphrase, t.TempDir(), unpacked(t)); !errors.Is(err, context.Canceled) {
		t.Errorf("Read: got %v", err)
	}
	done, cancelNow := context.WithCancel(t.Context())
	cancelNow()
	if _, err := Write(done, io.Discard, passphrase, Work, t.TempDir(), Messages{}, profile.Manifest{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Write: got %v", err)
	}
}

// canceller ends a context at the first write.
type canceller context.CancelFunc

func (c canceller) Write(p []byte) (int, error) {
	c()
	return len(p), nil
}
