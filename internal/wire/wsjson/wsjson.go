// Package wsjson holds the frames of the WebSocket subprotocol sluice.json as functions
// on bytes (docs/protocols/websocket.md): objects with one key that tell the head, the
// messages and the end of a call apart. What is in a message is for who reads it.
package wsjson

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sluice-rpc/sluice/rpc"
)

// The names of the subprotocols: with these frames, and without.
const (
	Name  = "sluice.json"
	Plain = "sluice.plain"
)

// A Kind says what a text frame of a client is.
type Kind int

// The kinds of frames.
const (
	Head Kind = iota + 1
	Message
	End
)

// Parse tells a text frame of a client, and returns what is in it: of a Message its JSON,
// which may be followed by what does not belong there, of a Head what [ParseHead] reads.
func Parse(b []byte) (Kind, []byte, error) {
	b = bytes.Trim(b, space)
	if len(b) == 0 {
		return End, nil, nil
	}
	inner, ok := bytes.CutSuffix(b, []byte("}"))
	if !ok || len(inner) == 0 || inner[0] != '{' {
		return 0, nil, errors.New("a frame is no object")
	}
	key, rest, err := cutKey(bytes.Trim(inner[1:], space))
	if err != nil {
		return 0, nil, err
	}
	switch key {
	case "@message":
		return Message, rest, nil
	case "@head":
		return Head, rest, nil
	case "@end":
		if string(rest) != "true" {
			return 0, nil, errors.New("@end is not true")
		}
		return End, nil, nil
	}
	return 0, nil, fmt.Errorf("a frame has the key %.40q, not @head, @message or @end", key)
}

const space = " \t\r\n"

// cutKey reads a key, which needs no escapes, and a colon.
func cutKey(b []byte) (key string, rest []byte, err error) {
	if len(b) > 0 && b[0] == '"' {
		if n := bytes.IndexByte(b[1:], '"'); n >= 0 {
			key, b = string(b[1:1+n]), bytes.TrimLeft(b[n+2:], space)
			if len(b) > 0 && b[0] == ':' {
				return key, bytes.Trim(b[1:], space), nil
			}
		}
	}
	return "", nil, errors.New("a frame has no key")
}

// ErrTooLarge is within the error for metadata over the limit.
var ErrTooLarge = errors.New("metadata larger than the limit")

// ParseHead reads the value of a Head. A timeout of 0 is none. most is how large the
// metadata may be, as RFC 9113 counts it (name + value + 32 each). reserved says which
// names are no metadata.
func ParseHead(b []byte, most int, reserved func(name string) bool) (md rpc.Metadata, timeout time.Duration, err error) {
	d := json.NewDecoder(bytes.NewReader(b))
	err = object(d, func(key string) error {
		switch key {
		case "metadata":
			if md != nil {
				return errors.New("metadata stands twice")
			}
			md = rpc.Metadata{}
			return object(d, func(name string) error { return values(d, &md, name, &most, reserved) })
		case "timeout":
			s, err := text(d)
			if err != nil {
				return fmt.Errorf("timeout: %w", err)
			}
			timeout, err = parseTimeout(s)
			return err
		}
		return fmt.Errorf("@head has no member %.40q", key)
	})
	if err == nil {
		if _, more := d.Token(); more != io.EOF {
			err = errors.New("@head is followed by something else")
		}
	}
	if err != nil {
		return nil, 0, err
	}
	return md, timeout, nil
}

// object reads an object, and calls member for each key, which reads the value.
func object(d *json.Decoder, member func(key string) error) error {
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return errObject(err)
	}
	for d.More() {
		t, err := d.Token()
		key, ok := t.(string)
		if err != nil || !ok {
			return errObject(err)
		}
		if err := member(key); err != nil {
			return err
		}
	}
	_, err := d.Token()
	if err != nil {
		return errObject(err)
	}
	return nil
}

func errObject(err error) error {
	if err != nil {
		return fmt.Errorf("@head is no JSON: %w", err)
	}
	return errors.New("@head is not made of objects")
}

func text(d *json.Decoder) (string, error) {
	t, err := d.Token()
	if err != nil {
		return "", err
	}
	s, ok := t.(string)
	if !ok {
		return "", errors.New("not a string")
	}
	return s, nil
}

// values reads the value of a name, or an array of them.
func values(d *json.Decoder, md *rpc.Metadata, name string, room *int, reserved func(string) bool) error {
	if !validName(name) {
		return fmt.Errorf("metadata %.40q is no name in lower case", name)
	}
	if reserved(name) {
		return fmt.Errorf("metadata %.40s is reserved", name)
	}
	t, err := d.Token()
	if err != nil {
		return errObject(err)
	}
	if t == json.Delim('[') {
		for d.More() {
			s, err := text(d)
			if err == nil {
				err = add(md, name, s, room)
			}
			if err != nil {
				return fmt.Errorf("metadata %.40s: %w", name, err)
			}
		}
		_, err = d.Token()
		return err
	}
	s, ok := t.(string)
	if !ok {
		return fmt.Errorf("metadata %.40s: neither a string nor an array", name)
	}
	if err := add(md, name, s, room); err != nil {
		return fmt.Errorf("metadata %.40s: %w", name, err)
	}
	return nil
}

// validName says whether a name is one of gRPC's "Header-Name"
// (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md).
func validName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' && c != '-' && c != '.' {
			return false
		}
	}
	return s != ""
}

func add(md *rpc.Metadata, name, value string, room *int) error {
	if *room -= len(name) + len(value) + 32; *room < 0 {
		return ErrTooLarge
	}
	if rpc.Binary(name) {
		value = strings.TrimRight(value, "=")
		if _, err := base64.RawStdEncoding.DecodeString(value); err != nil || strings.ContainsAny(value, "\r\n") {
			return errors.New("not base64")
		}
	}
	for i := range len(value) { // gRPC's "ASCII-Value"
		if value[i] < 0x20 || value[i] > 0x7e {
			return errors.New("not printable ASCII")
		}
	}
	md.Add(name, value)
	return nil
}

// parseTimeout reads a google.protobuf.Duration in JSON, which has to be above zero.
func parseTimeout(s string) (time.Duration, error) {
	n, ok := strings.CutSuffix(s, "s")
	whole, fraction, dot := strings.Cut(n, ".")
	if ok && digits(whole, 9) && (!dot || digits(fraction, 9)) {
		if d, err := time.ParseDuration(s); err == nil && d > 0 {
			return d, nil
		}
	}
	return 0, fmt.Errorf("timeout %.40q is no duration above zero, such as \"1.5s\"", s)
}

// digits says whether s is one to most digits.
func digits(s string, most int) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != "" && len(s) <= most
}

// What stands around the JSON of a message.
const (
	MessagePrefix = `{"@message":`
	MessageSuffix = `}`
)

// AppendHead appends the frame with the backend's headers.
func AppendHead(b []byte, md rpc.Metadata) []byte {
	b = append(b, `{"@head":{`...)
	b = appendMetadata(b, md)
	return append(b, "}}"...)
}

// AppendEnd appends the frame with the status, which is JSON, and the trailers.
func AppendEnd(b, status []byte, md rpc.Metadata) []byte {
	b = append(b, `{"@end":{"status":`...)
	b = append(b, status...)
	if len(md) > 0 {
		b = appendMetadata(append(b, ','), md)
	}
	return append(b, "}}"...)
}

// appendMetadata appends the member metadata if there is any. The values of a name are
// in its order, the names in that of their first values.
func appendMetadata(b []byte, md rpc.Metadata) []byte {
	if len(md) == 0 {
		return b
	}
	b = append(b, `"metadata":{`...)
	seen := make(map[string][]string, len(md))
	for _, f := range md {
		seen[f.Key] = append(seen[f.Key], f.Value)
	}
	first := true
	for _, f := range md {
		vs, ok := seen[f.Key]
		if !ok {
			continue // stood with the first one
		}
		delete(seen, f.Key)
		if !first {
			b = append(b, ',')
		}
		first = false
		b = append(appendString(b, f.Key), ':')
		if len(vs) == 1 {
			b = appendString(b, vs[0])
			continue
		}
		for i, v := range vs {
			open := byte(',')
			if i == 0 {
				open = '['
			}
			b = appendString(append(b, open), v)
		}
		b = append(b, ']')
	}
	return append(b, '}')
}

const hex = "0123456789abcdef"

// appendString appends s as a JSON string.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < 0x20:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		case c < utf8.RuneSelf:
			b = append(b, c)
		default:
			r, n := utf8.DecodeRuneInString(s[i:])
			b = utf8.AppendRune(b, r) // U+FFFD for what is not UTF-8
			i += n
			continue
		}
		i++
	}
	return append(b, '"')
}
