package policy

import (
	"errors"
	"testing"

	"github.com/sluice-rpc/sluice/rpc"
)

func TestAuthenticate(t *testing.T) {
	var b terminal
	h := Authenticate(start(&b), func(c *rpc.Call) (string, error) {
		switch c.Metadata.Get("authorization") {
		case "me":
			return "me", nil
		case "banned":
			return "", rpc.Errorf(rpc.PermissionDenied, "no")
		}
		return "", errors.New("who are you?")
	})
	for who, want := range map[string]rpc.Code{"": rpc.Unauthenticated, "banned": rpc.PermissionDenied} {
		var c client
		h.Start(&rpc.Call{Metadata: rpc.Metadata{{Key: "authorization", Value: who}}}, &c).Begin()
		if got := c.ends(); len(got) != 1 || got[0].Code != want {
			t.Errorf("%q: got %v, want %v", who, got, want)
		}
	}
	var c client
	if q := h.Start(&rpc.Call{Metadata: rpc.Metadata{{Key: "authorization", Value: "me"}}}, &c); q != rpc.Request(&b) {
		t.Errorf("got %T, want the next handler's own", q)
	}
}
