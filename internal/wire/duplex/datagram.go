package duplex

// A Datagram is one message that may be lost.
type Datagram struct {
	Number   uint64 // which the client has given to the call
	Sequence uint64 // of its direction, from 1
	Message  []byte
}

// maxVarint is the highest number that a varint has room for.
const maxVarint = 1<<62 - 1

// DatagramOverhead is how long a datagram may be without its message.
const DatagramOverhead = 16

// Append appends the datagram.
func (d *Datagram) Append(b []byte) []byte {
	b = appendVarint(b, d.Number)
	b = appendVarint(b, d.Sequence)
	return append(b, d.Message...)
}

// ParseDatagram reads one. Its message is a part of b. It says false if b is none.
func ParseDatagram(b []byte) (d Datagram, ok bool) {
	if d.Number, b, ok = readVarint(b); !ok {
		return d, false
	}
	if d.Sequence, b, ok = readVarint(b); !ok || d.Sequence == 0 {
		return d, false
	}
	d.Message = b
	return d, true
}

// ParseNumber reads the number of :datagrams, a decimal one that a varint has room for.
func ParseNumber(text string) (n uint64, ok bool) {
	if text == "" || len(text) > 19 || len(text) > 1 && text[0] == '0' {
		return 0, false
	}
	for _, c := range []byte(text) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + uint64(c-'0')
	}
	return n, n <= maxVarint
}

// appendVarint appends n, which is at most maxVarint, as RFC 9000, section 16, has it.
func appendVarint(b []byte, n uint64) []byte {
	switch {
	case n < 1<<6:
		return append(b, byte(n))
	case n < 1<<14:
		return append(b, 0x40|byte(n>>8), byte(n))
	case n < 1<<30:
		return append(b, 0x80|byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
	return append(b, 0xc0|byte(n>>56), byte(n>>48), byte(n>>40), byte(n>>32), byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
}

func readVarint(b []byte) (n uint64, rest []byte, ok bool) {
	if len(b) == 0 {
		return 0, b, false
	}
	length := 1 << (b[0] >> 6)
	if len(b) < length {
		return 0, b, false
	}
	n = uint64(b[0] & 0x3f)
	for _, c := range b[1:length] {
		n = n<<8 | uint64(c)
	}
	return n, b[length:], true
}

// An Order says which datagrams of a direction are taken. Late are those that are older than
// the newest: with Late they are taken if they have not come before and are not too old. The
// zero Order has seen nothing.
type Order struct {
	Late bool

	newest uint64
	seen   uint64 // bit i: newest-i has come
}

// Take says whether a datagram is taken, and remembers it.
func (o *Order) Take(sequence uint64) bool {
	switch {
	case sequence == 0:
		return false
	case sequence > o.newest:
		if by := sequence - o.newest; by < 64 {
			o.seen = o.seen<<by | 1
		} else {
			o.seen = 1
		}
		o.newest = sequence
		return true
	}
	bit := uint64(1)
	if by := o.newest - sequence; by < 64 {
		bit <<= by
	} else {
		return false
	}
	if !o.Late || o.seen&bit != 0 {
		return false
	}
	o.seen |= bit
	return true
}
