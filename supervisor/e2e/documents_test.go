package e2e

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

const documents = "../../scripts/package/docs"

// readDocuments returns README.md and the pages that it leads to, by their paths.
func readDocuments(t *testing.T) map[string]string {
	t.Helper()
	paths, err := filepath.Glob(documents + "/*.md")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no documents: %v", err)
	}
	all := map[string]string{}
	for _, path := range append(paths, "../../README.md") {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all[path] = string(content)
	}
	return all
}

var (
	block  = regexp.MustCompile("(?ms)^```(\\S*)\n(.*?)^```$")
	hidden = regexp.MustCompile("(?m)^([ \t]+```|[ \t]*~~~|    \\$ )")
	prompt = regexp.MustCompile(`(?m)^\$ (.*)$`)
	remark = regexp.MustCompile(`\s{2,}# .*$`)
)

// commandsIn returns the commands of the examples in a document, without sudo.
func commandsIn(document string) (all []string) {
	for _, b := range block.FindAllStringSubmatch(document, -1) {
		if b[1] != "console" {
			continue
		}
		for _, line := range prompt.FindAllStringSubmatch(b[2], -1) {
			all = append(all, strings.TrimPrefix(strings.TrimSpace(remark.ReplaceAllString(line[1], "")), "sudo "))
		}
	}
	return all
}

// command returns a command of the documents, which must be there as it is written here. The calls in the
// sources of the tests are the list of the commands that need a test of their own.
func command(t *testing.T, text string) string {
	t.Helper()
	for _, content := range readDocuments(t) {
		if slices.Contains(commandsIn(content), text) {
			return text
		}
	}
	t.Errorf("no document has the command %s", text)
	return text
}

// words returns the arguments of a command for our program that has no quotes.
func words(command string) []string { return strings.Fields(command)[1:] }

var (
	call = regexp.MustCompile("\\bcommand\\(\\w+(?:\\.t)?, (\"[^\"]*\"|`[^`]*`)\\)")
	// scripted are commands that need systemd and the package, a container, or a clone.
	scripted = regexp.MustCompile(`^(systemctl|journalctl|apt|cp|cd|docker|make|echo|printf|curl .*cat api-key|session-manager (session|doctor|status --instance))\b`)
	byScript = regexp.MustCompile(`(?m)^\s*documented ([a-z ]+)`)
)

// runByTests returns the commands that a test of their own runs.
func runByTests(t *testing.T) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	for _, m := range call.FindAllStringSubmatch(sources(t, "*_test.go"), -1) {
		text, err := strconv.Unquote(m[1])
		if err != nil {
			t.Fatal(err)
		}
		all[text] = true
	}
	return all
}

// runByScripts returns the commands that the scripts of test-systemd and test-container run, and take from the pages.
func runByScripts(t *testing.T) map[string]bool {
	t.Helper()
	run, all := map[string]bool{"make test": true}, readDocuments(t) // it is what runs here
	inside := sources(t, "../../scripts/package/inside.sh")
	for _, m := range byScript.FindAllStringSubmatch(inside+sources(t, "../../scripts/container/test.sh"), -1) {
		for page := range strings.FieldsSeq(m[1]) {
			for _, command := range commandsIn(all[documents+"/"+page+".md"]) {
				run[command] = true
			}
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^\s*in_clone (make \w+)`).FindAllStringSubmatch(sources(t, "../../scripts/package/test-systemd.sh"), -1) {
		run[m[1]] = true
	}
	return run
}

// sources returns the files that a pattern names, one after the other.
func sources(t *testing.T, pattern string) string {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("no %s: %v", pattern, err)
	}
	var all strings.Builder
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(content)
	}
	return all.String()
}

// examples are the programs and data in the documents, with the source that takes them from there.
var examples = map[string]string{
	"README.md sh": "inbox_test.go", "README.md python": "inbox_test.go", "webhook.md js": "../internal/webhook/library_test.go",
	"webhook.md ini":  "../../scripts/package/inside.sh",
	"webhook.md http": "", "log.md json": "", // what the service writes
}

func TestEachCommandOfTheDocumentsIsRun(t *testing.T) {
	byTests, byScripts := runByTests(t), runByScripts(t)
	for path, content := range readDocuments(t) {
		page := filepath.Base(path)
		for _, command := range commandsIn(content) {
			if scripted.MatchString(command) && !byTests[command] && !byScripts[command] {
				t.Errorf("%s: neither a test nor test-systemd runs: %s", page, command)
			}
		}
		checkBlocks(t, page, content)
	}
}

// checkBlocks wants each block of a page to be commands of one line, or something that a test takes from there.
func checkBlocks(t *testing.T, page, content string) {
	t.Helper()
	if hidden.MatchString(content) {
		t.Errorf("%s: a block that is indented, or fenced by other signs, is not looked at", page)
	}
	for _, b := range block.FindAllStringSubmatch(content, -1) {
		if b[1] == "console" {
			if n := len(prompt.FindAllString(b[2], -1)); n == 0 || strings.Contains(b[2], "\\\n") {
				t.Errorf("%s: a block with %d commands, of one line each: %s", page, n, b[2])
			}
		} else if by, known := examples[page+" "+b[1]]; !known || by != "" && !strings.Contains(sources(t, by), page) {
			t.Errorf("%s: no test takes this %q from there: %s", page, b[1], b[2])
		}
	}
}

// endless are the beginnings of commands that run until they are interrupted.
var endless = regexp.MustCompile(`^(curl -N|session-manager events) `)

// answers404 is what has no answer with a linked phone, or a made-up id.
var answers404 = regexp.MustCompile(`/qr\.txt|/messages/3EB0|/media/`)

// documented runs the commands of the documents with a service that is READY.
func (a asking) documented(address string) {
	s := a.shell(address)
	write(a.t, filepath.Join(s.folder, "offer.pdf"), "%PDF-1.4\n")
	byTests := runByTests(a.t)
	done := map[string]bool{}
	for _, content := range readDocuments(a.t) {
		for _, command := range commandsIn(content) {
			if !done[command] && !byTests[command] && !scripted.MatchString(command) {
				done[command] = true
				s.runs(command)
			}
		}
	}
	if len(done) < 20 {
		a.t.Errorf("only %d commands were run", len(done))
	}
}

// shell is where commands of the documents are run as they are written, but for the address, the time to wait and sudo.
type shell struct {
	asking
	folder, address string
}

func (a asking) shell(address string) shell {
	folder := a.t.TempDir()
	write(a.t, filepath.Join(folder, ".curlrc"), "write-out = \"%{stderr}%{http_code}\"\n")
	program, err := filepath.Abs(binaries.Supervisor)
	if err != nil {
		a.t.Fatal(err)
	}
	if err := os.Symlink(program, filepath.Join(folder, "session-manager")); err != nil {
		a.t.Fatal(err)
	}
	a.env = append(slices.Clone(a.env), "PATH="+folder+":"+os.Getenv("PATH"), "CURL_HOME="+folder)
	return shell{a, folder, address}
}

// runs runs a command, which must do what it should, and returns what it wrote. An endless one is interrupted once it
// has written something.
func (s shell) runs(command string) string {
	s.t.Helper()
	line := strings.ReplaceAll(command, "localhost:3001", s.address)
	line = regexp.MustCompile(`wait=\w+`).ReplaceAllString(line, "wait=100ms")
	cmd := exec.CommandContext(within(s.t), "bash", "-c", "exec "+line)
	cmd.Dir = s.folder
	cmd.Env = append(os.Environ(), s.env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if !endless.MatchString(command) {
		out, err := cmd.Output()
		code := stderr.String()
		refused := strings.HasPrefix(line, "curl") && !strings.HasSuffix(code, "200") && !strings.HasSuffix(code, "202")
		if answers404.MatchString(line) && strings.HasSuffix(code, "404") {
			refused, err = false, nil // with -f, curl fails
		}
		if err != nil || refused {
			s.t.Errorf("%s: %v: %s%s", command, err, out, code)
		}
		return string(out)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil || cmd.Start() != nil {
		s.t.Fatal(err)
	}
	first, err := bufio.NewReader(stdout).ReadString('\n')
	_ = cmd.Process.Signal(syscall.SIGINT)
	_ = cmd.Wait()
	if err != nil {
		s.t.Errorf("%s: %v: %s%s", command, err, first, stderr.String())
	}
	return first
}
