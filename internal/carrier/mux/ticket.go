package mux

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/binary"
	"time"
)

// A ticket says on which node, and on which of its connections, a call was begun. Clients can't
// read or make one.
type ticket struct {
	expiry   time.Time
	instance [8]byte // of the process
	session  sessionID
	node     string
}

type sealer struct{ aead cipher.AEAD }

func newSealer(key [32]byte) *sealer {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err) // the key has the right length
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err)
	}
	return &sealer{aead}
}

// maxTicket bounds what is looked at.
const maxTicket = 512

func (s *sealer) seal(t ticket) string {
	b := binary.BigEndian.AppendUint64(nil, uint64(t.expiry.Unix()))
	b = append(b, t.instance[:]...)
	b = append(b, t.session[:]...)
	b = append(b, t.node...)
	return base64.RawURLEncoding.EncodeToString(s.aead.Seal(t.instance[:], nil, b, ticketPurpose))
}

// foreign says whether a ticket claims to be of another process. It may lie, and gains nothing by it.
func (s *sealer) foreign(text string, instance [8]byte) bool {
	b, err := base64.RawURLEncoding.DecodeString(text)
	return err == nil && len(text) <= maxTicket && len(b) >= minSealed && [8]byte(b) != instance
}

// minSealed is the length of a ticket without the name of a node: instance, nonce, content, tag.
const minSealed = 8 + 12 + (8 + 8 + 16) + 16

// ticketPurpose keeps what is sealed by the same key for something else from being taken.
var ticketPurpose = []byte("sluice.v1 ticket")

// open reads a ticket that was sealed with the key, outdated or not.
func (s *sealer) open(text string) (t ticket, ok bool) {
	if len(text) > maxTicket {
		return t, false
	}
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(b) < minSealed {
		return t, false
	}
	if b, err = s.aead.Open(nil, nil, b[len(t.instance):], ticketPurpose); err != nil {
		return t, false
	}
	t.expiry = time.Unix(int64(binary.BigEndian.Uint64(b)), 0)
	b = b[8:]
	b = b[copy(t.instance[:], b):]
	b = b[copy(t.session[:], b):]
	t.node = string(b)
	return t, true
}

// Owner names the node of a ticket, if it is another one than this.
func (s *Server) Owner(text string) (node string, other bool) {
	t, ok := s.seal.open(text)
	return t.node, ok && t.node != s.o.Node
}
