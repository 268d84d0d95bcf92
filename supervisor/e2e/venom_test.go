package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"session-manager/scripts/harness"
	"session-manager/shared/chrome"
)

// venom is a program that does what venom-bot does to a machine: a Chrome with a profile in tokens/ADMIN, and a port.
const venom = `const { spawn } = require("child_process");
spawn(process.env.CHROME, ["--headless", "--no-sandbox", "--user-data-dir=" + __dirname + "/tokens/ADMIN", "about:blank"], { stdio: "ignore" });
require("http").createServer((request, response) => response.end("venom")).listen(process.env.PORT, "127.0.0.1", () => process.send("ready"));
`

// TestProgramUnderPM2IsLeftAsDocumented has PM2 restore what it has saved, as at a boot of the machine.
func TestProgramUnderPM2IsLeftAsDocumented(t *testing.T) {
	t.Parallel()
	needBrowser(t)
	pm2, err := filepath.Abs("../../scripts/pm2/.cache/node_modules/.bin")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(pm2); err != nil {
		t.Skip("pm2 is not installed: scripts/install/npm.sh scripts/pm2")
	}
	browser, err := chrome.Find("")
	if err != nil {
		t.Fatal(err)
	}
	folder, address := shortDir(t), freeAddress(t)
	write(t, filepath.Join(folder, "venom.js"), venom)
	_, port, _ := strings.Cut(address, ":")
	// run runs a command among whose processes are only those of this folder, and returns what it wrote.
	run := func(want int, line string) string {
		t.Helper()
		cmd := exec.CommandContext(within(t), "bash", "-c", strings.ReplaceAll(line, "pgrep -af ", "exec pgrep -af "+folder+"/"))
		cmd.Dir = folder
		cmd.Env = append(os.Environ(), "PM2_HOME="+folder+"/pm2", "PATH="+pm2+":"+os.Getenv("PATH"), "CHROME="+browser.Path, "PORT="+port)
		out, _ := cmd.CombinedOutput()
		if code := cmd.ProcessState.ExitCode(); code != want {
			t.Errorf("%s: exit code %d, want %d: %s", line, code, want, out)
		}
		return string(out)
	}
	defer run(0, "pm2 kill")
	run(0, "pm2 start venom.js --name NAME --wait-ready && pm2 save")
	eventually(t, "a profile of venom's", func() bool {
		_, err := os.Stat(filepath.Join(folder, "tokens", "ADMIN"))
		return err == nil
	})
	left := command(t, "pgrep -af tokens/ADMIN")
	if out := run(0, left); !strings.Contains(out, browser.Path) {
		t.Errorf("no Chrome is listed: %s", out)
	}
	run(0, command(t, "pm2 delete NAME && pm2 save --force"))
	run(0, "pm2 kill && pm2 resurrect")
	if out := run(1, left); out != "" {
		t.Errorf("is left: %s", out)
	}
	s := launchWith(t, harness.Options{Tokens: filepath.Join(folder, "tokens"), Listen: address, Args: []string{"--chrome", "/nonexistent"}})
	s.awaitLog("former_login_ignored")
}
