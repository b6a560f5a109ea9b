package h2

import "time"

// abuse is the budget of a client connection for work that is of use to nobody. What
// a frame costs is charged, what a client that does real work brings about pays it
// back, and time refills it; below zero the connection ends with ENHANCE_YOUR_CALM.
//
// DATA of five bytes or more is free, because no gRPC message is smaller: a client
// that streams whole messages is never charged for them.
type abuse struct {
	tokens int
	cap    int
	rate   int
	last   time.Time
}

// Costs, in frames.
const (
	costControl    = 1    // PING, PRIORITY, WINDOW_UPDATE, an unknown frame
	costTinyData   = 1    // DATA of less than five bytes that doesn't end its stream
	costSettings   = 10   // walks every stream
	costEarlyReset = 4    // reset before it reached the handler
	costReset      = 10   // reset after: the backend has begun to work
	costError      = 10   // we had to reset a stream because the client broke a rule
	payData        = 2    // a DATA frame sent whole: the client answers with WINDOW_UPDATEs and PINGs
	payBytes       = 2048 // of content, one token: net/http's client opens the windows of stream and connection anew each 4 KiB
	payCall        = 20   // an exchange that ended as it should
	tinyData       = 5
)

func newAbuse(rate int, now time.Time) abuse {
	return abuse{tokens: 2 * rate, cap: 2 * rate, rate: rate, last: now}
}

// charge takes n tokens, and says false if there are none left.
func (a *abuse) charge(n int) bool {
	if a.rate == 0 {
		return true
	}
	a.tokens -= n
	if a.tokens >= 0 {
		return true
	}
	now := time.Now()
	refill := int(now.Sub(a.last).Seconds() * float64(a.rate))
	a.tokens = min(a.cap, a.tokens+refill)
	a.last = now
	return a.tokens >= 0
}

func (a *abuse) pay(n int) { a.tokens = min(a.cap, a.tokens+n) }
