package transcode

import "testing"

// sequential skips a test of what one goroutine does while the race detector is on, which makes it ten times
// slower and finds nothing: make unit runs this package without it too. Random tests are smaller then.
func sequential(t *testing.T) {
	t.Helper()
	if raceEnabled {
		t.Skip("with the race detector")
	}
}
