// Package jsonstream finds the documents in a stream of JSON: one after another with or
// without line ends between them (application/x-ndjson), as the elements of one array
// (application/json), or each behind an RS (application/json-seq, RFC 7464).
//
// It looks at JSON only as far as it must to see where a document ends; whether it is
// sound is for who reads it.
package jsonstream

import (
	"errors"
	"fmt"
)

// A Form is how documents follow each other.
type Form int

const (
	// Auto is told by the first byte: '[' is Array, RS is Sequence, else Documents.
	Auto Form = iota
	// Documents stand one after another, white space between them or not.
	Documents
	// Array is one array, and the documents are its elements.
	Array
	// Sequence is RFC 7464: each document stands after an RS.
	Sequence
)

const rs = 0x1e

// ErrTooLarge is within the error for a document over the limit.
var ErrTooLarge = errors.New("larger than the limit")

// An Error says where the stream is wrong.
type Error struct {
	Document int   // from 1
	Offset   int64 // from the beginning of the stream
	Err      error
}

// Error implements error.
func (e *Error) Error() string {
	return fmt.Sprintf("document %d of the stream, at byte %d: %v", e.Document, e.Offset, e.Err)
}

// Unwrap returns what was wrong.
func (e *Error) Unwrap() error { return e.Err }

// A Splitter is fed a stream in pieces of any size. The zero value is ready but for its
// limit.
type Splitter struct {
	Form  Form
	Limit int // bytes of one document

	buf    []byte // a document that is not whole yet
	offset int64  // of the next byte
	start  int64  // of the document
	count  int    // documents that have begun
	state  state
	depth  int
	inText bool // within a string
	escape bool // after a backslash
	failed error
}

type state int

const (
	between  state = iota // white space, or a document begins
	opening               // of an array, before its first element or ']'
	element               // of an array, after a comma
	after                 // an element of an array
	nested                // in an object or array
	text                  // in a string at the top
	word                  // in a number or a literal at the top
	finished              // after the array
)

// Feed takes more of the stream and calls f with each document that is whole now; what
// f gets is valid during the call only. It stops at an error of its own, which it
// returns again from then on, or of f's.
func (s *Splitter) Feed(b []byte, f func(doc []byte) error) error {
	if s.failed != nil {
		return s.failed
	}
	from := 0 // where in b the document goes on
	for i := 0; i < len(b); i++ {
		c := b[i]
		switch s.state {
		case nested, text:
			if c == rs { // no JSON text has one
				return s.fail(s.offset+int64(i), errors.New("the document is cut off by an RS"))
			}
			if !s.inside(c) {
				continue
			}
			if err := s.emit(b[from:i+1], f); err != nil {
				return err
			}
			continue
		case word:
			if !ends(c) {
				continue
			}
			if err := s.emit(b[from:i], f); err != nil {
				return err
			}
			// c is what comes after the document.
		}
		begins, err := s.outside(c)
		if err != nil {
			return s.fail(s.offset+int64(i), err)
		}
		if begins {
			from = i
			s.count++
			s.start = s.offset + int64(i)
		}
	}
	s.offset += int64(len(b))
	if s.state >= nested && s.state <= word {
		if len(s.buf)+len(b)-from > s.Limit {
			return s.fail(s.start, s.tooLarge())
		}
		s.buf = append(s.buf, b[from:]...)
	}
	return nil
}

// Close ends the stream: a last number may be whole only now.
func (s *Splitter) Close(f func(doc []byte) error) error {
	switch {
	case s.failed != nil:
		return s.failed
	case s.state == word:
		return s.emit(nil, f)
	case s.state == nested || s.state == text:
		return s.fail(s.offset, errors.New("the stream ends inside of a document"))
	case s.Form == Array && s.state != finished && (s.state != between || s.count > 0):
		return s.fail(s.offset, errors.New("the stream ends before the ']' of its array"))
	}
	return nil
}

// Count returns how many documents have begun.
func (s *Splitter) Count() int { return s.count }

// Buffered returns how many bytes are kept of a document that is not whole yet.
func (s *Splitter) Buffered() int { return len(s.buf) }

func (s *Splitter) fail(at int64, err error) error {
	s.buf = nil
	s.failed = &Error{max(s.count, 1), at, err}
	return s.failed
}

func (s *Splitter) tooLarge() error {
	return fmt.Errorf("the document is %w of %d bytes", ErrTooLarge, s.Limit)
}

// emit gives away a document that ends with rest.
func (s *Splitter) emit(rest []byte, f func([]byte) error) error {
	doc := rest
	if len(s.buf)+len(rest) > s.Limit {
		return s.fail(s.start, s.tooLarge())
	}
	if len(s.buf) > 0 {
		s.buf = append(s.buf, rest...)
		doc = s.buf
	}
	s.state = between
	if s.Form == Array {
		s.state = after
	}
	if err := f(doc); err != nil {
		return s.fail(s.start, err)
	}
	if cap(s.buf) > keep {
		s.buf = nil // one large document does not stay
	}
	s.buf = s.buf[:0]
	return nil
}

// keep is how large a buffer may be that waits for the next document.
const keep = 16 << 10

// inside follows c within a document and says whether it is its last byte.
func (s *Splitter) inside(c byte) (last bool) {
	switch {
	case s.escape:
		s.escape = false
	case s.inText:
		switch c {
		case '\\':
			s.escape = true
		case '"':
			s.inText = false
			return s.depth == 0
		}
	case c == '"':
		s.inText = true
	case c == '{' || c == '[':
		s.depth++
	case c == '}' || c == ']':
		s.depth--
		return s.depth == 0
	}
	return false
}

// ends says whether c ends a number or a literal.
func ends(c byte) bool {
	switch c {
	case ' ', '\t', '\r', '\n', ',', ']', '}', '{', '[', '"', rs:
		return true
	}
	return false
}

var (
	errComma    = errors.New("a ',' or the ']' of the array is expected")
	errElement  = errors.New("an element of the array is expected")
	errDocument = errors.New("a JSON document is expected")
	errRest     = errors.New("there is more after the ']' of the array")
)

// outside follows c between documents and says whether one begins.
func (s *Splitter) outside(c byte) (begins bool, err error) {
	switch c {
	case ' ', '\t', '\r', '\n':
		return false, nil
	}
	if s.Form == Auto {
		switch c {
		case '[':
			s.Form = Array
		case rs:
			s.Form = Sequence
		default:
			s.Form = Documents
		}
	}
	switch s.Form {
	case Array:
		return s.inArray(c)
	case Sequence:
		if c == rs {
			return false, nil
		}
	}
	return s.begin(c, errDocument)
}

func (s *Splitter) inArray(c byte) (bool, error) {
	switch s.state {
	case between:
		if c != '[' {
			return false, errors.New("an array is expected")
		}
		s.state = opening
		return false, nil
	case opening:
		if c == ']' {
			s.state = finished
			return false, nil
		}
		return s.begin(c, errElement)
	case element:
		return s.begin(c, errElement)
	case after:
		switch c {
		case ',':
			s.state = element
			return false, nil
		case ']':
			s.state = finished
			return false, nil
		}
		return false, errComma
	}
	return false, errRest
}

// begin begins a document with c.
func (s *Splitter) begin(c byte, expected error) (bool, error) {
	switch c {
	case '{', '[':
		s.state, s.depth = nested, 1
	case '"':
		s.state, s.depth, s.inText = text, 0, true
	case ',', ':', ']', '}', rs:
		return false, fmt.Errorf("%w, not %q", expected, rune(c))
	default:
		s.state = word
	}
	return true, nil
}
