package simulator

import (
	"fmt"
	"maps"
	"net/url"
	"strconv"
	"sync"
	"time"
)

// build is the made-up version that the page calls itself.
const build = "2.3000.1099999999"

// Settings choose how fast time runs, which page is served and which switches
// are on.
type Settings struct {
	mu      sync.Mutex
	speed   float64
	profile profile
	faults  map[string]Fault // by their names
}

func newSettings(o Options) (*Settings, error) {
	s := &Settings{speed: o.Speed, faults: map[string]Fault{}}
	if o.Speed < 0 {
		return nil, fmt.Errorf("cannot run at speed %v: it must be above 0", o.Speed)
	}
	if s.speed == 0 {
		s.speed = 1
	}
	if o.Profile == "" {
		o.Profile = DefaultProfile
	}
	if err := s.SetProfile(o.Profile); err != nil {
		return nil, err
	}
	for _, f := range o.Faults {
		if err := s.SetFault(f); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// SetProfile chooses the markup that the next page load gets.
func (s *Settings) SetProfile(name string) error {
	p, err := profileNamed(name)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.profile = p
	return nil
}

// SetFault turns a switch on, replacing an earlier one of the same name. What the
// page does takes effect at its next load, what the server does at the next
// request or connection.
func (s *Settings) SetFault(text string) error {
	f, err := ParseFault(text)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults[f.Name] = f
	return nil
}

// ClearFaults turns all switches off; it takes effect when SetFault does.
func (s *Settings) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.faults)
}

func (s *Settings) fault(name string) (Fault, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, on := s.faults[name]
	return f, on
}

// isOn reports whether a switch has this value; "" is that of a bare switch.
func (s *Settings) isOn(name, value string) bool {
	f, on := s.fault(name)
	return on && f.Value == value
}

// scaled turns an imitated duration into a real one.
func (s *Settings) scaled(d time.Duration) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Duration(float64(d) / s.speed)
}

// config is what the page's scripts get to know, as JSON.
type config struct {
	Speed      float64          `json:"speed"`
	Build      string           `json:"build"`
	Profile    profile          `json:"profile"`
	Faults     map[string]Fault `json:"faults"`
	AutoLogout bool             `json:"autologout"`
}

// forLoad returns what holds for one load of the page. The query parameters sim,
// sim.speed and sim.fault override the settings.
func (s *Settings) forLoad(q url.Values) (config, error) {
	s.mu.Lock()
	cfg := config{Speed: s.speed, Build: build, Profile: s.profile, Faults: maps.Clone(s.faults)}
	s.mu.Unlock()
	var err error
	if q.Has("sim") {
		if cfg.Profile, err = profileNamed(q.Get("sim")); err != nil {
			return config{}, err
		}
	}
	if text := q.Get("sim.speed"); text != "" {
		if cfg.Speed, err = strconv.ParseFloat(text, 64); err != nil || cfg.Speed <= 0 {
			return config{}, fmt.Errorf("cannot run at speed %q: it must be above 0", text)
		}
	}
	for _, text := range q["sim.fault"] {
		f, err := ParseFault(text)
		if err != nil {
			return config{}, err
		}
		cfg.Faults[f.Name] = f
	}
	if locale, on := cfg.Faults["locale"]; on {
		cfg.Profile.Locale = locale.Value
	}
	if locale := q.Get("locale"); locale != "" {
		cfg.Profile.Locale = locale
	}
	cfg.AutoLogout = q.Get("autologout") == "1"
	return cfg, nil
}
