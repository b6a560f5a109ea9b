package command

import (
	"testing"

	"github.com/sluice-rpc/sluice"
)

func TestResetKey(t *testing.T) {
	if resetKey(&sluice.Duplex{Node: "a"}) != nil {
		t.Error("a key without a secret")
	}
	a := resetKey(&sluice.Duplex{Key: []byte("secret"), Node: "a"})
	again := resetKey(&sluice.Duplex{Key: []byte("secret"), Node: "a"})
	b := resetKey(&sluice.Duplex{Key: []byte("secret"), Node: "b"})
	if *a != *again || *a == *b || *a == [32]byte{} {
		t.Errorf("% x, % x, % x", *a, *again, *b)
	}
}
