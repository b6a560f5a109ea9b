package rest

import (
	"strings"
	"time"

	"github.com/sluice-rpc/sluice/internal/exchange"
	grpcwire "github.com/sluice-rpc/sluice/internal/wire/grpc"
	"github.com/sluice-rpc/sluice/rpc"
)

// dropped are request fields that speak to the gateway, and those that only the browser's own
// machinery needs.
func dropped(name string) bool {
	switch name {
	case "accept", "accept-charset", "cache-control", "pragma", "priority", "range", "upgrade-insecure-requests",
		"x-server-timeout", "last-event-id", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range":
		return true
	}
	return strings.HasPrefix(name, "sec-") || grpcwire.Reserved(name)
}

// The keys of response metadata that speak to the gateway.
const (
	keyStatus     = "http-status" // of a unary response: 100 to 999
	keyEvent      = "sse-event"
	keyEventField = "sse-event-field"
	keyIDField    = "sse-id-field"
	keyRetry      = "sse-retry"
)

func toGateway(key string) bool {
	switch key {
	case keyStatus, keyEvent, keyEventField, keyIDField, keyRetry:
		return true
	}
	return false
}

// deadline is when the client stops waiting: grpc-timeout as in gRPC, or
// x-server-timeout in seconds.
func deadline(fields []exchange.Field, now time.Time) (time.Time, *rpc.Status) {
	if v := exchange.Get(fields, "grpc-timeout"); v != "" {
		d, infinite, ok := grpcwire.ParseTimeout(v)
		switch {
		case !ok:
			st := rpc.Errorf(rpc.InvalidArgument, "grpc-timeout is %q: it is up to eight digits and a unit, such as 5S or 100m", v)
			return time.Time{}, &st
		case infinite:
			return time.Time{}, nil
		}
		return now.Add(d), nil
	}
	if v := exchange.Get(fields, "x-server-timeout"); v != "" {
		s, err := time.ParseDuration(v + "s")
		if err != nil || s < 0 {
			st := rpc.Errorf(rpc.InvalidArgument, "x-server-timeout is %q: it is a number of seconds, such as 2.5", v)
			return time.Time{}, &st
		}
		return now.Add(s), nil
	}
	return time.Time{}, nil
}
