// Package quicdial opens the QUIC connections of the carriers that need one.
package quicdial

import (
	"context"
	"crypto/tls"
	"errors"
	"math/rand/v2"
	"net"
	"net/url"
	"time"

	"github.com/quic-go/quic-go"
)

// NoError ends a connection of HTTP/3 in order (RFC 9114, section 8.1).
const NoError = 0x100

// Dial opens a connection to the host of an https URL. UDP that is blocked gives no error, so the
// context should have a deadline. A server that is busy with other handshakes refuses (RFC 9000, section 20.1,
// CONNECTION_REFUSED), and is asked again within that time: many clients of one address that come at once are
// not all let in at once.
func Dial(ctx context.Context, u *url.URL, t *tls.Config, q *quic.Config) (*quic.Conn, error) {
	if u.Scheme != "https" {
		return nil, errors.New("HTTP/3 needs https")
	}
	cfg := &tls.Config{}
	if t != nil {
		cfg = t.Clone()
	}
	cfg.NextProtos = []string{"h3"}
	if cfg.ServerName == "" {
		cfg.ServerName = u.Hostname()
	}
	addr := u.Host
	if u.Port() == "" {
		addr = net.JoinHostPort(u.Hostname(), "443")
	}
	q.KeepAlivePeriod, q.MaxIdleTimeout = 15*time.Second, 30*time.Second
	for wait := firstWait; ; wait = min(2*wait, maxWait) {
		// Not DialAddrEarly: what is sent before the handshake is over can be replayed.
		conn, err := quic.DialAddr(ctx, addr, cfg, q)
		refused, ok := errors.AsType[*quic.TransportError](err)
		if _, bounded := ctx.Deadline(); !ok || refused.ErrorCode != quic.ConnectionRefused || !bounded {
			return conn, err
		}
		t := time.NewTimer(wait/2 + rand.N(wait/2))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil, err
		}
	}
}

// How long is waited after a refusal: twice as long after each, and by chance up to a half less.
const (
	firstWait = 50 * time.Millisecond
	maxWait   = time.Second
)
