package attack

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/url"
	"strings"

	"github.com/sluice-rpc/sluice/client"
	"github.com/sluice-rpc/sluice/client/webtransport"
)

// wt makes an attack of what is done on a session of WebTransport, from a page of an origin, or from none.
func wt(origin string, do func(ctx context.Context, s client.Session, l *Log) error) func(context.Context, Target, *Log) error {
	return func(ctx context.Context, at Target, l *Log) error {
		u := &url.URL{Scheme: "https", Host: at.TLSAddr, Path: pipes}
		target := &client.Target{URL: u, TLS: &tls.Config{InsecureSkipVerify: true}, Header: http.Header{}} //nolint:gosec // an attacker
		if origin != "" {
			target.Header.Set("Origin", origin)
		}
		c, err := webtransport.Carrier{}.Dial(ctx, target)
		if err != nil {
			if ctx.Err() == nil {
				l.sent(1)
				_, refused, found := strings.Cut(err.Error(), "refused: ")
				if !found {
					refused = "no session"
				}
				l.saw(refused)
			}
			return err
		}
		l.sent(1)
		stop := context.AfterFunc(ctx, func() { c.Session.Close(client.Cut, "") })
		defer stop()
		defer c.Session.Close(client.Cut, "")
		if err = do(ctx, c.Session, l); err != nil && ctx.Err() == nil {
			l.saw("closed")
		}
		return err
	}
}

// hold does nothing more until the session ends.
func hold(ctx context.Context, s client.Session) error {
	for {
		if _, err := s.Accept(ctx); err != nil {
			return err
		}
	}
}

// callFrame is a frame of the call form.
func callFrame(kind byte, payload string) []byte {
	b := pipeFrame(kind, 0, []byte(payload))
	return append(b[:4:4], b[8:]...)
}

// sessions are attacks on sessions of WebTransport that are in order themselves.
func sessions() []Attack {
	return []Attack{
		{"WebTransport, foreign origin", "a page of another origin opens one session after the other", 4, waits,
			wt("https://evil.example", func(context.Context, client.Session, *Log) error { return nil })},
		{"WebTransport, half-open", "a session, and nothing more", 200, waits,
			wt("", func(ctx context.Context, s client.Session, _ *Log) error { return hold(ctx, s) })},
		{"WebTransport, half a frame", "streams on which a frame begins and never ends, as many as may be", 4, waits,
			wt("", func(ctx context.Context, s client.Session, l *Log) error {
				for range manyCall {
					p, err := s.Open(ctx)
					if err != nil {
						return err
					}
					if err := p.Send(callFrame(headersFrame, strings.Repeat("a", 60000))[:8000]); err != nil {
						return err
					}
					l.sent(1)
				}
				return hold(ctx, s)
			})},
	}
}
