package http3

import (
	"time"

	"github.com/quic-go/quic-go"
	qhttp3 "github.com/quic-go/quic-go/http3"

	"github.com/sluice-rpc/sluice/internal/exchange"
)

// excessiveLoad is H3_EXCESSIVE_LOAD (RFC 9114, section 8.1).
const excessiveLoad = quic.ApplicationErrorCode(qhttp3.ErrCodeExcessiveLoad)

// watched is a handler that counts what its client takes back: to begin and to take back is
// cheap for a client, and not for a backend (CVE-2023-44487).
type watched struct {
	exchange.Handler
	c *conn
}

type watchedRequest struct {
	exchange.Request
	c *conn
}

// Start implements [exchange.Handler].
func (w watched) Start(head *exchange.RequestHead, r exchange.Response) exchange.Request {
	return &watchedRequest{w.Handler.Start(head, r), w.c}
}

// Reset implements [exchange.Request].
func (q *watchedRequest) Reset(code exchange.Code) {
	q.Request.Reset(code)
	q.c.charge()
}

// charge counts one that was taken back, and ends the connection if there were too many within
// a second.
func (c *conn) charge() {
	most := c.s.cfg.Abuse
	if most <= 0 || c.q.Context().Err() != nil {
		return // what a lost connection takes back is no abuse
	}
	c.mu.Lock()
	over := !c.abuse.Charge(1, most, time.Duration(time.Now().UnixNano())) && !c.abused
	c.abused = c.abused || over
	c.mu.Unlock()
	if over {
		c.s.cfg.LimitHit("conn_abuse")
		go func() { // it waits for the connection, which ends now
			_ = c.q.CloseWithError(excessiveLoad, "too many requests were taken back (limits.conn_abuse)")
		}()
	}
}
