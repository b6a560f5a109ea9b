package transcode

import (
	"testing"

	"github.com/sluice-rpc/sluice/internal/race"
)

// sequential skips a test of what one goroutine does while the race detector is on, which makes it ten times
// slower and finds nothing: make unit runs this package without it too. Random tests are smaller then.
func sequential(t *testing.T) {
	t.Helper()
	if race.Enabled {
		t.Skip("with the race detector")
	}
}
