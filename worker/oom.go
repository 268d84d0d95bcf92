package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// oomScore makes the kernel, when memory is short, end the worker or Chrome,
// which inherits it, before the supervisor: proc(5), oom_score_adj. Chrome gives
// its renderers 300 itself.
const oomScore = 300

// raiseOOMScore never lowers it, which would need a privilege.
func raiseOOMScore(path string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("cannot read OOM score: %w", err)
	}
	if now, err := strconv.Atoi(strings.TrimSpace(string(content))); err == nil && now >= oomScore {
		return nil
	}
	if err := os.WriteFile(path, []byte(strconv.Itoa(oomScore)), 0); err != nil {
		return fmt.Errorf("cannot raise OOM score: %w", err)
	}
	return nil
}
