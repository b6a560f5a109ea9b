package h2

import (
	"encoding/binary"
	"unsafe"
)

// An encoder writes field sections (RFC 7541). It stands beside golang.org/x/net's
// because a gateway's connections carry the fields of many clients: it puts a field
// into the compression table only when the field comes for the second time, so values
// that are said once (trace ids, timeouts, message ids) neither cost an insertion nor
// push out what repeats. Strings are sent without Huffman coding. Its oracle in tests
// is x/net's decoder.
//
// The zero value is not ready; see newEncoder.
type encoder struct {
	b []byte

	// The dynamic table: entry id i stands at entries[i%len(entries)]; ids run from
	// oldest to next-1.
	entries      [encoderEntries]tableEntry
	oldest, next uint32
	size         int
	limit        int  // what the peer allows and we use
	update       bool // the limit is to be announced

	pairs [encoderSlots]uint32 // hash of a field to its id + 1
	names [encoderSlots]uint32 // hash of a name to the id + 1 of a field that has it
	seen  [encoderSeen]uint32  // hashes of fields that came once
}

type tableEntry struct {
	name, value string
	hash        uint32
}

const (
	encoderTable   = 4096 // bytes, RFC 7541, section 4.2: never more than the protocol's default
	encoderEntries = encoderTable/32 + 1
	encoderSlots   = 128
	encoderSeen    = 128
	staticEntries  = 61
)

// hashString is cheap and no secret: who finds strings that collide makes his own
// fields take more bytes. Of long strings it takes the ends.
func hashString(s string) uint32 {
	const prime = 0x9e3779b97f4a7c15
	b := unsafe.Slice(unsafe.StringData(s), len(s))
	h := uint64(len(b)) * prime
	if len(b) > 64 {
		for _, at := range [...]int{0, 8, len(b) - 32, len(b) - 24, len(b) - 16} {
			h = (h ^ binary.LittleEndian.Uint64(b[at:])) * prime
			h ^= h >> 29
		}
	} else {
		for ; len(b) > 8; b = b[8:] {
			h = (h ^ binary.LittleEndian.Uint64(b)) * prime
			h ^= h >> 29
		}
	}
	if len(b) >= 8 {
		h = (h ^ binary.LittleEndian.Uint64(b[len(b)-8:])) * prime
	} else {
		var last uint64
		for _, c := range b {
			last = last<<8 | uint64(c)
		}
		h = (h ^ last) * prime
	}
	return uint32(h >> 32)
}

func newEncoder() *encoder { return &encoder{limit: encoderTable} }

// setLimit is for the peer's SETTINGS_HEADER_TABLE_SIZE. The table never grows again
// after it was made smaller: that would take two updates in one section
// (RFC 7541, section 4.2), which x/net's decoder refuses.
func (e *encoder) setLimit(n int) {
	if n >= e.limit {
		return
	}
	e.limit, e.update = n, true
	e.evict(n)
}

func (e *encoder) evict(limit int) {
	for e.size > limit {
		t := &e.entries[e.oldest%encoderEntries]
		e.size -= len(t.name) + len(t.value) + 32
		*t = tableEntry{}
		e.oldest++
	}
}

// begin starts a field section.
func (e *encoder) begin() {
	e.b = e.b[:0]
	if e.update {
		e.b = appendInt(e.b, 0x20, 5, uint64(e.limit))
		e.update = false
	}
}

// field appends a field to the section.
func (e *encoder) field(name, value string, sensitive bool) {
	st := staticName(name)
	for i := range st.values {
		if st.values[i].value == value {
			e.b = append(e.b, 0x80|st.values[i].index)
			return
		}
	}
	nameHash := hashString(name)
	if sensitive {
		e.literal(0x10, 4, st.index, nameHash, name, value)
		return
	}
	hash := nameHash*31 + hashString(value)
	if id := e.pairs[hash%encoderSlots]; id > 0 {
		if i := id - 1; i-e.oldest < e.next-e.oldest {
			if t := &e.entries[i%encoderEntries]; t.hash == hash && t.name == name && t.value == value {
				e.b = appendInt(e.b, 0x80, 7, uint64(staticEntries+e.next-i))
				return
			}
		}
	}
	size := len(name) + len(value) + 32
	if seen := &e.seen[hash%encoderSeen]; *seen != hash || size > e.limit/2 {
		*seen = hash
		e.literal(0, 4, st.index, nameHash, name, value)
		return
	}
	e.literal(0x40, 6, st.index, nameHash, name, value)
	e.evict(e.limit - size)
	e.entries[e.next%encoderEntries] = tableEntry{name, value, hash}
	e.pairs[hash%encoderSlots] = e.next + 1
	e.names[nameHash%encoderSlots] = e.next + 1
	e.next++
	e.size += size
}

// literal appends a literal field, its name by index where the tables have it.
func (e *encoder) literal(pattern byte, prefix uint, static byte, nameHash uint32, name, value string) {
	index := uint64(static)
	if index == 0 {
		if id := e.names[nameHash%encoderSlots]; id > 0 {
			if i := id - 1; i-e.oldest < e.next-e.oldest && e.entries[i%encoderEntries].name == name {
				index = uint64(staticEntries + e.next - i)
			}
		}
	}
	e.b = appendInt(e.b, pattern, prefix, index)
	if index == 0 {
		e.b = append(appendInt(e.b, 0, 7, uint64(len(name))), name...)
	}
	e.b = append(appendInt(e.b, 0, 7, uint64(len(value))), value...)
}

// appendInt writes an integer with a prefix of n bits (RFC 7541, section 5.1).
func appendInt(b []byte, pattern byte, n uint, v uint64) []byte {
	limit := uint64(1)<<n - 1
	if v < limit {
		return append(b, pattern|byte(v))
	}
	b = append(b, pattern|byte(limit))
	for v -= limit; v >= 0x80; v >>= 7 {
		b = append(b, 0x80|byte(v))
	}
	return append(b, byte(v))
}

// staticEntry is where a name stands in the static table, and its values that do.
type staticEntry struct {
	name   string
	index  byte
	values []staticValue
}

type staticValue struct {
	value string
	index byte
}

// staticTable holds the names of the static table, found by a few of their bytes.
var staticTable [256]staticEntry

var noStatic staticEntry

func staticSlot(name string) byte {
	n := len(name)
	return byte(n*37) ^ name[n-1]*5 ^ name[n/2]*11 ^ name[0]
}

func staticName(name string) *staticEntry {
	if name == "" {
		return &noStatic
	}
	for i := staticSlot(name); ; i++ {
		e := &staticTable[i]
		if e.index == 0 || e.name == name {
			return e
		}
	}
}

func init() {
	for i, f := range staticList {
		e := staticName(f[0])
		if e.index == 0 {
			e.name, e.index = f[0], byte(i+1)
		}
		if f[1] != "" {
			e.values = append(e.values, staticValue{f[1], byte(i + 1)})
		}
	}
}

// staticList is RFC 7541, appendix A.
var staticList = [staticEntries][2]string{
	{":authority"}, {":method", "GET"}, {":method", "POST"}, {":path", "/"}, {":path", "/index.html"},
	{":scheme", "http"}, {":scheme", "https"}, {":status", "200"}, {":status", "204"}, {":status", "206"},
	{":status", "304"}, {":status", "400"}, {":status", "404"}, {":status", "500"}, {"accept-charset"},
	{"accept-encoding", "gzip, deflate"}, {"accept-language"}, {"accept-ranges"}, {"accept"},
	{"access-control-allow-origin"}, {"age"}, {"allow"}, {"authorization"}, {"cache-control"},
	{"content-disposition"}, {"content-encoding"}, {"content-language"}, {"content-length"}, {"content-location"},
	{"content-range"}, {"content-type"}, {"cookie"}, {"date"}, {"etag"}, {"expect"}, {"expires"}, {"from"},
	{"host"}, {"if-match"}, {"if-modified-since"}, {"if-none-match"}, {"if-range"}, {"if-unmodified-since"},
	{"last-modified"}, {"link"}, {"location"}, {"max-forwards"}, {"proxy-authenticate"}, {"proxy-authorization"},
	{"range"}, {"referer"}, {"refresh"}, {"retry-after"}, {"server"}, {"set-cookie"}, {"strict-transport-security"},
	{"transfer-encoding"}, {"user-agent"}, {"vary"}, {"via"}, {"www-authenticate"},
}
