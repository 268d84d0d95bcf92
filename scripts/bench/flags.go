package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"session-manager/scripts/command"
	"session-manager/scripts/simulator"
)

// leaveOut says how the flags of Chrome are weighed.
type leaveOut struct {
	rounds int
	// age is how long a Chrome lives until its memory is taken.
	age time.Duration
	// together is how many Chromes live at once. All of a group share the pages of
	// the binary, so that groups of one size compare.
	together int
	// try are features that are disabled beside the product's, and flags that are
	// added to them.
	try string
	// tryOnly leaves no flag out, so that only those of try are weighed.
	tryOnly bool
}

func (l *leaveOut) define(flags *flag.FlagSet) {
	flags.IntVar(&l.rounds, "flags-rounds", 3, "flags: how often each is left out")
	flags.DurationVar(&l.age, "flags-age", 20*time.Second, "flags: age of a Chrome at which its memory is taken")
	flags.IntVar(&l.together, "flags-together", 12, "flags: Chromes that live at once")
	flags.StringVar(&l.try, "flags-try", "", "flags: features to disable, and flags to add, beside ours; separated by blanks")
	flags.BoolVar(&l.tryOnly, "flags-try-only", false, "flags: weigh only what --flags-try names")
}

// needed are the flags without which the task would be another; they are never
// left out.
var needed = []string{
	"--headless", "--remote-debugging-pipe", "--user-data-dir", "--no-startup-window", "--no-sandbox",
	"--disable-dev-shm-usage", "--user-agent", "--disable-blink-features", "--lang", "--window-size",
	"--screen-info", "--password-store", "--disable-background-timer-throttling",
	"--disable-backgrounding-occluded-windows", "--disable-renderer-backgrounding",
}

const disableFeatures = "--disable-features"

// variant is the product's command line with one change.
type variant struct {
	name string
	args []string
	got  []cost
}

// cost is what one Chrome took.
type cost struct {
	start     time.Duration // from the exec to the code
	megabytes float64       // PSS of its tree
	processes int
	written   float64 // MB
	kinds     string  // of its utility processes
	asked     string  // hosts of others that it wanted something of
}

// whole is the name of the product's command line as it is.
const whole = "(all flags)"

// measureFlags starts Chrome with the product's own command line, and again with
// each flag that it could do without left out, and prints what that changes. It
// makes no rows: nothing here has a limit.
func (b *bench) measureFlags(ctx context.Context) error {
	p, err := openSimulator(simulator.Options{})
	if err != nil {
		return err
	}
	defer p.close()
	args, err := b.productFlags(ctx, p)
	if err != nil {
		return err
	}
	list := b.leaveOut.variants(args)
	for range b.leaveOut.rounds {
		order := rand.Perm(len(list) - 1) //nolint:gosec // to mix, not to be secret
		// The whole list is in each group: it tells how much is noise. Groups are of
		// one size, since all in a group share the pages of the binary.
		each := max(1, b.leaveOut.together-1)
		groups := max(1, (len(order)+each-1)/each)
		for group := range slices.Chunk(order, max(1, (len(order)+groups-1)/groups)) {
			members := []*variant{list[0]}
			for _, i := range group {
				members = append(members, list[i+1])
			}
			if err := b.weigh(ctx, p, members); err != nil {
				return err
			}
		}
	}
	return b.printFlags(list)
}

// productFlags is the command line of the Chrome of a service.
func (b *bench) productFlags(ctx context.Context, p *page) (args []string, err error) {
	folder, err := b.fresh()
	if err != nil {
		return nil, err
	}
	s, err := b.start(ctx, p, folder)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	if _, _, err := s.NextQR(ctx, ""); err != nil {
		return nil, err
	}
	v, err := s.View(ctx)
	if err != nil || v.Browser == nil {
		return nil, fmt.Errorf("no browser on /session: %w", err)
	}
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", v.Browser.PID))
	if err != nil {
		return nil, fmt.Errorf("cannot read Chrome's command line: %w", err)
	}
	return strings.Split(strings.Trim(string(content), "\x00"), "\x00")[1:], nil
}

// variants are the whole list first, then those with something changed.
func (l leaveOut) variants(args []string) []*variant {
	list := []*variant{{name: whole, args: args}}
	for i, arg := range args {
		name, value, _ := strings.Cut(arg, "=")
		if name == disableFeatures {
			for try := range strings.FieldsSeq(l.try) {
				more := changed("+ "+try, args, i, arg+","+try)
				if strings.HasPrefix(try, "--") {
					more.args = append(slices.Clone(args), try)
				}
				list = append(list, more)
			}
		}
		if l.tryOnly || !strings.HasPrefix(name, "--") || slices.Contains(needed, name) {
			continue
		}
		if name != disableFeatures {
			list = append(list, changed("- "+name, args, i, ""))
			continue
		}
		features := strings.Split(value, ",")
		for j, feature := range features {
			rest := strings.Join(slices.Delete(slices.Clone(features), j, j+1), ",")
			list = append(list, changed("- "+feature, args, i, name+"="+rest))
		}
	}
	return list
}

// changed replaces the i-th argument, or drops it when there is nothing in its place.
func changed(name string, args []string, i int, by string) *variant {
	args = slices.Clone(args)
	if by == "" {
		return &variant{name: name, args: slices.Delete(args, i, i+1)}
	}
	args[i] = by
	return &variant{name: name, args: args}
}

// weigh starts a Chrome for each one after the other, and takes what they use when
// each has the age for it.
func (b *bench) weigh(ctx context.Context, p *page, members []*variant) error {
	begun := make([]time.Time, len(members))
	chromes := make([]*floor, 0, len(members))
	strangers := make([]*proxy, 0, len(members))
	defer func() {
		for _, f := range chromes {
			f.close()
		}
		for _, p := range strangers {
			p.http.Close()
		}
	}()
	for i, v := range members {
		folder, err := b.fresh()
		if err != nil {
			return err
		}
		stranger := newProxy()
		strangers = append(strangers, stranger)
		args := append(inFolder(v.args, folder), "--proxy-server="+stranger.http.URL)
		begun[i] = time.Now()
		f, err := startChrome(ctx, b.browser, folder, args)
		if err != nil {
			return err
		}
		chromes = append(chromes, f)
		if _, err := f.shows(p.url, attribute); err != nil {
			return fmt.Errorf("%s: %w", v.name, err)
		}
		v.got = append(v.got, cost{start: time.Since(begun[i])})
	}
	for i, v := range members {
		if err := command.Pause(ctx, time.Until(begun[i].Add(b.leaveOut.age))); err != nil {
			return err
		}
		got := &v.got[len(v.got)-1]
		if err := got.take(chromes[i].cmd.Process.Pid); err != nil {
			return err
		}
		got.asked = strangers[i].asked()
	}
	return nil
}

// proxy stands for all the network but this machine, which Chrome asks directly. It
// answers nothing, and remembers who was asked for.
type proxy struct {
	http  *httptest.Server
	mu    sync.Mutex
	hosts map[string]int // guarded by mu
}

func newProxy() *proxy {
	p := &proxy{hosts: map[string]int{}}
	p.http = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		p.hosts[r.URL.Hostname()]++
		p.mu.Unlock()
		w.WriteHeader(http.StatusBadGateway)
	}))
	return p
}

func (p *proxy) asked() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []string
	for _, host := range slices.Sorted(maps.Keys(p.hosts)) {
		all = append(all, fmt.Sprintf("%s x%d", host, p.hosts[host]))
	}
	return strings.Join(all, " ")
}

// inFolder gives the command line a profile of its own.
func inFolder(args []string, folder string) []string {
	args = slices.Clone(args)
	for i, arg := range args {
		if strings.HasPrefix(arg, "--user-data-dir=") {
			args[i] = "--user-data-dir=" + folder + "/profile"
		}
	}
	return args
}

// take fills in what the tree uses now.
func (c *cost) take(root int) error {
	pids, err := tree(root)
	if err != nil {
		return err
	}
	c.processes, c.written, c.kinds = len(pids), writtenBy(pids), utilities(pids)
	c.megabytes, err = memoryOf(pids)
	return err
}

// utilities names the services that run in utility processes.
func utilities(pids []int) string {
	var names []string
	for _, pid := range pids {
		content, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err != nil {
			continue // it has ended
		}
		if _, after, ok := strings.Cut(string(content), "--utility-sub-type="); ok {
			name, _, _ := strings.Cut(strings.ReplaceAll(after, "\x00", " "), " ")
			names = append(names, name[strings.LastIndex(name, ".")+1:])
		}
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

// printFlags prints each variant's medians as differences to the whole list.
func (b *bench) printFlags(list []*variant) error {
	w := tabwriter.NewWriter(b.out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "left out\tstart ms\tPSS MB\tprocesses\twritten MB\tservices\thosts asked")
	all := list[0]
	base := [...]float64{middle(all.got, milliseconds), middle(all.got, pss), middle(all.got, processes), middle(all.got, written)}
	_, _ = fmt.Fprintf(w, "%s\t%.0f\t%.1f\t%.0f\t%.2f\t%s\t%s\n", all.name, base[0], base[1], base[2], base[3], all.got[0].kinds, all.got[0].asked)
	_, _ = fmt.Fprintf(w, "  (its spread)\t%.0f\t%.1f\t%.0f\t%.2f\t\t\n",
		spread(all.got, milliseconds), spread(all.got, pss), spread(all.got, processes), spread(all.got, written))
	for _, v := range list[1:] {
		_, _ = fmt.Fprintf(w, "%s\t%+.0f\t%+.1f\t%+.0f\t%+.2f\t%s\t%s\n", v.name, middle(v.got, milliseconds)-base[0],
			middle(v.got, pss)-base[1], middle(v.got, processes)-base[2], middle(v.got, written)-base[3], v.got[len(v.got)-1].kinds, v.got[len(v.got)-1].asked)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("cannot print the flags: %w", err)
	}
	return nil
}

func milliseconds(c cost) float64 { return float64(c.start.Microseconds()) / 1000 }
func pss(c cost) float64          { return c.megabytes }
func processes(c cost) float64    { return float64(c.processes) }
func written(c cost) float64      { return c.written }

func sorted(costs []cost, of func(cost) float64) []float64 {
	var values []float64
	for _, c := range costs {
		values = append(values, of(c))
	}
	slices.Sort(values)
	return values
}

// middle is the median.
func middle(costs []cost, of func(cost) float64) float64 {
	values := sorted(costs, of)
	return values[len(values)/2]
}

// spread is the distance between the quartiles.
func spread(costs []cost, of func(cost) float64) float64 {
	values := sorted(costs, of)
	return values[len(values)*3/4] - values[len(values)/4]
}
