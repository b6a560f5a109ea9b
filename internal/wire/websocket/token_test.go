package websocket

import (
	"errors"
	"strings"
	"testing"
)

func TestToken(t *testing.T) {
	const k8s = "base64url.bearer.authorization.k8s.io."
	for in, want := range map[string]string{
		"":                           "",
		"sluice.json":                "",
		"sluice.json,bearer.a.b_c-d": "a.b_c-d",
		"bearer.x,sluice.json":       "x",
		k8s + "YS9iPQ,v4":            "a/b=",
		"Bearer,abc":                 "abc",
		"Bearer,bearer.x":            "bearer.x",
		"x,Bearer,abc,y":             "abc",
		"bearer":                     "",
		"bearer,abc":                 "",
	} {
		if got, err := Token(strings.Split(in, ",")); got != want || err != nil {
			t.Errorf("%s: %q, %v", in, got, err)
		}
	}
	for _, in := range []string{
		"bearer.", "Bearer", "sluice.json,Bearer", "bearer.a,bearer.b", "bearer.a,bearer.a", "Bearer,a,bearer.b",
		k8s, k8s + "YS9iPQ==", k8s + "*", k8s + "YQpi", k8s + "YSBi", // a line feed, a space
	} {
		if got, err := Token(strings.Split(in, ",")); got != "" || !errors.Is(err, ErrToken) {
			t.Errorf("%s: %q, %v", in, got, err)
		}
	}
}
