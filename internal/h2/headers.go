package h2

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"time"
	"unsafe"

	"github.com/sluice-rpc/sluice/internal/exchange"
)

// block is a field section while its frames come in.
type block struct {
	on            bool
	id            uint32
	end           bool // END_STREAM
	frames        int
	bytes         int // compressed
	size          int // as RFC 9113, section 6.5.2, counts
	fields        []exchange.Field
	pseudo        pseudo
	invalid       string // what is wrong with it; first wins
	selfDependent bool
}

// pseudo are the pseudo-header fields (RFC 9113, section 8.3).
type pseudo struct {
	method, scheme, authority, path, protocol, status string
	seen                                              byte // a bit each, against repetition
	regular                                           bool // a regular field came
}

const (
	// maxContinuations bounds the frames of one field section.
	maxContinuations = 64
	// hopeless is how many times the limit a field section may reach before the
	// connection ends: decoding goes on behind the limit to keep the table right, and
	// references make that cheap for the sender only.
	hopeless = 4
)

func (c *Conn) blockBegins() error {
	in := &c.in
	if in.stream == 0 {
		return connError{exchange.ProtocolError, "HEADERS on stream 0"}
	}
	if in.stream%2 == 0 {
		return connError{exchange.ProtocolError, "HEADERS on a stream of the server's"}
	}
	c.block = block{on: true, id: in.stream, end: in.flags&flagEndStream != 0, fields: c.block.fields[:0]}
	if in.flags&flagEndHeaders == 0 {
		c.blockSince.Store(time.Now().UnixNano())
	}
	return nil
}

func (c *Conn) blockPiece(b []byte) error {
	bl := &c.block
	most := hopeless * c.cfg.HeaderBytes
	n := min(len(b), most-bl.bytes)
	bl.bytes += len(b)
	err := c.dec.write(b[:max(n, 0)])
	switch {
	case bl.size > most, err == nil && bl.bytes > most:
		return abusive("header_bytes", fmt.Sprintf("a field section of far more than the limit of %d bytes (limits.header_bytes)", c.cfg.HeaderBytes))
	case err != nil:
		return connError{exchange.CompressionError, err.Error()}
	}
	return nil
}

// field takes a decoded field.
func (c *Conn) field(f decodedField) {
	bl := &c.block
	bl.size += f.size()
	if bl.size > c.cfg.HeaderBytes || bl.invalid != "" {
		return
	}
	if bl.invalid = f.invalid; bl.invalid != "" {
		return
	}
	if f.name[0] == ':' {
		bl.invalid = bl.pseudo.set(f.name, f.value)
		return
	}
	bl.pseudo.regular = true
	bl.fields = append(bl.fields, exchange.Field{Name: f.name, Value: f.value, Sensitive: f.sensitive})
}

func (p *pseudo) set(name, value string) string {
	if p.regular {
		return "a pseudo-header field after a regular one"
	}
	var to *string
	var bit byte
	switch name {
	case ":method":
		to, bit = &p.method, 1
	case ":scheme":
		to, bit = &p.scheme, 2
	case ":authority":
		to, bit = &p.authority, 4
	case ":path":
		to, bit = &p.path, 8
	case ":protocol":
		to, bit = &p.protocol, 16
	case ":status":
		to, bit = &p.status, 32
	default:
		return "an unknown pseudo-header field"
	}
	if p.seen&bit != 0 {
		return "a pseudo-header field twice"
	}
	p.seen |= bit
	*to = value
	return ""
}

// invalid says what is wrong with a field (RFC 9113, sections 8.2.1 and 8.2.2).
func invalid(name, value string) string {
	if name == "" {
		return "a field without a name"
	}
	if name[0] == ':' {
		return invalidValue(value) // which names there are is seen later
	}
	for i := 0; i < len(name); i++ {
		if !nameByte[name[i]] {
			return "a field name with a character that is not allowed"
		}
	}
	switch name {
	case "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade":
		return "a connection-specific field"
	case "te":
		if value != "trailers" {
			return "te other than trailers"
		}
	}
	return invalidValue(value)
}

func invalidValue(v string) string {
	// Eight bytes at a time, as long as there is nothing special in them.
	i := 0
	for b := unsafe.Slice(unsafe.StringData(v), len(v)); len(v)-i >= 8; i += 8 {
		const ones, highs = 0x0101010101010101, 0x8080808080808080
		w := binary.LittleEndian.Uint64(b[i:])
		del := w ^ 0x7f*ones
		if ((w-' '*ones)&^w|(del-ones)&^del)&highs != 0 {
			break
		}
	}
	for ; i < len(v); i++ {
		if b := v[i]; (b < ' ' && b != '\t') || b == 0x7f {
			return "a field value with a control character"
		}
	}
	if v != "" && (v[0] == ' ' || v[0] == '\t' || v[len(v)-1] == ' ' || v[len(v)-1] == '\t') {
		return "a field value with white space around it"
	}
	return ""
}

// nameByte holds the characters of a token in lower case (RFC 9110, section 5.6.2).
var nameByte = func() (t [256]bool) {
	for _, b := range []byte("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz") {
		t[b] = true
	}
	return
}()

// blockEnds has a field section whole.
func (c *Conn) blockEnds() error {
	bl := &c.block
	bl.on = false
	if c.blockSince.Load() != 0 {
		c.blockSince.Store(0)
	}
	if err := c.dec.end(); err != nil {
		return connError{exchange.CompressionError, err.Error()}
	}
	if c.client {
		return c.responseBlock()
	}
	c.mu.Lock()
	s := c.streams[bl.id]
	ended, late := s != nil && s.recvEnded, c.resetLately(bl.id)
	c.mu.Unlock()
	switch {
	case s != nil && ended:
		return c.streamError(bl.id, exchange.StreamClosed)
	case s != nil:
		return c.requestTrailer(s)
	case bl.id <= c.lastID && late:
		return c.charge(costControl)
	case bl.id <= c.lastID:
		return connError{exchange.StreamClosed, "HEADERS on a closed stream"}
	}
	return c.requestBlock()
}

func (c *Conn) requestTrailer(s *stream) error {
	bl := &c.block
	switch {
	case bl.size > c.cfg.HeaderBytes:
		c.cfg.LimitHit("header_bytes")
		return c.streamError(s.id, exchange.EnhanceYourCalm)
	case !bl.end, bl.pseudo.seen != 0, bl.invalid != "", bl.selfDependent, s.length > 0:
		return c.streamError(s.id, exchange.ProtocolError)
	}
	if i := s.startIndex(); i >= 0 {
		c.start(i)
	}
	c.recvEnd(s, bl.fields)
	return nil
}

// A start is a request whose handler is not called yet: the batch may still reset it.
type start struct {
	s    *stream
	head exchange.RequestHead
}

// startIndex says where a stream stands among those to be started, or -1.
func (s *stream) startIndex() int {
	if s.started {
		return -1
	}
	for i := range s.c.starts {
		if s.c.starts[i].s == s {
			return i
		}
	}
	return -1
}

func (c *Conn) requestBlock() error {
	bl := &c.block
	p := &bl.pseudo
	bad := bl.invalid != "" || bl.selfDependent || p.status != "" || p.method == ""
	if p.method == "CONNECT" && p.seen&16 == 0 {
		bad = bad || p.authority == "" || p.seen&(2|8) != 0
	} else {
		bad = bad || p.scheme == "" || p.path == "" || (p.path[0] != '/' && p.path != "*")
		bad = bad || (p.seen&16 != 0 && (p.method != "CONNECT" || !c.cfg.ExtendedConnect))
	}
	length := int64(-1)
	if v := exchange.Get(bl.fields, "content-length"); v != "" && !bad {
		n, err := strconv.ParseUint(v, 10, 62)
		length = int64(n)
		bad = err != nil || (bl.end && n != 0)
	}
	large := bl.size > c.cfg.HeaderBytes
	s := &stream{}
	c.mu.Lock()
	if c.goneAway { // RFC 9113, section 6.8: it is ignored, the client tries elsewhere
		c.mu.Unlock()
		return c.charge(costControl)
	}
	c.lastID = bl.id
	if refuse := len(c.streams) >= c.cfg.MaxStreams; refuse || (bad && !large) {
		code := exchange.RefusedStream
		if bad {
			code = exchange.ProtocolError
		} else {
			c.cfg.LimitHit("streams_per_conn")
		}
		s.c, s.id = c, bl.id
		s.rstLocked(code)
		c.mu.Unlock()
		c.readMark = true
		return c.charge(costError)
	}
	c.newStreamLocked(s, bl.id)
	s.length = length
	s.recvEnded = bl.end
	c.mu.Unlock()
	switch {
	case large:
		c.cfg.LimitHit("header_bytes")
		return c.refuse(s, 431)
	case p.method == "CONNECT" && p.seen&16 == 0:
		return c.refuse(s, 501) // this is not a forward proxy
	}

	// The fields go to the start, and the block gets an old slice in their place.
	n := len(c.starts)
	if n == cap(c.starts) {
		c.starts = append(c.starts, start{})
	}
	c.starts = c.starts[:n+1]
	st := &c.starts[n]
	old := st.head.Fields
	st.s = s
	st.head = exchange.RequestHead{
		Method: p.method, Scheme: p.scheme, Authority: p.authority, Path: p.path, Protocol: p.protocol,
		Fields: bl.fields, Length: length, Addr: c.addr, TLS: c.tls, Carrier: "h2",
	}
	if st.head.Authority == "" {
		st.head.Authority = exchange.Get(bl.fields, "host")
	}
	if bl.end {
		st.head.Length = 0
	}
	bl.fields = old[:0]
	return nil
}

// refuse answers a request that no handler is to see.
func (c *Conn) refuse(s *stream, status int) error {
	c.mu.Lock()
	c.encodeResponse(s, &exchange.ResponseHead{Status: status}, true)
	s.started, s.ended, s.told = true, true, true
	s.req = nowhere{}
	c.mu.Unlock()
	c.readMark = true
	return c.charge(costError)
}

// nowhere takes the events of a request that the engine has answered.
type nowhere struct{}

func (nowhere) Begin()               {}
func (nowhere) Data([]byte)          {}
func (nowhere) End([]exchange.Field) {}
func (nowhere) Reset(exchange.Code)  {}
func (nowhere) Credit(int)           {}
func (nowhere) Done(bool)            {}

// start calls the handler for the request at index i.
func (c *Conn) start(i int) {
	st := &c.starts[i]
	s := st.s
	st.s = nil
	if !c.take(s) {
		return
	}
	c.mu.Lock()
	s.started = true
	ended := s.recvEnded
	c.mu.Unlock()
	s.req = c.handler.Start(&st.head, (*serverStream)(s))
	s.req.Begin()
	if ended && !s.gone.Load() {
		s.req.End(nil)
	}
}

// startAll starts what has not been reset in the batch.
func (c *Conn) startAll() {
	if len(c.starts) == 0 {
		return
	}
	for i := range c.starts {
		if c.starts[i].s != nil {
			c.start(i)
		}
		f := c.starts[i].head.Fields
		clear(f)
		c.starts[i].head = exchange.RequestHead{Fields: f[:0]}
	}
	c.starts = c.starts[:0]
	if cap(c.starts) > keepStarts {
		c.starts = nil
	}
}

// keepStarts is how many a connection keeps memory for.
const keepStarts = 16

func (c *Conn) responseBlock() error {
	bl := &c.block
	c.mu.Lock()
	s := c.streams[bl.id]
	idle := bl.id >= c.nextID
	c.mu.Unlock()
	if idle {
		return connError{exchange.ProtocolError, "HEADERS on an idle stream"}
	}
	if s == nil {
		return nil
	}
	if bl.size > c.cfg.HeaderBytes {
		c.cfg.LimitHit("backend_header_bytes")
		c.release()
		s.resetClient(exchange.Cancel, exchange.EnhanceYourCalm,
			fmt.Errorf("the backend sent a field section of more than %d bytes (limits.backend_header_bytes)", c.cfg.HeaderBytes))
		return nil
	}
	if bl.invalid != "" {
		return c.streamError(bl.id, exchange.ProtocolError)
	}
	if s.headSeen {
		if !bl.end || bl.pseudo.seen != 0 {
			return c.streamError(bl.id, exchange.ProtocolError)
		}
		c.recvEnd(s, bl.fields)
		return nil
	}
	status, err := strconv.Atoi(bl.pseudo.status)
	if err != nil || len(bl.pseudo.status) != 3 || bl.pseudo.seen != 32 || status < 100 || (status < 200 && bl.end) || status == 101 {
		return c.streamError(bl.id, exchange.ProtocolError)
	}
	if !c.take(s) {
		return nil
	}
	c.rhead = exchange.ResponseHead{Status: status, Fields: bl.fields}
	head := &c.rhead
	if status < 200 {
		s.resp.Inform(head)
		return c.charge(costControl)
	}
	s.headSeen = true
	if !bl.end {
		s.resp.Head(head, false)
		return nil
	}
	c.mu.Lock()
	s.recvEnded = true
	deliver := s.finishLocked()
	c.readMark = c.readMark || s.reset || c.closeOnIdle
	c.mu.Unlock()
	if deliver {
		s.resp.Head(head, true)
	}
	return nil
}

// Encoding. All of it happens under the lock, in the order of the wire, because the
// compression table is one state.

func (c *Conn) encodeFields(fields []exchange.Field) {
	for i := range fields {
		c.enc.field(fields[i].Name, fields[i].Value, fields[i].Sensitive)
	}
}

// headersLocked puts the encoded block into the write buffer.
func (c *Conn) headersLocked(s *stream, end bool) {
	b := c.enc.b
	at := len(c.wbuf)
	flags := byte(0)
	if end {
		flags = flagEndStream
	}
	typ := byte(frameHeaders)
	for first := true; first || len(b) > 0; first = false {
		n := min(len(b), maxFrame)
		if n == len(b) {
			flags |= flagEndHeaders
		}
		c.wbuf = append(appendFrameHeader(c.wbuf, n, typ, flags, s.id), b[:n]...)
		b = b[n:]
		typ, flags = frameContinuation, 0
	}
	if cap(c.enc.b) > keepWbuf {
		c.enc.b = nil
	}
	c.last = lastFrame{s: s, at: at}
	if end {
		c.last = lastFrame{}
		s.endCutLocked()
	}
}

var statusText = map[int]string{100: "100", 103: "103", 200: "200", 204: "204", 206: "206", 304: "304", 400: "400", 404: "404", 500: "500"}

func (c *Conn) encodeResponse(s *stream, h *exchange.ResponseHead, end bool) {
	st, ok := statusText[h.Status]
	if !ok {
		st = strconv.Itoa(h.Status)
	}
	c.enc.begin()
	c.enc.field(":status", st, false)
	c.encodeFields(h.Fields)
	c.headersLocked(s, end)
	if h.Status < 200 {
		c.last = lastFrame{} // an informational response does not end a stream
	}
}

func (c *Conn) encodeTrailer(s *stream, fields []exchange.Field) {
	c.enc.begin()
	c.encodeFields(fields)
	// cutEndLocked notes the end, so only the flag is set here.
	at := len(c.wbuf)
	c.headersLocked(s, false)
	c.wbuf[at+4] |= flagEndStream
}

func (c *Conn) encodeRequest(s *stream, h *exchange.RequestHead) {
	c.enc.begin()
	c.enc.field(":method", h.Method, false)
	if h.Scheme != "" {
		c.enc.field(":scheme", h.Scheme, false)
	}
	if h.Path != "" {
		c.enc.field(":path", h.Path, false)
	}
	if h.Authority != "" {
		c.enc.field(":authority", h.Authority, false)
	}
	if h.Protocol != "" {
		c.enc.field(":protocol", h.Protocol, false)
	}
	c.encodeFields(h.Fields)
	c.headersLocked(s, false)
}
