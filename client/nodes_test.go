package client_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/url"
	"sync"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluice-rpc/sluice"
	"github.com/sluice-rpc/sluice/client"
	"github.com/sluice-rpc/sluice/client/webtransport"
)

// balanced is a carrier whose connections go to one gateway or another.
type balanced struct {
	client.Carrier
	mu   sync.Mutex
	next []string // URLs; the last one stays
	log  []string
}

func (b *balanced) Dial(ctx context.Context, t *client.Target) (*client.Connection, error) {
	b.mu.Lock()
	to := *t
	var err error
	if to.URL, err = url.Parse(b.next[0] + "/sluice/v1"); err != nil {
		return nil, err
	}
	if len(b.next) > 1 {
		b.next = b.next[1:]
	}
	b.mu.Unlock()
	c, err := b.Carrier.Dial(ctx, &to)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.log = append(b.log, fmt.Sprintf("ticket %v, node %q: %v", t.Ticket != "", t.Node, err))
	return c, err
}

func (b *balanced) set(urls ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.next, b.log = urls, nil
}

func (b *balanced) dials() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return fmt.Sprint(b.log)
}

// A call whose connection is lost finds its gateway among several.
func TestNodes(t *testing.T) {
	key := []byte("the same key on all nodes, 32 bytes or more")
	one := start(t, sluice.Config{Duplex: sluice.Duplex{Node: "n1", Key: key}})
	two := start(t, sluice.Config{Duplex: sluice.Duplex{Node: "n2", Key: key}})
	for _, carrier := range []client.Carrier{
		client.WebSocket{}, client.WebSocket{HTTP2: true}, client.Duplex{}, client.Duplex{Poll: true}, webtransport.Carrier{},
	} {
		t.Run(carrier.Name(), func(t *testing.T) {
			b := &balanced{Carrier: carrier}
			b.set(one.secure)
			c, err := client.New("https://balancer", client.Config{
				Carriers: []client.Carrier{b}, TLS: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // the two have different ones
			})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close() //nolint:errcheck
			s := open(t, c, do("echo"))
			send(t, s, "a")
			if m := receive(t, s); m != "a" {
				t.Error(m)
			}
			b.set(two.secure, two.secure, one.secure)
			c.Cut()
			send(t, s, "b")
			if m := receive(t, s); m != "b" {
				t.Error(m)
			}
			if got, want := b.dials(), `[ticket true, node "": another gateway has the calls: n1 ticket true, node "n1": another gateway has the calls: n1 ticket true, node "n1": <nil>]`; got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			// Where it can't be found, the other one says so, and takes what is new.
			b.set(two.secure)
			c.Cut()
			err = end(s)
			st := status.Convert(err)
			if len(st.Details()) != 1 || st.Code() != codes.Unavailable || st.Details()[0].(*errdetails.ErrorInfo).Reason != "CALL_WRONG_NODE" {
				t.Errorf("got %v, %v", err, st.Details())
			}
			fresh := open(t, c, do("echo"))
			send(t, fresh, "c")
			if err := fresh.RecvMsg(new(wrapperspb.StringValue)); err != nil {
				t.Error(err)
			}
		})
	}
}
