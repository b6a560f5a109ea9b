package rpc

import "strings"

// A Field is one metadata entry.
type Field struct {
	Key   string // lower case
	Value string // of a key that ends in "-bin": unpadded standard base64
	// Sensitive asks the next hop to keep the value out of compression tables
	// (RFC 7541, section 7.1.3).
	Sensitive bool
}

// Metadata is an ordered list of fields. Keys may repeat; the order of all fields is
// kept on every path through the gateway. Nil is empty.
type Metadata []Field

// Get returns the first value of key, or "".
func (m Metadata) Get(key string) string {
	for i := range m {
		if m[i].Key == key {
			return m[i].Value
		}
	}
	return ""
}

// Values returns all values of key in order.
func (m Metadata) Values(key string) []string {
	var vs []string
	for i := range m {
		if m[i].Key == key {
			vs = append(vs, m[i].Value)
		}
	}
	return vs
}

// Add appends a field.
func (m *Metadata) Add(key, value string) { *m = append(*m, Field{Key: key, Value: value}) }

// Binary says whether values of key are base64 of bytes.
func Binary(key string) bool { return strings.HasSuffix(key, "-bin") }
