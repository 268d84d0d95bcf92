package browser_test

import (
	"context"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"session-manager/worker/internal/browser"
)

// asWorker makes the test binary a worker that starts Chrome and dies with it;
// its value is the folder of the profile and the rest.
const asWorker = "BROWSER_TEST_AS_WORKER"

func TestMain(m *testing.M) {
	if dir, ok := os.LookupEnv(asWorker); ok {
		os.Exit(runAsWorker(dir))
	}
	goleak.VerifyTestMain(m)
}

// runAsWorker starts Chrome, prints its pid, and stays until it is killed.
func runAsWorker(dir string) int {
	o := browser.Options{
		Path: os.Args[1], Version: os.Args[2],
		ProfileDir: dir + "/p", LeaseFile: dir + "/lease", ScratchDir: dir + "/s",
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
