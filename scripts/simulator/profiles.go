package simulator

import "fmt"

// DefaultProfile is the newest page that was observed.
const DefaultProfile = "2026-08"

// profile is one page: which markup it has, and what is odd about it. The page
// gets it as JSON.
type profile struct {
	Name string `json:"name"`
	// Era selects the markup: 2019, 2022, 2024, 2026-04 or 2026-08.
	Era string `json:"era"`
	// Page names a static file that is served instead of the application, Status
	// its status code; 0 means 200.
	Page   string `json:"-"`
	Status int    `json:"-"`

	Payload   payloadFormat `json:"payload"`
	Container container     `json:"container"`
	Image     image         `json:"image"`
	// Modules reports whether the page offers its module registry.
	Modules bool `json:"modules"`
	// Background is the page's colour.
	Background string `json:"background"`
	// Banner covers the page until a button is pressed.
	Banner bool `json:"banner"`
	// Locale is the language of the texts: en, es, pt, de, ar.
	Locale string `json:"locale"`
	// Renamed makes every name and text random at each load.
	Renamed bool `json:"renamed"`
}

// payloadFormat is how the string in the code is composed.
type payloadFormat struct {
	// Fields is the number of its fields, 3 to 7.
	Fields int `json:"fields"`
	// Prefix reports whether it begins with an address.
	Prefix bool `json:"prefix"`
}

// container is the element around the code.
type container struct {
	// Attribute names the attribute that carries the payload, DataRef how it
	// does: set, absent, empty, late.
	Attribute string `json:"attribute"`
	DataRef   string `json:"dataRef"`
	// Place is where the container is: document, open-shadow, closed-shadow,
	// iframe.
	Place string `json:"place"`
}

// image is how the code is drawn.
type image struct {
	// Element is what shows it: canvas, img, svg, none.
	Element string `json:"element"`
	// Size is its side in CSS pixels.
	Size int `json:"size"`
	// Ink and Paper are its colours.
	Ink   string `json:"ink"`
	Paper string `json:"paper"`
	// Late delays each drawing by so many milliseconds.
	Late int `json:"late"`
	// Decoy adds an earlier canvas with a code that links nothing.
	Decoy bool `json:"decoy"`
	// Logo covers the middle of the code.
	Logo bool `json:"logo"`
}

// Profiles lists the names of all pages, the five eras first.
func Profiles() []string {
	all := allProfiles()
	names := make([]string, len(all))
	for i, p := range all {
		names[i] = p.Name
	}
	return names
}

func profileNamed(name string) (profile, error) {
	for _, p := range allProfiles() {
		if p.Name == name {
			return p, nil
		}
	}
	return profile{}, fmt.Errorf("cannot use profile %q: it is not one of %v", name, Profiles())
}

func allProfiles() []profile {
	latest := func(name string, change func(*profile)) profile {
		p := profile{
			Name: name, Era: "2026-08", Modules: true, Background: "#f7f5f3", Locale: "en",
			Payload:   payloadFormat{Fields: 5, Prefix: true},
			Container: container{DataRef: "set", Attribute: "data-ref", Place: "document"},
			Image:     image{Element: "canvas", Size: 228, Ink: "#122e31", Paper: "#ffffff"},
		}
		if change != nil {
			change(&p)
		}
		return p
	}
	return []profile{
		latest("2019", func(p *profile) {
			p.Era, p.Payload, p.Modules, p.Image.Size = "2019", payloadFormat{Fields: 3}, false, 264
		}),
		latest("2022", func(p *profile) {
			p.Era, p.Payload, p.Modules, p.Image.Size = "2022", payloadFormat{Fields: 4}, false, 264
		}),
		latest("2024", func(p *profile) { p.Era, p.Payload.Prefix, p.Container.DataRef = "2024", false, "late" }),
		latest("2026-04", func(p *profile) { p.Era = "2026-04" }),
		latest(DefaultProfile, nil),
		latest("no-data-ref", func(p *profile) { p.Container.DataRef = "absent" }),
		latest("empty-data-ref", func(p *profile) { p.Container.DataRef = "empty" }),
		latest("other-attribute", func(p *profile) { p.Container.Attribute, p.Modules = "data-link-string", false }),
		latest("svg", func(p *profile) { p.Image.Element, p.Container.DataRef = "svg", "absent" }),
		latest("img", func(p *profile) { p.Image.Element, p.Container.DataRef = "img", "absent" }),
		latest("iframe", func(p *profile) { p.Container.Place = "iframe" }),
		latest("open-shadow", func(p *profile) { p.Container.Place = "open-shadow" }),
		latest("closed-shadow", func(p *profile) { p.Container.Place = "closed-shadow" }),
		latest("two-canvases", func(p *profile) { p.Image.Decoy = true }),
		latest("sixth-field", func(p *profile) { p.Payload = payloadFormat{Fields: 6} }),
		latest("extra-field", func(p *profile) { p.Payload.Fields = 7 }),
		latest("modules-only", func(p *profile) { p.Container.DataRef, p.Image.Element = "absent", "none" }),
		latest("image-only", func(p *profile) { p.Container.DataRef, p.Modules = "absent", false }),
		latest("dark", func(p *profile) { p.Background = "#161717" }),
		latest("inverted", func(p *profile) { p.Image.Ink, p.Image.Paper, p.Background = "#ffffff", "#122e31", "#161717" }),
		latest("logo", func(p *profile) { p.Image.Logo = true }),
		latest("late", func(p *profile) { p.Image.Late = 2000 }),
		latest("small", func(p *profile) { p.Image.Size = 130 }),
		latest("large", func(p *profile) { p.Image.Size = 3 * 177 }),
		latest("cookie-banner", func(p *profile) { p.Banner = true }),
		latest("es", func(p *profile) { p.Locale = "es" }),
		latest("pt", func(p *profile) { p.Locale = "pt" }),
		latest("de", func(p *profile) { p.Locale = "de" }),
		latest("ar", func(p *profile) { p.Locale = "ar" }),
		latest("renamed", func(p *profile) { p.Renamed, p.Container.DataRef, p.Modules = true, "absent", false }),
		{Name: "blank", Page: "blank.html"},
		{Name: "captive-portal", Page: "captive.html"},
		{Name: "http-500", Page: "error500.html", Status: 500},
		{Name: "unsupported", Page: "unsupported.html"},
	}
}
