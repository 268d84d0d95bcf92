package e2e

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
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
	console = regexp.MustCompile("(?s)```console\n(.*?)```")
	prompt  = regexp.MustCompile(`(?m)^\$ (.*)$`)
	remark  = regexp.MustCompile(`\s{2,}# .*$`)
	link    = regexp.MustCompile(`\]\(([^)]+)\)`)
)

// commandsIn returns the commands of the examples in a document.
func commandsIn(document string) (all []string) {
	for _, block := range console.FindAllStringSubmatch(document, -1) {
		for _, line := range prompt.FindAllStringSubmatch(block[1], -1) {
			all = append(all, strings.TrimSpace(remark.ReplaceAllString(line[1], "")))
		}
	}
	return all
}

// testedElsewhere are the beginnings of commands that need more than a service and a shell, with
// what runs them.
var testedElsewhere = map[string]string{
	"sudo systemctl ": "scripts/package/inside.sh", "systemctl ": "scripts/package/inside.sh", "journalctl ": "scripts/package/inside.sh",
	"sudo apt install ": "scripts/package/inside.sh", "sudo cp /usr/share/": "scripts/package/inside.sh",
	"sudo session-manager session ":          "scripts/package/inside.sh",
	"session-manager status --instance=3002": "scripts/package/inside.sh",
	"sudo session-manager logout":            "TestPhoneIsLinkedFromATerminal, with what comes before it",
	"sudo session-manager doctor":            "TestPackagedDoctorActsAsTheService", "session-manager doctor": "TestPackagedDoctorActsAsTheService",
	"sudo session-manager pair +":             "TestPhoneIsLinkedFromATerminal",
	"curl -s 'localhost:3001/qr?wait=25s&not": "package api",
	"curl -s localhost:3001/session/passkey":  "the tests of passkeys", "curl -s -X POST localhost:3001/session/passkey/": "the tests of passkeys",
	"curl -s -X DELETE localhost:3001/session/passkey": "the tests of passkeys",
	"make ":           "the Makefile's targets are compared",
	"docker compose ": "scripts/container/test.sh", "cd scripts/container ": "scripts/container/test.sh",
	`curl -s -H "Authorization: Bearer $(cat api-key)" `: "scripts/container/test.sh",
	"pm2 ": "another program", "pgrep -af tokens/ADMIN": "another program",
}

// endless are the beginnings of commands that run until they are interrupted.
var endless = []string{"curl -N ", "session-manager events "}

// answers404 is what has no answer with a linked phone, or a made-up id.
var answers404 = regexp.MustCompile(`/qr\.txt|/messages/3EB0`)

func TestDocumentsLeadSomewhere(t *testing.T) {
	all := readDocuments(t)
	if n := len(strings.Fields(all["../../README.md"])); n > 900 {
		t.Errorf("README.md has %d words, more than 900", n)
	}
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for path, content := range all {
		checkLinks(t, path, content)
		if page := filepath.Base(path); page != "README.md" && !strings.Contains(all["../../README.md"], "docs/"+page) {
			t.Errorf("README.md does not lead to %s", page)
		}
		for _, command := range commandsIn(content) {
			for prefix := range testedElsewhere {
				used[prefix] = used[prefix] || strings.HasPrefix(command, prefix)
			}
			if target, ok := strings.CutPrefix(command, "make "); ok && !strings.Contains(string(makefile), "\n"+target+":") {
				t.Errorf("%s: there is no target %s", path, target)
			}
		}
	}
	for prefix := range testedElsewhere {
		if !used[prefix] {
			t.Errorf("no document has a command that begins with %q", prefix)
		}
	}
}

// checkLinks wants the files to which a document leads.
func checkLinks(t *testing.T, path, content string) {
	t.Helper()
	for _, m := range link.FindAllStringSubmatch(content, -1) {
		target, _, _ := strings.Cut(m[1], "#")
		if strings.Contains(target, "://") || target == "" {
			continue
		}
		if _, err := os.Stat(filepath.Join(filepath.Dir(path), target)); err != nil {
			t.Errorf("%s: the link to %s: %v", path, m[1], err)
		}
	}
}

// documented runs the commands of the documents as they are written, but for the address, the
// time to wait and sudo, with a service that is READY.
func (a asking) documented(address string) {
	folder := a.t.TempDir()
	write(a.t, filepath.Join(folder, ".curlrc"), "write-out = \"%{stderr}%{http_code}\"\n")
	program, err := filepath.Abs(binaries.Supervisor)
	if err != nil {
		a.t.Fatal(err)
	}
	if err := os.Symlink(program, filepath.Join(folder, "session-manager")); err != nil {
		a.t.Fatal(err)
	}
	write(a.t, filepath.Join(folder, "offer.pdf"), "%PDF-1.4\n")
	a.env = append(slices.Clone(a.env), "PATH="+folder+":"+os.Getenv("PATH"), "CURL_HOME="+folder)
	done := map[string]bool{}
	for path, content := range readDocuments(a.t) {
		for _, command := range commandsIn(content) {
			elsewhere := func(prefix string) bool { return strings.HasPrefix(command, prefix) }
			line := strings.ReplaceAll(strings.TrimPrefix(command, "sudo "), "localhost:3001", address)
			if done[line] || slices.ContainsFunc(keys(testedElsewhere), elsewhere) {
				continue
			}
			done[line] = true
			line = regexp.MustCompile(`wait=\w+`).ReplaceAllString(line, "wait=100ms")
			if out, ok := a.shell(folder, line, slices.ContainsFunc(endless, elsewhere)); !ok {
				a.t.Errorf("%s: %s: %s", path, command, out)
			}
		}
	}
	if len(done) < 10 {
		a.t.Errorf("only %d commands were run", len(done))
	}
}

func keys(m map[string]string) (all []string) {
	for key := range m {
		all = append(all, key)
	}
	return all
}

// shell runs a command in folder, and reports whether it did what it should. An endless one is interrupted
// once it has written something.
func (a asking) shell(folder, line string, endless bool) (string, bool) {
	cmd := exec.CommandContext(within(a.t), "bash", "-c", "exec "+line)
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), a.env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if !endless {
		out, err := cmd.Output()
		code := stderr.String()
		refused := strings.HasPrefix(line, "curl") && !strings.HasSuffix(code, "200") && !strings.HasSuffix(code, "202")
		if answers404.MatchString(line) && strings.HasSuffix(code, "404") {
			refused = false
		}
		return string(out) + code, err == nil && !refused
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil || cmd.Start() != nil {
		a.t.Fatal(err)
	}
	first, err := bufio.NewReader(stdout).ReadString('\n')
	_ = cmd.Process.Signal(syscall.SIGINT)
	_ = cmd.Wait()
	return first + stderr.String(), err == nil
}
