package simulator_test

import (
	"bytes"
	"fmt"
	"image"
	"image/draw"
	"math"
	"slices"
	"testing"

	"github.com/go-rod/rod/lib/proto"

	"session-manager/scripts/simulator"
)

// profileRow is what is particular about a profile. Every expression must be
// true on the page once its code is shown.
type profileRow struct {
	name string
	// isTrue holds on the page.
	isTrue string
	// first prepares the page, a cookie banner say.
	first func(*rig)
	// look has a camera look at the screen, and find what was reported.
	look camera
	// hidden profiles show no code.
	hidden bool
}

const (
	noDataRef = `!document.querySelector('[data-ref]')`
	hasRef    = `document.querySelector('[data-ref]')?.dataset.ref.startsWith('https://wa.me/settings/linked_devices#2@')`
)

type camera int

const (
	noCamera camera = iota
	plain
	// inverting takes light for dark.
	inverting
)

var profileRows = []profileRow{
	{name: "2019", isTrue: `document.querySelector('div[data-ref] > canvas[aria-label="Scan me!"]').width === 264 &&
		document.querySelector('[data-ref]').dataset.ref.split(',').length === 3 && !window.require`, look: plain},
	{name: "2022", isTrue: `document.querySelector('body > div > div > .landing-wrapper [data-testid=qrcode][data-ref]') &&
		document.querySelector('[data-ref]').dataset.ref.split(',').length === 4 && window.webpackChunkwhatsapp_web_client`, look: plain},
	{name: "2024", isTrue: `document.querySelector('div._aj-b > div._akau > canvas') &&
		document.querySelector('body > div > div > div > div > div > .x1lliihq') && require('WAWebCmd').Cmd.refreshQR`, look: plain},
	{name: "2026-04", isTrue: hasRef + ` && !document.querySelector('[data-testid]') && !require('WAWebCmd').Cmd.refreshQR`, look: plain},
	{name: "2026-08", isTrue: hasRef + ` && document.querySelector('[data-ref] > span + div + canvas[role=img][aria-label="Scan this QR code to link a device!"]').width === 228 &&
		document.querySelector('[data-testid=link-device-qr-code][data-ref]') && document.querySelector('#app .app-wrapper-web') &&
		document.title === 'WhatsApp' && require('__debug').modulesMap.WAWebConnModel`, look: plain},
	{name: "no-data-ref", isTrue: noDataRef + ` && document.querySelector('canvas')`},
	{name: "empty-data-ref", isTrue: `document.querySelector('[data-ref]').dataset.ref === ''`},
	{name: "other-attribute", isTrue: noDataRef + ` && document.querySelector('[data-link-string] > canvas') && !window.require`},
	{name: "svg", isTrue: noDataRef + ` && document.querySelector('svg[role=img]')`, look: plain},
	{name: "img", isTrue: noDataRef + ` && document.querySelector('img').src.startsWith('data:image/png')`, look: plain},
	{name: "iframe", isTrue: noDataRef + ` && document.querySelector('iframe').contentDocument.querySelector('[data-ref]')`, look: plain},
	{name: "open-shadow", isTrue: noDataRef + ` && [...document.querySelectorAll('div')].some((d) => d.shadowRoot)`, look: plain},
	{name: "closed-shadow", isTrue: noDataRef + ` && !document.querySelector('canvas')`, look: plain},
	{name: "two-canvases", isTrue: hasRef + ` && document.querySelectorAll('canvas').length === 2`},
	{name: "sixth-field", isTrue: `document.querySelector('[data-ref]').dataset.ref.endsWith(',1,https://faq.whatsapp.com/r/ld')`},
	{name: "extra-field", isTrue: hasRef + ` && document.querySelector('[data-ref]').dataset.ref.split(',').length === 7`},
	{name: "modules-only", isTrue: noDataRef + ` && require('WAWebConnModel').Conn.ref`, hidden: true},
	{name: "image-only", isTrue: noDataRef + ` && !window.require`, look: plain},
	{name: "dark", isTrue: hasRef, look: plain},
	{name: "inverted", isTrue: hasRef, look: inverting},
	{name: "logo", isTrue: hasRef, look: plain},
	{name: "late", isTrue: hasRef},
	{name: "small", isTrue: `document.querySelector('canvas').width === 130`, look: plain},
	{name: "large", isTrue: `document.querySelector('canvas').width === 3 * 177`},
	{name: "cookie-banner", isTrue: hasRef, first: func(r *rig) {
		r.until(func(c simulator.Screen) bool { return c.Overlay == "banner" && c.Payload != "" })
		r.press("Accept")
	}},
	{name: "es", isTrue: `document.body.textContent.includes('Escanea para iniciar sesión')`},
	{name: "pt", isTrue: `document.body.textContent.includes('Escaneie para entrar')`},
	{name: "de", isTrue: `document.body.textContent.includes('Zum Anmelden scannen')`},
	{name: "ar", isTrue: `document.documentElement.dir === 'rtl'`},
	{name: "renamed", isTrue: `!document.querySelector('[data-ref], [role], [id], [class], [aria-label], button') &&
		!window.require && !window.Debug && !/whatsapp|scan|phone/i.test(document.title + document.body.textContent)`, look: plain},
}

func TestEveryProfileShowsItsCode(t *testing.T) {
	r := newRig(t, simulator.Options{Speed: 10})
	for _, row := range profileRows {
		t.Run(row.name, func(t *testing.T) {
			r.row(t)
			r.open("?sim=" + row.name)
			if row.first != nil {
				row.first(r)
			}
			seen := r.until(func(c simulator.Screen) bool {
				return c.Visible || row.hidden && c.Offered != "" && c.State == "UNPAIRED"
			})
			if row.name == "2024" {
				check(t, r.page.Wait(evalUntil(`document.querySelector('[data-ref]')`)))
			}
			if got := r.eval(`String(!!(` + row.isTrue + `))`); got != "true" {
				t.Error("the page lacks what the profile is about")
			}
			if row.look == noCamera {
				return
			}
			r.lookAt(seen, row.look)
		})
	}
}

// lookAt expects that a camera reads what the page reported.
func (r *rig) lookAt(seen screen, how camera) {
	r.t.Helper()
	var got string
	var err error
	for range 10 { // a code may be replaced in between
		got, err = r.look(how == inverting)
		if err == nil && (got == seen.Payload || got == r.OnScreen().Payload) {
			return
		}
	}
	r.t.Errorf("what is seen on the screen, %d bytes, is not what the page reported: %v", len(got), err)
}

// look reads the code on the screen.
func (r *rig) look(inverted bool) (string, error) {
	r.t.Helper()
	place := r.largestSquare()
	raw, err := r.page.Screenshot(false, nil)
	check(r.t, err)
	shot, _, err := image.Decode(bytes.NewReader(raw))
	check(r.t, err)
	if !place.In(shot.Bounds()) {
		return "", fmt.Errorf("the code is at %v of %v", place, shot.Bounds())
	}
	code := image.NewRGBA(image.Rectangle{Max: place.Size()})
	draw.Draw(code, code.Rect, shot, place.Min, draw.Src)
	if inverted {
		negate(code)
	}
	return read(code)
}

// largestSquare returns where the largest square image is on the screen, in a document of
// whichever frame or shadow root.
func (r *rig) largestSquare() (largest image.Rectangle) {
	r.t.Helper()
	everything := -1
	document, err := proto.DOMGetDocument{Depth: &everything, Pierce: true}.Call(r.page)
	check(r.t, err)
	for todo := []*proto.DOMNode{document.Root}; len(todo) > 0; {
		node := todo[0]
		todo = slices.Concat(todo[1:], node.Children, node.ShadowRoots)
		if node.ContentDocument != nil {
			todo = append(todo, node.ContentDocument)
		}
		if !slices.Contains([]string{"canvas", "img", "svg"}, node.LocalName) {
			continue
		}
		box, err := proto.DOMGetBoxModel{NodeID: node.NodeID}.Call(r.page)
		if err != nil {
			continue // It is not drawn.
		}
		corner := func(i int) image.Point {
			return image.Pt(int(math.Round(box.Model.Content[i])), int(math.Round(box.Model.Content[i+1])))
		}
		place := image.Rectangle{Min: corner(0), Max: corner(4)}
		if place.Dx() == place.Dy() && place.Dx() > largest.Dx() {
			largest = place
		}
	}
	return largest
}

// negate makes light dark.
func negate(img *image.RGBA) {
	for i := range img.Pix {
		if i%4 != 3 {
			img.Pix[i] = ^img.Pix[i]
		}
	}
}

func TestStaticPagesAreNotTheApplication(t *testing.T) {
	r := newRig(t, simulator.Options{})
	for name, text := range map[string]string{
		"blank":          "",
		"captive-portal": "guest network",
		"http-500":       "something went wrong",
		"unsupported":    "WhatsApp works with Google Chrome 100+",
	} {
		r.open("?sim=" + name)
		check(t, r.page.WaitLoad())
		if got := r.eval(`String(document.body.textContent.includes(` + quote(text) + `) && !document.querySelector('#app'))`); got != "true" {
			t.Errorf("%s shows something else", name)
		}
	}
}

func TestProfilesAreAllTested(t *testing.T) {
	tested := map[string]bool{"blank": true, "captive-portal": true, "http-500": true, "unsupported": true}
	for _, row := range profileRows {
		tested[row.name] = true
	}
	for _, name := range simulator.Profiles() {
		if !tested[name] {
			t.Errorf("profile %s has no row", name)
		}
	}
}
