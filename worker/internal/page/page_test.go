package page

import (
	"testing"

	"session-manager/scripts/simulator"
)

func TestPageTellsTheCodeThatIsOnTheScreen(t *testing.T) {
	r := open(t, simulator.Options{})
	shown, _ := r.awaitCode(0)
	screen, err := r.sim.Shown(r.context())
	if err != nil {
		t.Fatal(err)
	}
	if string(shown.Login) != screen.Login {
		t.Fatal("the string told is not the one on the screen")
	}
	if shown.Reader != "dom" || shown.Seq != 1 || shown.TTL <= 0 {
		t.Fatalf("got %+v", shown)
	}
	t.Logf("%+v", shown)
}
