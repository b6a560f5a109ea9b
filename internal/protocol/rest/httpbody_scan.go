package rest

import (
	"errors"

	"google.golang.org/protobuf/encoding/protowire"
)

// A bodyScanner finds content_type and data in a google.api.HttpBody that comes in
// pieces. It keeps the type and hands out the data as it comes.
type bodyScanner struct {
	field protowire.Number // of the message that has the HttpBody; 0: the message is one

	length int  // of the message
	at     int  // bytes that came of it
	limit  int  // where the message ends that is around, the HttpBody or the one that has it
	inside bool // of the HttpBody
	state  scanState
	groups int    // that are open
	number uint64 // a varint that is not whole
	shift  int
	tag    protowire.Number
	left   int // bytes of the value

	contentType []byte
	typed       bool // contentType is whole
	data        bool // the data has come, or comes
	size        int  // of the data
}

type scanState int

const (
	scanTag scanState = iota
	scanLength
	scanVarint // a value that is passed over
	scanSkip   // left bytes too
	scanType
	scanData
)

// maxContentType bounds a content type.
const maxContentType = 1024

var (
	errScanEnd   = errors.New("a google.api.HttpBody is cut off inside of a field")
	errScanTag   = errors.New("a google.api.HttpBody has a field with an invalid tag or length")
	errScanTwice = errors.New("a google.api.HttpBody has data twice: it was passed on in pieces, and can't be taken back")
	errScanType  = errors.New("a google.api.HttpBody has a content_type that is too long, or no field of HTTP can have")
)

// reset begins a message.
func (s *bodyScanner) reset(length int) {
	*s = bodyScanner{field: s.field, length: length, limit: length, inside: s.field == 0, contentType: s.contentType[:0]}
}

// last says whether nothing follows the data.
func (s *bodyScanner) last() bool { return s.state == scanData && s.at+s.left == s.length }

// feed takes bytes of the message, no more than are left of it. data gets what is data.
func (s *bodyScanner) feed(b []byte, data func(b []byte)) error {
	for len(b) > 0 {
		if s.state >= scanSkip {
			n := min(len(b), s.left)
			switch s.state {
			case scanType:
				s.contentType = append(s.contentType, b[:n]...)
			case scanData:
				data(b[:n])
			}
			s.at += n
			s.left -= n
			b = b[n:]
			if s.left == 0 {
				if err := s.fieldEnd(); err != nil {
					return err
				}
			}
			continue
		}
		c := b[0]
		b = b[1:]
		s.at++
		if err := s.varint(c); err != nil {
			return err
		}
	}
	return nil
}

// varint takes a byte of a tag, a length or a number.
func (s *bodyScanner) varint(c byte) error {
	if s.shift == 63 && c > 1 {
		return errScanTag
	}
	s.number |= uint64(c&0x7f) << s.shift
	s.shift += 7
	if c >= 0x80 {
		return s.more(1)
	}
	n := s.number
	s.number, s.shift = 0, 0
	switch s.state {
	case scanTag:
		return s.begin(n)
	case scanLength:
		return s.value(n)
	}
	return s.fieldEnd()
}

// more says whether n bytes more can come before the message ends.
func (s *bodyScanner) more(n uint64) error {
	if n > uint64(s.limit-s.at) {
		return errScanEnd
	}
	return nil
}

// begin begins a field.
func (s *bodyScanner) begin(tag uint64) error {
	num, typ := protowire.DecodeTag(tag)
	if num < protowire.MinValidNumber {
		return errScanTag
	}
	s.tag = num
	switch typ {
	case protowire.VarintType:
		s.state = scanVarint
		return s.more(1)
	case protowire.BytesType:
		s.state = scanLength
		return s.more(1)
	case protowire.Fixed32Type:
		s.state, s.left = scanSkip, 4
		return s.more(4)
	case protowire.Fixed64Type:
		s.state, s.left = scanSkip, 8
		return s.more(8)
	case protowire.StartGroupType:
		s.groups++
		return s.fieldEnd()
	case protowire.EndGroupType:
		if s.groups--; s.groups >= 0 {
			return s.fieldEnd()
		}
	}
	return errScanTag
}

// value begins a value of n bytes.
func (s *bodyScanner) value(n uint64) error {
	if err := s.more(n); err != nil {
		return err
	}
	s.state, s.left = scanSkip, int(n)
	switch {
	case s.groups > 0:
	case !s.inside && s.tag == s.field && n > 0:
		s.state, s.inside, s.limit = scanTag, true, s.at+int(n)
		return nil
	case s.inside && s.tag == httpBodyType:
		if n > maxContentType {
			return errScanType
		}
		s.state, s.contentType, s.typed = scanType, s.contentType[:0], false
	case s.inside && s.tag == httpBodyData && n > 0:
		if s.data {
			return errScanTwice
		}
		s.state, s.data, s.size = scanData, true, int(n)
	}
	if n == 0 {
		return s.fieldEnd()
	}
	return nil
}

// fieldEnd stands between two fields, where a message may end.
func (s *bodyScanner) fieldEnd() error {
	if s.state == scanType {
		for _, c := range s.contentType {
			if c < ' ' || c >= 0x7f {
				return errScanType
			}
		}
		s.typed = true
	}
	s.state = scanTag
	if s.at < s.limit {
		return nil
	}
	if s.groups > 0 {
		return errScanEnd
	}
	if s.limit < s.length {
		s.inside = false // a second one merges with the first
	}
	s.limit = s.length
	return nil
}
