package uitest

import (
	"flag"
	"os"
	"testing"

	"github.com/go-rod/rod/lib/proto"
)

var picture = flag.String("picture", "", "file to write the picture of the page to that the documents have")

func TestPictureOfThePage(t *testing.T) {
	if *picture == "" {
		t.Skip("it is for the documents: go test ./scripts/uitest -run Picture -picture ../package/docs/page.png")
	}
	const width, height = 800, 768
	sim := simulated(t)
	page := open(t, browser(t), service(t, "--url="+sim.URL).Base, look{width: width, height: height, language: "en"})
	page.await(`document.body.dataset.state === "QR_REQUIRED" && !document.getElementById("qr").hidden && ` + matches("countdown", `\d`))
	page.decode()
	page.await(`document.getElementById("where").textContent !== ""`)
	page.do(`() => { document.documentElement.style.scrollbarWidth = "none"; document.getElementById("where").textContent = "server1 · 127.0.0.1:3001"; }`)
	shot, err := page.Screenshot(false, &proto.PageCaptureScreenshot{Clip: &proto.PageViewport{Width: width, Height: height, Scale: 1}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(*picture, shot, 0o644); err != nil {
		t.Fatal(err)
	}
}
