package matrix

import (
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// TestDirect plays the cases between grpc-go and the backends, with nothing in between: so they
// ask for nothing but what gRPC is.
func TestDirect(t *testing.T) {
	b, err := Serve()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if n := b.Open(); n != 0 {
			t.Errorf("%d calls are left", n)
		}
		if err := b.Stop(); err != nil {
			t.Error(err)
		}
	})
	d, err := ServeDoomed()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Stop)
	cases, err := Cases()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		for _, kind := range Kinds {
			t.Run(c.Name+"/"+kind, func(t *testing.T) {
				t.Parallel()
				addr := b.Addr
				if c.Backend != "" {
					addr = d.Addr
				}
				conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close() //nolint:errcheck
				if err := c.Run(t.Context(), conn, kind); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// TestScripts refuses what is no script.
func TestScripts(t *testing.T) {
	for _, s := range []string{"", "send 1,", "send x", "send 1 2 3", "call 1 2"} {
		if steps, err := parse(s); err == nil {
			t.Errorf("%q is %v", s, steps)
		}
	}
}
