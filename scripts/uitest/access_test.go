package uitest

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"testing"
)

// axe is the script of axe-core.
var axe = sync.OnceValues(func() (string, error) {
	script, err := os.ReadFile(".cache/node_modules/axe-core/axe.min.js")
	if err != nil {
		return "", fmt.Errorf("needs axe-core, which make test gets where there is npm: %w", err)
	}
	return string(script), nil
})

// finding is what axe-core has found.
type finding struct {
	ID     string `json:"id"`
	Impact string `json:"impact"`
	Nodes  []struct {
		Target []any  `json:"target"`
		Why    string `json:"failureSummary"`
	} `json:"nodes"`
}

// visit keeps images of the page as it is on a phone and on a desktop, and checks both.
func (p *tab) visit(name string) {
	p.t.Helper()
	for _, l := range []struct {
		look
		name string
	}{{phone, "phone"}, {desktop, "desktop"}} {
		p.look(l.look)
		p.shoot(name + "-" + l.name)
		p.fits()
		for _, f := range p.findings() {
			for _, n := range f.Nodes {
				p.t.Errorf("%s, %s: %s (%s) at %v: %s", name, l.name, f.ID, f.Impact, n.Target, n.Why)
			}
		}
	}
	p.look(p.own)
}

// findings are axe-core's serious and minor ones, and those about placeholders, which it does not look at.
func (p *tab) findings() (all []finding) {
	p.t.Helper()
	script, err := axe()
	if err != nil {
		p.t.Log("accessibility is not checked: ", err)
		return nil
	}
	p.do(`() => { if (!window.axe) { ` + script + ` } }`)
	got, err := p.Eval(`async () => {
		const found = (await axe.run(document, {resultTypes: ["violations"], rules: {"target-size": {enabled: true}}})).violations;
		// The colours of a placeholder, as relative luminances (WCAG 2.2).
		const luminance = (colour) => {
			const [r, g, b] = colour.match(/[\d.]+/g).map((n) => (n / 255 <= 0.04045 ? n / 255 / 12.92 : ((n / 255 + 0.055) / 1.055) ** 2.4));
			return 0.2126 * r + 0.7152 * g + 0.0722 * b;
		};
		for (const field of document.querySelectorAll("[placeholder]")) {
			const text = getComputedStyle(field, "::placeholder");
			const [dark, light] = [text.color, getComputedStyle(field).backgroundColor].map(luminance).sort();
			const contrast = (light + 0.05) / (dark + 0.05);
			if (contrast < 4.5 || text.opacity !== "1") found.push({id: "placeholder", impact: "serious", nodes: [{target: [field.id], failureSummary: "contrast " + contrast}]});
		}
		return JSON.stringify(found);
	}`)
	if err != nil {
		p.t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(got.Value.Str()), &all); err != nil {
		p.t.Fatal(err)
	}
	return all
}

func TestCheckOfAccessibilityFindsFaults(t *testing.T) {
	t.Parallel()
	if _, err := axe(); err != nil {
		t.Skip(err)
	}
	page := open(t, browser(t), "data:text/html,<html lang=en><title>x</title><main><h1>x</h1><button></button><input aria-label=x placeholder=y style='color:black'><style>::placeholder{color:%23aaa}</style>", phone)
	found := map[string]bool{}
	for _, f := range page.findings() {
		found[f.ID] = true
	}
	if !found["button-name"] || !found["placeholder"] {
		t.Errorf("found %v", found)
	}
}
