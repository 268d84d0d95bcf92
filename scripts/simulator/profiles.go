package simulator

// DefaultProfile is the newest page that was observed.
const DefaultProfile = "2026-08"

// profile is one page: which markup it has, and what is odd about it. The page
// gets it as JSON.
type profile struct {
	Name string `json:"name"`
	// Era picks the markup: 2019, 2022, 2024, 2026-04 or 2026-08.
	Era string `json:"era"`
	// Page names a static file that is served in the application's stead.
	Page string `json:"-"`
	// Status is the static file's status code; 0 means 200.
	Status int `json:"-"`
	// Fields is how many fields the login string has, 3 to 7.
	Fields int `json:"fields"`
	// Prefix says whether the login string begins with the address.
	Prefix bool `json:"prefix"`
	// Modules says whether the page offers its module registry.
	Modules bool `json:"modules"`
	// DataRef is how the container carries the string: set, absent, empty, late.
	DataRef string `json:"dataRef"`
	// Attribute names the container's attribute.
	Attribute string `json:"attribute"`
	// Image is the element that shows the code: canvas, img, svg, none.
	Image string `json:"image"`
	// Place is where the container lives: document, open-shadow, closed-shadow,
	// iframe.
	Place string `json:"place"`
	// Size is the image's side in CSS pixels.
	Size int `json:"size"`
	// Ink and Paper are the image's colours.
	Ink   string `json:"ink"`
	Paper string `json:"paper"`
	// Background is the page's colour.
	Background string `json:"background"`
	// Late delays the drawing of each image by so many milliseconds.
	Late int `json:"late"`
	// Decoy adds an earlier canvas with a code that is no login.
	Decoy bool `json:"decoy"`
	// Logo draws an icon over the middle of the code.
	Logo bool `json:"logo"`
	// Banner covers the page until a button is pressed.
	Banner bool `json:"banner"`
	// Locale is the language of the texts: en, es, pt, de, ar.
	Locale string `json:"locale"`
	// Renamed makes every name and text random at each load.
	Renamed bool `json:"renamed"`
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

func profileByName(name string) (profile, bool) {
	for _, p := range allProfiles() {
		if p.Name == name {
			return p, true
		}
	}
	return profile{}, false
}

func allProfiles() []profile {
	latest := func(name string, change func(*profile)) profile {
		p := profile{
			Name: name, Era: "2026-08", Fields: 5, Prefix: true, Modules: true,
			DataRef: "set", Attribute: "data-ref", Image: "canvas", Place: "document", Size: 228,
			Ink: "#122e31", Paper: "#ffffff", Background: "#f7f5f3", Locale: "en",
		}
		if change != nil {
			change(&p)
		}
		return p
	}
	return []profile{
		latest("2019", func(p *profile) { p.Era, p.Fields, p.Prefix, p.Modules, p.Size = "2019", 3, false, false, 264 }),
		latest("2022", func(p *profile) { p.Era, p.Fields, p.Prefix, p.Modules, p.Size = "2022", 4, false, false, 264 }),
		latest("2024", func(p *profile) { p.Era, p.Prefix, p.DataRef = "2024", false, "late" }),
		latest("2026-04", func(p *profile) { p.Era = "2026-04" }),
		latest(DefaultProfile, nil),
		latest("no-data-ref", func(p *profile) { p.DataRef = "absent" }),
		latest("empty-data-ref", func(p *profile) { p.DataRef = "empty" }),
		latest("other-attribute", func(p *profile) { p.Attribute, p.Modules = "data-link-string", false }),
		latest("svg", func(p *profile) { p.Image, p.DataRef = "svg", "absent" }),
		latest("img", func(p *profile) { p.Image, p.DataRef = "img", "absent" }),
		latest("iframe", func(p *profile) { p.Place = "iframe" }),
		latest("open-shadow", func(p *profile) { p.Place = "open-shadow" }),
		latest("closed-shadow", func(p *profile) { p.Place = "closed-shadow" }),
		latest("two-canvases", func(p *profile) { p.Decoy = true }),
		latest("sixth-field", func(p *profile) { p.Fields, p.Prefix = 6, false }),
		latest("extra-field", func(p *profile) { p.Fields = 7 }),
		latest("modules-only", func(p *profile) { p.DataRef, p.Image = "absent", "none" }),
		latest("image-only", func(p *profile) { p.DataRef, p.Modules = "absent", false }),
		latest("dark", func(p *profile) { p.Background = "#161717" }),
		latest("inverted", func(p *profile) { p.Ink, p.Paper, p.Background = "#ffffff", "#122e31", "#161717" }),
		latest("logo", func(p *profile) { p.Logo = true }),
		latest("late", func(p *profile) { p.Late = 2000 }),
		latest("small", func(p *profile) { p.Size = 130 }),
		latest("cookie-banner", func(p *profile) { p.Banner = true }),
		latest("es", func(p *profile) { p.Locale = "es" }),
		latest("pt", func(p *profile) { p.Locale = "pt" }),
		latest("de", func(p *profile) { p.Locale = "de" }),
		latest("ar", func(p *profile) { p.Locale = "ar" }),
		latest("renamed", func(p *profile) { p.Renamed, p.DataRef, p.Modules = true, "absent", false }),
		{Name: "blank", Page: "blank.html"},
		{Name: "captive-portal", Page: "captive.html"},
		{Name: "http-500", Page: "error500.html", Status: 500},
		{Name: "unsupported", Page: "unsupported.html"},
	}
}
