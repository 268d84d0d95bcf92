package config

import (
	"math"
	"strconv"
	"strings"
)

// leastMemory is the smallest limit of memory that a page can work in: Chrome
// alone holds about 80 MiB when idle.
const leastMemory = 200 << 20

// MemoryBytes is MemoryLimit in bytes, 0 for none. The Config must be valid.
func (c *Config) MemoryBytes() uint64 {
	n, _ := parseBytes(c.MemoryLimit)
	return n
}

func (c *Config) checkMemory() error {
	if n, ok := parseBytes(c.MemoryLimit); !ok || n > 0 && n < leastMemory {
		return &Problem{Name: "--memory-limit", Value: c.MemoryLimit, Allowed: "use a number of bytes with K, M or G, at least 200M, or 0 for no limit"}
	}
	return nil
}

// parseBytes understands 1500M and the like, in powers of 1024.
func parseBytes(text string) (uint64, bool) {
	shift := 0
	for unit, by := range map[string]int{"K": 10, "M": 20, "G": 30} {
		if number, ok := strings.CutSuffix(strings.ToUpper(text), unit); ok {
			text, shift = number, by
			break
		}
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n > math.MaxUint64>>shift {
		return 0, false
	}
	return n << shift, true
}
