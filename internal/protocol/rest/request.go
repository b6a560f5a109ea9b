package rest

import (
	"errors"
	"fmt"
	"slices"

	"github.com/sluice-rpc/sluice/internal/compress"
	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/transcode"
	"github.com/sluice-rpc/sluice/internal/wire/envelope"
	grpcwire "github.com/sluice-rpc/sluice/internal/wire/grpc"
	"github.com/sluice-rpc/sluice/internal/wire/jsonstream"
	"github.com/sluice-rpc/sluice/internal/wire/ledger"
	"github.com/sluice-rpc/sluice/rpc"
	"google.golang.org/protobuf/encoding/protowire"
)

// requestBody makes messages of the body of a request, and of its path and query.
type requestBody struct {
	c      *call
	split  splitter // of a body that is a stream; nil: the body is one message
	pieces *pieces  // of a body that is passed on as it comes
	parts  *parts   // of multipart/form-data
	ledger ledger.Ledger

	contentType string // of a raw body
	length      int64  // that the client says, or -1
	body        []byte // of one message
	held        int    // bytes taken from Options.Reserve
	count       int    // messages sent
	failed      bool
}

// A splitter finds the messages in a stream.
type splitter interface {
	Feed(b []byte, f func(message []byte) error) error
	Close(f func(message []byte) error) error
	Buffered() int
}

func (r *requestBody) init(c *call, head *exchange.RequestHead) {
	r.c = c
	r.contentType = exchange.Get(head.Fields, "content-type")
	r.length = head.Length
	up, _ := c.binding.streams()
	if c.content == rawContent && c.coding == "" && (up || head.Length >= 0) {
		r.pieces = &pieces{path: c.binding.bodyPath(), length: -1}
		if !up {
			r.pieces.length = head.Length
		}
		return
	}
	if c.content == multipartContent {
		r.initParts(up)
		return
	}
	if !up || c.content == noContent {
		return
	}
	limit := c.s.o.MaxMessage
	switch c.content {
	case ndjsonContent:
		r.split = &jsonstream.Splitter{Form: jsonstream.Documents, Limit: limit}
	case seqContent:
		r.split = &jsonstream.Splitter{Form: jsonstream.Sequence, Limit: limit}
	case protobufContent:
		r.split = &delimited{limit: limit}
	case formContent: // one message
	default:
		r.split = &jsonstream.Splitter{Limit: limit}
	}
}

// streams says whether the body has no limit as a whole.
func (r *requestBody) streams() bool {
	return r.split != nil || r.pieces != nil && r.pieces.length < 0 || r.parts != nil && r.parts.stream
}

func (r *requestBody) data(b []byte) {
	c := r.c
	if r.failed || c.content == noContent {
		c.response.Credit(len(b))
		return
	}
	if r.pieces != nil {
		r.pass(b)
		return
	}
	if r.parts != nil && c.coding == "" {
		r.takeParts(b)
		return
	}
	if r.split == nil {
		// Kept: taken on receipt, within the limit.
		c.response.Credit(len(b))
		switch {
		case len(r.body)+len(b) > c.s.o.MaxMessage:
			r.fail(c.tooLarge(int64(len(r.body) + len(b))))
		case r.keep(len(r.body) + len(b)):
			most := 2 * cap(r.body)
			if r.length >= 0 {
				most = int(min(r.length, int64(c.s.o.MaxMessage)))
			}
			r.body = append(grow(r.body, len(b), most), b...)
		}
		return
	}
	r.ledger.Keep(len(b))
	if err := r.split.Feed(b, r.send); err != nil {
		r.fail(r.status(err))
	} else {
		r.keep(r.split.Buffered())
	}
	n := r.ledger.Settle() // kept: taken on receipt, while the backend takes what is whole
	if r.failed {
		n += r.ledger.Rest()
	}
	if n > 0 {
		c.response.Credit(n)
	}
}

// grow returns b with room for n bytes more. A buffer grows to four times its size at
// most, and not over most unless it must: large ones that grow bit by bit, as append has
// them, leave a multiple of themselves as garbage.
func grow(b []byte, n, most int) []byte {
	if len(b)+n <= cap(b) {
		return b
	}
	return append(make([]byte, 0, max(len(b)+n, min(4*cap(b), most))), b...)
}

// keep notes how many bytes are kept, and ends the call if there is no memory for them.
func (r *requestBody) keep(n int) bool {
	if !r.c.s.o.Reserve(n - r.held) {
		r.fail(grpcwire.BuffersFull)
		return false
	}
	r.held = n
	return true
}

func (r *requestBody) free() {
	if r.held > 0 {
		r.c.s.o.Reserve(-r.held)
	}
	r.held, r.body, r.parts = 0, nil, nil
}

func (r *requestBody) fail(st rpc.Status) {
	if r.failed {
		return
	}
	r.failed = true
	r.free()
	r.c.next.Cancel(st)
}

func (r *requestBody) end() {
	if r.failed {
		return
	}
	if r.pieces != nil {
		if r.passed() {
			r.c.next.End()
		}
		return
	}
	if r.c.coding != "" && len(r.body) > 0 && !r.decompress() {
		return
	}
	if r.parts != nil {
		if r.endParts() {
			r.free()
			r.c.next.End()
		}
		return
	}
	if r.split == nil {
		document := r.body
		r.body = nil // it is garbage as soon as there is a message
		if err := r.send(document); err != nil {
			r.fail(r.status(err))
			return
		}
		r.free()
		r.c.next.End()
		return
	}
	err := r.split.Close(r.send)
	if err == nil && r.count == 0 && r.c.values() {
		err = r.send(nil)
	}
	if err != nil {
		r.fail(r.status(err))
		return
	}
	r.c.next.End()
}

// values says whether path or query say something of a message.
func (c *call) values() bool {
	return len(c.captures) > 0 || slices.ContainsFunc(c.query, func(p param) bool {
		path, _ := c.binding.in.Path(p.name)
		return !systemParam(p.name, path != nil)
	})
}

// send makes a message of a document and sends it.
func (r *requestBody) send(document []byte) error {
	c := r.c
	out, err := r.message(make([]byte, envelope.PrefixLen, envelope.PrefixLen+len(document)+64), document)
	if err != nil {
		return err
	}
	n := len(out) - envelope.PrefixLen
	if n > c.s.o.MaxMessage {
		return fmt.Errorf("%w of %d bytes as protobuf", jsonstream.ErrTooLarge, c.s.o.MaxMessage)
	}
	envelope.Append(out[:0], 0, n)
	r.count++
	c.Stats.RequestMessages.Add(1)
	c.Stats.RequestBytes.Add(int64(len(out)))
	r.ledger.Put(0, len(out)) // before the credit for it can come
	c.next.Data(out)
	return nil
}

// status is what to say of an error in the request.
func (r *requestBody) status(err error) rpc.Status {
	if errors.Is(err, compress.ErrTooLarge) {
		r.c.large = true
		return rpc.Errorf(rpc.ResourceExhausted, "request: %v (limits.message_bytes, limits.decompression_ratio)", err)
	}
	if errors.Is(err, jsonstream.ErrTooLarge) || errors.Is(err, transcode.ErrTooLarge) {
		r.c.large = true
		return rpc.Errorf(rpc.ResourceExhausted, "request: %v (limits.message_bytes)", err)
	}
	return rpc.Errorf(rpc.InvalidArgument, "request: %v", err)
}

// message appends the protobuf message of a document, and of path and query if it is the
// first.
func (r *requestBody) message(b, document []byte) ([]byte, error) {
	c := r.c
	first := r.count == 0
	var err error
	o := transcode.DecodeOptions{DiscardUnknown: c.style.IgnoreFields, MaxOutput: c.s.o.MaxMessage}
	switch c.content {
	case rawContent:
		b = r.raw(b, document)
	case protobufContent:
		if !wellFormed(document) { // what is open at its end would swallow the values of path and query
			return b, errWire
		}
		b = c.binding.place(b, document)
	case formContent:
		b, err = r.form(b, document)
	case multipartContent:
		b = c.binding.place(b, document)
	case jsonContent, ndjsonContent, seqContent:
		b, err = r.json(b, document, &o)
	}
	if err != nil || !first && !c.style.EachMessage {
		return b, err
	}
	return c.appendValues(b)
}

func (r *requestBody) json(b, document []byte, o *transcode.DecodeOptions) ([]byte, error) {
	bind := r.c.binding
	if blank(document) { // no body is an empty message
		return b, nil
	}
	var err error
	if bind.bodyAll {
		b, err = bind.in.AppendWire(b, document, o)
	} else {
		b, err = bind.body.AppendJSON(b, document, o)
	}
	if err != nil {
		return b, err
	}
	if bind.mask == nil || r.c.sets(updateMask) {
		return b, nil
	}
	paths, err := bind.content.FieldMask(nil, document)
	if err != nil {
		return b, err
	}
	mask := []byte{}
	for _, p := range paths {
		if bind.bodyAll && (p == updateMask || len(p) > len(updateMask) && p[:len(updateMask)+1] == updateMask+".") {
			return b, nil // the client says it itself
		}
		mask = protowire.AppendString(protowire.AppendTag(mask, 1, protowire.BytesType), p)
	}
	b = protowire.AppendTag(b, bind.mask.Field().Number(), protowire.BytesType)
	return protowire.AppendBytes(b, mask), nil
}

// sets says whether the query has a parameter.
func (c *call) sets(name string) bool {
	fd := c.binding.in.Descriptor().Fields().ByName(updateMask)
	for _, p := range c.query {
		if p.name == name || fd != nil && p.name == fd.JSONName() {
			return true
		}
	}
	return false
}

func blank(b []byte) bool {
	for _, c := range b {
		if c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			return false
		}
	}
	return true
}

// place puts the bytes of the body's message where the rule says.
func (b *binding) place(dst, message []byte) []byte {
	if b.bodyAll {
		return append(dst, message...)
	}
	dst = protowire.AppendTag(dst, b.body.Field().Number(), protowire.BytesType)
	return protowire.AppendBytes(dst, message)
}

// raw makes a google.api.HttpBody.
func (r *requestBody) raw(b, data []byte) []byte {
	var m []byte
	if r.contentType != "" {
		m = appendType(m, r.contentType)
	}
	if len(data) > 0 {
		m = protowire.AppendBytes(protowire.AppendTag(m, httpBodyData, protowire.BytesType), data)
	}
	return r.c.binding.place(b, m)
}

// form reads a body as HTML forms write it, each name a path of fields.
func (r *requestBody) form(b, document []byte) ([]byte, error) {
	params, ok := parseQuery(string(document))
	if !ok {
		return b, errors.New("the form is malformed, or has more than a thousand fields")
	}
	var m []byte
	for _, p := range params {
		path, err := r.c.binding.content.Path(p.name)
		if err == nil {
			m, err = path.AppendText(m, p.value)
		}
		if err != nil {
			return b, fmt.Errorf("form: %w", err)
		}
	}
	return r.c.binding.place(b, m), nil
}

// appendValues appends what path and query say. They come after the body: of fields
// that are there twice the last one counts.
func (c *call) appendValues(b []byte) ([]byte, error) {
	var err error
	for _, capture := range c.captures {
		for i := range c.binding.vars {
			if v := &c.binding.vars[i]; v.name == capture.Path {
				if b, err = v.path.AppendText(b, capture.Value); err != nil {
					return b, fmt.Errorf("path: %w", err)
				}
			}
		}
	}
	for _, p := range c.query {
		path, err := c.binding.in.Path(p.name)
		switch {
		case systemParam(p.name, path != nil):
			continue
		case c.style.IgnoreParams && (err != nil || c.binding.taken(path.Name())):
			continue
		case err != nil:
			return b, fmt.Errorf("query: %w", err)
		case c.binding.bodyAll:
			return b, fmt.Errorf("query: %s has to be in the body, which is the whole message", p.name)
		case c.binding.taken(path.Name()):
			return b, fmt.Errorf("query: %s is in the path or the body already", p.name)
		}
		if b, err = path.AppendText(b, p.value); err != nil {
			return b, fmt.Errorf("query: %w", err)
		}
	}
	return b, nil
}

// systemParam says whether a parameter is one of Google's system parameters
// (https://cloud.google.com/apis/docs/system-parameters). Without "$" a field of the
// same name goes before it.
func systemParam(name string, isField bool) bool {
	switch name {
	case "$alt", "$fields", "$prettyPrint", "$.xgafv", "$apiVersion", "$key", "$quotaUser", "$userProject":
		return true
	case "alt", "fields", "prettyPrint", "key", "quotaUser", "access_token", "oauth_token", "uploadType", "upload_protocol":
		return !isField
	}
	return false
}

// delimited finds protobuf messages behind their lengths.
type delimited struct {
	limit int
	buf   []byte
	count int
}

var errCut = errors.New("the stream ends inside of a message")

func (d *delimited) Feed(b []byte, f func([]byte) error) error {
	d.buf = append(d.buf, b...)
	at := 0
	for at < len(d.buf) {
		n, size := protowire.ConsumeVarint(d.buf[at:])
		if size < 0 {
			if len(d.buf)-at >= 10 { // as many as a varint may have
				return d.errorf("its length is no varint")
			}
			break
		}
		if n > uint64(d.limit) {
			return fmt.Errorf("message %d: %w of %d bytes", d.count+1, jsonstream.ErrTooLarge, d.limit)
		}
		if uint64(len(d.buf)-at-size) < n {
			break
		}
		d.count++
		if err := f(d.buf[at+size : at+size+int(n)]); err != nil {
			return fmt.Errorf("message %d of the stream: %w", d.count, err)
		}
		at += size + int(n)
	}
	if at > 0 { // a long message that comes in small pieces is not moved at each of them
		d.buf = append(d.buf[:0], d.buf[at:]...)
	}
	return nil
}

func (d *delimited) errorf(s string) error {
	return fmt.Errorf("message %d of the stream: %s", d.count+1, s)
}

func (d *delimited) Close(func([]byte) error) error {
	if len(d.buf) > 0 {
		return errCut
	}
	return nil
}

func (d *delimited) Buffered() int { return len(d.buf) }
