// Package quicdial opens the QUIC connections of the carriers that need one.
package quicdial

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/url"
	"time"

	"github.com/quic-go/quic-go"
)

// NoError ends a connection of HTTP/3 in order (RFC 9114, section 8.1).
const NoError = 0x100

// Dial opens a connection to the host of an https URL. UDP that is blocked gives no error, so the
// context should have a deadline.
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
	// Not DialAddrEarly: what is sent before the handshake is over can be replayed.
	return quic.DialAddr(ctx, addr, cfg, q)
}
