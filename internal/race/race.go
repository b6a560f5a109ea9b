//go:build race

// Package race says whether the race detector is on. It is for tests: what one goroutine does much of is slow then and finds
// no race, and allocations can't be counted.
package race

// Enabled is whether the race detector is on.
const Enabled = true
