package devtls

import "time"

// A pair is the certificate that QUIC uses, and the one that follows it. Each is used for
// quicUse; it is valid early before that, and for a while after it, for clients that
// are slow to ask for the new hashes or whose clock is wrong.
type pair struct {
	current, next *identity
}

// start is when it is used first.
func (id *identity) start() time.Time { return id.Leaf.NotBefore.Add(early) }

// due says whether it is used now. A clock that was set back a little changes nothing.
func (id *identity) due(now time.Time) bool {
	return !now.Before(id.Leaf.NotBefore) && now.Before(id.start().Add(quicUse))
}

// fits says whether the pair is the one for now.
func (p pair) fits(now time.Time) bool {
	return p.current != nil && p.current.due(now) && p.next.start().Equal(p.current.start().Add(quicUse))
}

// nextPair goes on to the next certificate if its time has come, so that clients which
// know its hash already can connect; after a longer while both are new.
func (t *TLS) nextPair(old pair, now time.Time) (p pair, err error) {
	if old.next != nil && old.next.due(now) && old.next.signedBy(t.authority) {
		p.current = old.next
	} else if p.current, err = t.quicFrom(now.Truncate(time.Second)); err != nil {
		return pair{}, err
	}
	p.next, err = t.quicFrom(p.current.start().Add(quicUse))
	return p, err
}

// quicFrom makes a certificate that is used from a time on.
func (t *TLS) quicFrom(start time.Time) (*identity, error) {
	return t.authority.sign(t.names, start.Add(-early), quicLife)
}
