package preflight

import (
	"testing"

	"github.com/prometheus/procfs"

	"session-manager/shared/reason"
)

func TestChromeIsNotStartedWithoutMemoryForIt(t *testing.T) {
	mib := func(n uint64) *uint64 { n <<= 20; return &n }
	tests := map[string]struct {
		free, swap *uint64
		want       reason.Code
	}{
		"enough":             {mib(151), mib(0), ""},
		"enough with swap":   {mib(50), mib(200), ""},
		"little":             {mib(149), mib(0), reason.ResourcesExhausted},
		"little, swap apart": {mib(149), nil, reason.ResourcesExhausted},
		"not told":           {nil, mib(1), ""},
	}
	for name, tt := range tests {
		err := enough(procfs.Meminfo{MemAvailableBytes: tt.free, SwapFreeBytes: tt.swap})
		if got := reason.Of(err, ""); got != tt.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}
