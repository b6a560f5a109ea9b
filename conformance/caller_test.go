package conformance

import (
	"context"
	"os/exec"
	"testing"
	"time"
)

// callerCases are 217 without compression, and 192 with gzip.
const callerCases = 409

// TestCaller runs the Connect conformance suite in client mode: package client, over each of its
// carriers, through a gateway to the suite's servers, connect-go and grpc-go.
func TestCaller(t *testing.T) {
	t.Parallel()
	for _, over := range []string{"websocket", "websocket-h2", "duplex", "stream", "poll", "webtransport", "http3"} {
		t.Run(over, func(t *testing.T) {
			runner := tool(t, "connectconformance", "connectrpc.com/conformance/cmd/connectconformance")
			caller := tool(t, "caller", "./cmd/caller")
			ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
			defer cancel()
			suite(t, exec.CommandContext(ctx, runner, "-v", "--mode", "client", "--conf", "caller.yaml", "--", caller, "-over", over), callerCases)
		})
	}
}
