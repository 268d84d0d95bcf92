package metrics

import (
	"os"

	"github.com/prometheus/procfs"
)

// memory is what the processes of the service use.
type memory struct {
	// bytes by supervisor, worker and chrome.
	bytes map[string]uint64
	// chrome is the number of Chrome's processes.
	chrome int
}

// measure reads /proc. Everything below the worker is Chrome. A process that exits
// meanwhile is left out.
func measure(worker int) memory {
	m := memory{bytes: map[string]uint64{}}
	procs, err := procfs.AllProcs()
	if err != nil {
		return m
	}
	children := map[int][]procfs.Proc{}
	for _, p := range procs {
		if stat, err := p.Stat(); err == nil {
			children[stat.PPID] = append(children[stat.PPID], p)
		}
		switch p.PID {
		case os.Getpid():
			m.bytes["supervisor"] = used(p)
		case worker:
			m.bytes["worker"] = used(p)
		}
	}
	if worker == 0 {
		return m
	}
	for below := children[worker]; len(below) > 0; {
		p := below[0]
		below = append(below[1:], children[p.PID]...)
		m.bytes["chrome"] += used(p)
		m.chrome++
	}
	return m
}

// used is the process's memory: its share of what it has in common with others
// (PSS), or, where that may not be read, its resident pages.
func used(p procfs.Proc) uint64 {
	if rollup, err := p.ProcSMapsRollup(); err == nil && rollup.Pss > 0 {
		return rollup.Pss
	}
	stat, err := p.Stat()
	if err != nil {
		return 0
	}
	return uint64(max(0, stat.ResidentMemory()))
}
