package config

import (
	"errors"
	"testing"
)

func TestMemoryLimit(t *testing.T) {
	for text, want := range map[string]uint64{
		"0": 0, "2G": 2 << 30, "1500M": 1500 << 20, "1500m": 1500 << 20, "2000000K": 2000000 << 10, "300000000": 300000000,
	} {
		c := &Config{MemoryLimit: text}
		if err := c.checkMemory(); err != nil || c.MemoryBytes() != want {
			t.Errorf("%q is %d, %v; want %d", text, c.MemoryBytes(), err, want)
		}
	}
	for _, text := range []string{"", "off", "-1", "1.5G", "100M", "1", "99999999999999999999", "99999999999999G", "G"} {
		if p := (*Problem)(nil); !errors.As((&Config{MemoryLimit: text}).checkMemory(), &p) {
			t.Errorf("%q is allowed", text)
		}
	}
}
