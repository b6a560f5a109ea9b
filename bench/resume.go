package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/sluice-rpc/sluice/client"
	"github.com/sluice-rpc/sluice/client/webtransport"
	"google.golang.org/grpc"
)

// How soon a call goes on after its connection was cut: from when the next connection is up,
// in round trips of a relay that holds back all bytes for a while.
const (
	resumeDelay = 50 * time.Millisecond // each way
	resumeBar   = 2                     // round trips
	floodPath   = "/" + service + "/StreamingFromServer"
)

// A noted carrier tells when a connection is up.
type noted struct {
	client.Carrier
	up chan time.Time
}

func (n noted) Dial(ctx context.Context, t *client.Target) (*client.Connection, error) {
	c, err := n.Carrier.Dial(ctx, t)
	if err == nil {
		n.up <- time.Now()
	}
	return c, err
}

func (o *options) resumption(e *env) (string, error) {
	p, err := e.startPeer("sluice")
	if err != nil {
		return "", err
	}
	defer p.process.stop()
	r, err := newRelay(p.tlsAddr, resumeDelay)
	if err != nil {
		return "", err
	}
	defer r.Close()
	var out strings.Builder
	fmt.Fprintf(&out, "\n### resumption\n\nFrom the new connection to the next message of a call that was cut, in round trips of %v; %d cuts each.\n\n"+
		"| | round trips | min–max | to reach |\n| --- | ---: | ---: | --- |\n", 2*resumeDelay, o.rounds)
	for _, c := range []client.Carrier{client.WebSocket{}, client.WebSocket{HTTP2: true}, client.Duplex{Stream: true}, client.Duplex{}, webtransport.Carrier{}} {
		name := carrierName(c)
		if !o.selected(name) {
			continue
		}
		trips, err := resumeOver(c, r.addr(), o.rounds)
		if err != nil {
			return "", fmt.Errorf("resumption, %s: %w\n%s", name, err, p.process.tail())
		}
		s := spreadOf(trips)
		word := "reached"
		if math.Round(s.median) > resumeBar { // the rest is what programs take
			word = "**missed**"
		}
		fmt.Fprintf(&out, "| %s | %.2f | %.2f–%.2f | ≤ %d: %s |\n", name, s.median, s.min, s.max, resumeBar, word)
	}
	return out.String(), nil
}

func carrierName(c client.Carrier) string {
	switch c := c.(type) {
	case client.WebSocket:
		if c.HTTP2 {
			return "websocket-h2"
		}
	case client.Duplex:
		if c.Stream {
			return "duplex, one upload"
		}
		return "duplex, batched"
	}
	return c.Name()
}

// resumeOver cuts a call of the server's messages some times.
func resumeOver(carrier client.Carrier, addr string, cuts int) ([]float64, error) {
	up := make(chan time.Time, 1)
	c, err := client.New("https://"+addr, client.Config{Carriers: []client.Carrier{noted{carrier, up}}, Resume: client.ResumeAll, TLS: dialTLS()})
	if err != nil {
		return nil, err
	}
	defer c.Close() //nolint:errcheck // it only ends
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	s, err := c.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, floodPath, raw)
	if err != nil {
		return nil, err
	}
	if err := s.SendMsg(&frame{make([]byte, pipeMessage)}); err != nil && err != io.EOF {
		return nil, err
	}
	if err := s.CloseSend(); err != nil {
		return nil, err
	}
	var trips []float64
	cutAt, isUp := time.Now(), time.Time{}
	for {
		if err := s.RecvMsg(new(frame)); err != nil {
			return nil, err
		}
		now := time.Now()
		select {
		case isUp = <-up:
		default:
		}
		switch {
		case now.Before(isUp): // the message came before
		case !isUp.IsZero():
			if len(trips) == cuts+1 {
				return trips[1:], nil // the first one is the beginning of the call
			}
			trips = append(trips, float64(now.Sub(isUp))/float64(2*resumeDelay))
			isUp, cutAt = time.Time{}, now.Add(3*resumeDelay)
		case !cutAt.IsZero() && now.After(cutAt):
			cutAt = time.Time{}
			c.Cut()
		}
	}
}
