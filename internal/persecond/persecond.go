// Package persecond bounds what a peer may do that brings nothing: how often within a second.
package persecond

import "time"

// A Count is what was done in the second that began last. The zero Count has seen nothing. Its caller
// serializes.
type Count struct {
	n     int
	since time.Duration
}

// Charge counts n more, and says whether there may be as many: most within a second; 0 is no bound. now is of any
// clock, the same each time; one that goes back begins a new second.
func (c *Count) Charge(n, most int, now time.Duration) bool {
	if now < c.since || now-c.since >= time.Second {
		c.n, c.since = 0, now
	}
	c.n += n
	return most == 0 || c.n <= most
}
