package page

import (
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"session-manager/scripts/simulator"
	"session-manager/shared/rpc"
	"session-manager/worker/internal/logid"
)

func TestDiagnosisShowsThePageWithoutSecrets(t *testing.T) {
	t.Parallel()
	payload := payloadOf("NotInTheDiagnosis")
	r := openPlain(t, `<!doctype html><title>x</title><body>
		<div id="landing" class="a b c" data-testid="link-device-qr-code"><canvas width="264" height="264" role="img" aria-label="Scan this QR code"></canvas></div>
		<p>Scan to log in</p><p>+54 9 11 5000 0000</p><p aria-label="Enter code on phone: A,B,C,D,1,2,3,4">ABCD-1234</p><span>K</span>
		<section></section><iframe srcdoc="<button>inside the frame</button>"></iframe>
		<script>
			document.querySelector("section").attachShadow({mode: "closed"}).innerHTML = "<b>inside the shadow</b>";
			console.warn("a warning of the page", {secret: 1}); console.log("no warning"); console.error("for +5491150000000");
			fetch("/missing?token=secret").then(() => fetch("http://127.0.0.1:1/")).catch(() => {});
			const complain = () => setTimeout(() => { Promise.reject(new TypeError("rejected")); setTimeout(() => {
				const i = new Image();
				i.onload = () => document.querySelector("canvas").getContext("2d").drawImage(i, 0, 0);
				i.src = "`+imageOf(t, payload)+`";
				document.querySelector("div").setAttribute("data-ref", "`+payload+`");
			}, 500); throw new Error("uncaught"); });
		</script>`, eager, func(o *Options) { o.Timings.Classify.Silence = 0 }) // the default: images are not searched so early
	r.await(0, "an observation", isObserved) // Its observer knows of what nobody catches.
	r.run(`complain()`)
	r.awaitCode(0)
	d, err := r.page.Diagnose(r.context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s\n%s\n%s\n%q\n%v", d.URL, d.UserAgent, d.Outline, d.Console, d.Readers)
	for _, want := range []string{
		`div id="landing" class×3`, ` data-ref`, `data-testid="link-device-qr-code"`, `aria-label="Scan this QR code"`, `"Scan to log in"`,
		"#shadow-root closed", "inside the shadow", "#document of the frame", "inside the frame",
	} {
		if !strings.Contains(d.Outline, want) {
			t.Errorf("the outline lacks %s", want)
		}
	}
	whole := d.URL + d.Outline + strings.Join(d.Console, "\n")
	for _, secret := range []string{"NotInTheDiagnosis", "ABCD", "A,B,C", "5000", "5491150000000", "token", `"K"`} {
		if strings.Contains(whole, secret) {
			t.Errorf("the diagnosis holds %q", secret)
		}
	}
	if !slices.ContainsFunc(d.Console, func(s string) bool { return strings.HasPrefix(s, "warning: a warning of the page") }) ||
		!slices.ContainsFunc(d.Console, func(s string) bool { return strings.Contains(s, "uncaught") }) {
		t.Errorf("the console lacks the page's complaints: %q", d.Console)
	}
	if !strings.Contains(d.UserAgent, "Chrome/") || !strings.HasPrefix(r.url, d.URL[:len(d.URL)-1]) {
		t.Errorf("got %q, %q", d.UserAgent, d.URL)
	}
	want := []rpc.ReaderView{
		{Reader: "dom", Saw: "a fresh QR payload, by the page's own state: Chrome sees no connection of its document"}, {Reader: "modules", Saw: "nothing"},
		{Reader: "image", Saw: "has not looked"}, {Reader: "screenshot", Saw: "has not looked"},
	}
	if !slices.Equal(d.Readers, want) {
		t.Errorf("the readers saw %v", d.Readers)
	}
}

// hidesItsChats diagnoses a linked page.
func (r *rig) hidesItsChats() {
	r.t.Helper()
	d, err := r.page.Diagnose(r.context())
	if err != nil {
		r.t.Fatal(err)
	}
	if d.PageVersion == "" || !strings.Contains(d.Outline, `id="pane-side"`) {
		r.t.Errorf("got %+v", d)
	}
	for _, name := range []string{"Ada", "Grace", "Edsger", "Chats"} {
		if strings.Contains(d.Outline, name) {
			r.t.Errorf("the outline holds %q", name)
		}
	}
}

func TestComplaintsWithoutEndAreLoggedAtARate(t *testing.T) {
	t.Parallel()
	lines, begun := new(atomic.Int64), time.Now()
	r := openPlain(t, `<!doctype html><meta http-equiv="Content-Security-Policy" content="img-src 'none'"><body><script>
		for (let i = 0; i < 2000; i++) new Image().src = "/" + i;
		new Image().src = "/last"</script>`, func(o *Options) {
		o.Logger = slog.New(counted{o.Logger.Handler(), lines, logid.ConsoleMessageReceived})
	})
	r.await(0, "an observation", isObserved)
	for last := false; !last; {
		d, err := r.page.Diagnose(r.context())
		if err != nil {
			t.Fatal(err)
		}
		last = slices.ContainsFunc(d.Console, func(line string) bool { return strings.Contains(line, "/last") })
	}
	if n, took := lines.Load(), time.Since(begun); n == 0 || n > 55+5*int64(took/time.Second) {
		t.Errorf("%d of 2001 complaints were logged in %v", n, took)
	}
}

func TestReadersExplainWhyTheyFindNoCode(t *testing.T) {
	t.Parallel()
	r := open(t, simulator.Options{Profile: "extra-field", Speed: 5}, fast, eager)
	r.await(0, "a search", func(rpc.EventBody) bool {
		v := r.page.views.Get()
		return v.Readers["screenshot"] != "" && v.Readers["dom"] != "nothing"
	})
	d, err := r.page.Diagnose(r.context())
	if err != nil {
		t.Fatal(err)
	}
	for _, view := range d.Readers {
		if view.Reader == "dom" && !strings.HasPrefix(view.Saw, "a text that no phone would accept") {
			t.Errorf("got %+v", view)
		}
	}
}
