package command

import (
	"errors"
	"testing"

	"session-manager/shared/rpc"
)

func TestPairRefusesInvalidNumbers(t *testing.T) {
	t.Parallel()
	for _, number := range []rpc.Secret{"", "0123456789", "+5491150000000", "1234567", "1234567890123456", "12345678a"} {
		if _, err := new(Commands).Pair(t.Context(), number); !errors.Is(err, rpc.ErrPhoneRefused) {
			t.Errorf("%d characters: %v", len(number), err)
		}
	}
}
