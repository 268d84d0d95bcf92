package browser_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"session-manager/worker/internal/browser"
	"session-manager/worker/internal/browser/browsertest"
)

// asWorker makes the test binary a worker that starts Chrome and dies with it;
// its value is the folder of the profile and the rest.
const asWorker = "BROWSER_TEST_AS_WORKER"

// asChrome makes it a Chrome that answers every call alike; its value is the
// product string.
const asChrome = "BROWSER_TEST_AS_CHROME"

func TestMain(m *testing.M) {
	if dir, ok := os.LookupEnv(asWorker); ok {
		os.Exit(runAsWorker(dir))
	}
	if product, ok := os.LookupEnv(asChrome); ok {
		os.Exit(runAsChrome(product, os.Args[1]))
	}
	browsertest.AllInChrome()
	goleak.VerifyTestMain(m)
}

// runAsWorker starts Chrome, prints its pid, and stays until it is killed.
func runAsWorker(dir string) int {
	o := browser.Options{
		Path: os.Args[1], Version: os.Args[2],
		ProfileDir: dir + "/p", LeaseFile: dir + "/lease", ScratchDir: dir + "/s",
		StartTimeout: browser.StartTimeout, Logger: slog.New(slog.DiscardHandler),
	}
	b, err := browser.Start(context.Background(), o)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println(b.PID())
	<-b.Done()
	return 0
}

// runAsChrome answers on descriptors 3 and 4 until the pipe is closed.
func runAsChrome(product, userAgent string) int {
	commands, answers := bufio.NewReader(os.NewFile(3, "commands")), os.NewFile(4, "answers")
	for {
		message, err := commands.ReadBytes(0)
		if err != nil {
			return 0
		}
		var call struct {
			ID int `json:"id"`
		}
		if err := json.Unmarshal(message[:len(message)-1], &call); err != nil {
			return 1
		}
		answer := fmt.Sprintf(`{"id":%d,"result":{"product":%q,"userAgent":%q}}`, call.ID, product, userAgent)
		if product == "" {
			code := -1
			if strings.Contains(userAgent, "wasn't found") { // as Chrome says of a method that it does not know
				code = -32601
			}
			answer = fmt.Sprintf(`{"id":%d,"error":{"code":%d,"message":%q}}`, call.ID, code, userAgent)
		}
		_, err = answers.WriteString(answer + "\x00")
		if err != nil {
			return 1
		}
	}
}
