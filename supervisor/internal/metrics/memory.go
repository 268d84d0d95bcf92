package metrics

import (
	"os"

	"session-manager/shared/proctree"
)

// memory is what the processes of the service hold.
type memory struct {
	// bytes by supervisor, worker and chrome.
	bytes map[string]uint64
	// chrome is the number of Chrome's processes.
	chrome int
}

// measure reads /proc. Everything below the worker is Chrome.
func measure(worker int) memory {
	m := memory{bytes: map[string]uint64{"supervisor": proctree.Memory(os.Getpid())}}
	if worker == 0 {
		return m
	}
	m.bytes["worker"] = proctree.Memory(worker)
	below, err := proctree.Descendants(worker)
	if err != nil {
		return m
	}
	m.chrome = len(below)
	for _, p := range below {
		m.bytes["chrome"] += proctree.Memory(p.PID)
	}
	return m
}
