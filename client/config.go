package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"time"

	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
)

// Config says how a [Client] works. Its zero value works.
type Config struct {
	// Carriers are tried in their order, beginning with the one that worked last. Without any
	// it is [WebSocket].
	Carriers []Carrier
	// Alternate takes the next carrier for each connection, also if the last one worked. It is
	// there to try resumption.
	Alternate bool
	// TLS is for https; nil is the default configuration.
	TLS *tls.Config
	// Header is sent with the requests that open connections.
	Header http.Header
	// Hello returns metadata for all calls of a connection (the HELLO of the protocol). It is asked
	// for each connection.
	Hello func(ctx context.Context) (metadata.MD, error)
	// Credentials are asked for each call, and again when it is resumed.
	Credentials credentials.PerRPCCredentials

	// Resume says which calls can be resumed, unless they say it themselves ([Resumable]).
	Resume ResumeMode

	MaxReceive int // bytes of a message that is received; 4 MiB if 0
	MaxSend    int // bytes of a message that is sent; no limit if 0

	// DialTimeout bounds each attempt to open a connection, until the gateway's first frame; 10 s if 0.
	DialTimeout time.Duration
	// Backoff is between attempts. MaxConnections bounds connections for new calls at a time; more than one are
	// used only when the gateway's limit of calls on one is reached. 16 if 0.
	Backoff        backoff.Config
	MaxConnections int
	// Silence is after how long a silent connection is asked for a sign of life, and
	// given up after as long again; 0 is what the gateway says.
	Silence time.Duration

	// Trace sees every frame, from the goroutines that move them: it must be quick.
	Trace func(Frame)
}

// ResumeMode says which calls can be resumed.
type ResumeMode int

const (
	// ResumeStreams lets all calls be resumed that are not unary. A unary call is short, and its
	// caller has a policy for UNAVAILABLE already.
	ResumeStreams ResumeMode = iota
	// ResumeAll lets all calls be resumed.
	ResumeAll
	// ResumeNone lets none be resumed.
	ResumeNone
)

const defaultPath = "/sluice/v1"

// parse makes the target, and fills in the defaults.
func (c Config) parse(target string) (*Target, Config, error) {
	u, err := url.Parse(target)
	if err != nil {
		return nil, c, fmt.Errorf("client: %w", err)
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return nil, c, fmt.Errorf("client: %q is not a URL of a gateway: write https://host, or http:// for one without TLS", target)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, c, fmt.Errorf("client: %q has more than scheme, host and path", u.Redacted())
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = defaultPath
	}
	if c.MaxReceive < 0 || c.MaxSend < 0 || c.MaxConnections < 0 || c.DialTimeout < 0 || c.Silence < 0 {
		return nil, c, errors.New("client: a limit is negative")
	}
	if len(c.Carriers) == 0 {
		c.Carriers = []Carrier{WebSocket{}}
	}
	c.MaxReceive = or(c.MaxReceive, 4<<20)
	c.MaxSend = or(c.MaxSend, math.MaxInt32)
	c.MaxConnections = or(c.MaxConnections, 16)
	c.DialTimeout = or(c.DialTimeout, 10*time.Second)
	if c.Backoff == (backoff.Config{}) {
		c.Backoff = backoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 20 * time.Second}
	}
	return &Target{URL: u, TLS: c.TLS, Header: c.Header}, c, nil
}

// or is value, or what stands for 0.
func or[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}
