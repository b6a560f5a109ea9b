package websocket

import (
	"encoding/base64"
	"errors"
	"strings"
)

// The entries of Sec-WebSocket-Protocol that are a token (docs/protocols/websocket.md):
// a page cannot set other fields of a handshake.
const (
	bearerPrefix     = "bearer."
	kubernetesPrefix = "base64url.bearer.authorization.k8s.io."
	bearer           = "Bearer"
)

// ErrToken is the error of a token that can't be read, or of a second one.
var ErrToken = errors.New("sec-websocket-protocol has more than one token, or one that can't be read")

// Token returns the token among the subprotocols that a client offers, or "".
func Token(protocols []string) (string, error) {
	token, count := "", 0
	for i := 0; i < len(protocols); i++ {
		p := protocols[i]
		found := ""
		switch {
		case strings.HasPrefix(p, bearerPrefix):
			found = p[len(bearerPrefix):]
		case strings.HasPrefix(p, kubernetesPrefix):
			b, err := base64.RawURLEncoding.DecodeString(p[len(kubernetesPrefix):])
			if err != nil {
				return "", ErrToken
			}
			found = string(b)
		case p == bearer:
			if i++; i < len(protocols) {
				found = protocols[i]
			}
		default:
			continue
		}
		if count++; count > 1 || !isCredentials(found) {
			return "", ErrToken
		}
		token = found
	}
	return token, nil
}

// isCredentials says whether s may follow "Bearer " (RFC 6750, section 2.1: a b64token;
// some have other visible characters).
func isCredentials(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return s != ""
}
