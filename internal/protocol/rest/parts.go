package rest

import (
	"errors"
	"fmt"
	"strings"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/transcode"
	"github.com/sluice-rpc/sluice/internal/wire/jsonstream"
	"github.com/sluice-rpc/sluice/internal/wire/multipart"
	"github.com/sluice-rpc/sluice/rpc"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

const (
	maxPartHeader = 4 << 10
	maxParts      = maxParams
)

// parts makes messages of multipart/form-data. Each part is a field, by its path, as in
// other forms: text, JSON if that is its content type, or a file.
//
// A method with one request message gets it at the end. One that streams gets each file in
// pieces as they come; fields that stand before a file go with its first piece, and those
// behind the last one in a message of their own.
type parts struct {
	parser *multipart.Parser
	stream bool
	came   int64
	msg    []byte // fields of the body's message; behind a prefix if that is the request
	owed   int    // bytes that came, and are not in the ledger

	// Of the part that is open.
	name  string
	skip  bool
	json  bool
	path  *transcode.Path
	file  []protowire.Number // from the request message, if streams, or the body's to the bytes
	extra []byte             // the content type of a google.api.HttpBody
	begun bool               // a piece was sent
	start int                // in msg, of a file
	value []byte             // of what is no file
}

func (r *requestBody) initParts(stream bool) {
	parser, err := multipart.New(r.contentType, maxPartHeader, maxParts)
	if err != nil {
		st := rpc.Errorf(rpc.InvalidArgument, "request: %v", err)
		r.c.refused = &st
		return
	}
	r.parts = &parts{parser: parser, stream: stream}
}

// takeParts takes bytes of the body.
func (r *requestBody) takeParts(b []byte) {
	p := r.parts
	p.owed = len(b)
	if p.came += int64(len(b)); !p.stream && p.came > int64(r.c.s.o.MaxMessage) {
		r.fail(r.c.tooLarge(p.came))
	} else if err := p.parser.Feed(b, (*partSink)(r)); err != nil {
		r.fail(r.status(fmt.Errorf("form: %w", err)))
	} else if !r.failed {
		r.keep(len(p.msg) + len(p.value) + p.parser.Buffered())
	}
	if p.owed > 0 { // kept: taken on receipt
		r.c.response.Credit(p.owed)
		p.owed = 0
	}
}

// endParts takes the end of the body. It says whether all went well.
func (r *requestBody) endParts() bool {
	p := r.parts
	var err error
	if r.c.coding != "" {
		err = p.parser.Feed(r.body, (*partSink)(r))
	}
	if err == nil {
		err = p.parser.Close()
	}
	if err == nil && (!p.stream || len(p.msg) > 0 || r.count == 0 && r.c.values()) {
		err = r.send(p.msg)
	}
	if err != nil {
		r.fail(r.status(fmt.Errorf("form: %w", err)))
	}
	return err == nil
}

// errFailed ends the parsing of a call that has failed.
var errFailed = errors.New("the call has failed")

// partSink is a request body as the place of its parts.
type partSink requestBody

// Part implements [multipart.Sink].
func (s *partSink) Part(h *multipart.Header) error {
	r, p := (*requestBody)(s), s.parts
	if r.failed {
		return errFailed
	}
	p.name, p.begun, p.json, p.skip, p.file, p.extra, p.value = h.Name, false, false, false, nil, nil, p.value[:0]
	content := r.c.binding.content
	var err error
	if p.path, err = content.Path(h.Name); err != nil {
		if p.skip = r.c.style.IgnoreFields; p.skip {
			return nil
		}
		return err
	}
	fd := p.path.Field()
	if i := strings.IndexByte(h.Name, '['); i >= 0 { // an entry of a map
		fd = fd.MapValue()
	}
	ct := exchange.MediaType(h.ContentType)
	p.json = ct == "application/json" || strings.HasSuffix(ct, "+json")
	isBody := fd.Message() != nil && !fd.IsMap() && fd.Message().FullName() == httpBody
	if !isBody && (fd.Kind() != protoreflect.BytesKind || !h.File && (p.json || h.ContentType == "")) {
		return nil
	}
	numbers, ok := p.path.Numbers()
	if !ok {
		return fmt.Errorf("part %.100q: a file can be no entry of a map, and not in a group", h.Name)
	}
	if isBody {
		numbers = append(numbers, httpBodyData)
		if h.ContentType != "" {
			p.extra = appendType(nil, h.ContentType)
		}
	}
	if p.stream && !r.c.binding.bodyAll {
		numbers = append([]protowire.Number{r.c.binding.body.Field().Number()}, numbers...)
	}
	p.file, p.start = numbers, len(p.msg)
	return nil
}

// Data implements [multipart.Sink].
func (s *partSink) Data(b []byte) error {
	r, p := (*requestBody)(s), s.parts
	switch {
	case r.failed:
		return errFailed
	case p.skip:
	case p.file != nil && p.stream:
		for len(b) > 0 && !r.failed {
			b = b[r.filePiece(b[:min(len(b), maxPiece)]):]
		}
	case len(p.msg)+len(p.value)+len(b) > r.c.s.o.MaxMessage:
		return fmt.Errorf("part %.100q: with it, the form is %w of %d bytes", p.name, jsonstream.ErrTooLarge, r.c.s.o.MaxMessage)
	case p.file != nil:
		p.msg = append(p.msg, b...)
	default:
		p.value = append(p.value, b...)
	}
	return nil
}

// filePiece sends a piece of a file as a message, and returns how much of it.
func (r *requestBody) filePiece(b []byte) int {
	p, c := r.parts, r.c
	fields := p.msg
	if len(fields) > 0 && !c.binding.bodyAll {
		fields = c.binding.place(nil, fields)
	}
	if r.count == 0 || c.style.EachMessage {
		var err error
		if fields, err = c.appendValues(fields); err != nil {
			r.fail(r.status(err))
			return len(b)
		}
	}
	n, head := r.opening(fields, p.file, p.extra, len(b), true)
	if head == nil {
		return len(b)
	}
	p.msg, p.extra, p.begun = p.msg[:0], nil, true
	r.put(0, head)
	in := min(p.owed, n)
	p.owed -= in
	r.put(in, b[:n])
	return n
}

// PartEnd implements [multipart.Sink].
func (s *partSink) PartEnd() (err error) {
	r, p := (*requestBody)(s), s.parts
	switch {
	case r.failed:
		return errFailed
	case p.skip || p.begun:
		return nil
	case p.file != nil:
		p.endFile(r.c.binding)
		return nil
	case p.json:
		o := transcode.DecodeOptions{DiscardUnknown: r.c.style.IgnoreFields, MaxOutput: r.c.s.o.MaxMessage}
		p.msg, err = p.path.AppendJSON(p.msg, p.value, &o)
	default:
		p.msg, err = p.path.AppendText(p.msg, string(p.value))
	}
	if cap(p.value) > keepBuffer {
		p.value = nil
	}
	p.value = p.value[:0]
	return err
}

// endFile puts the tags and lengths of a file before its data.
func (p *parts) endFile(b *binding) {
	path := p.file
	if p.stream && !b.bodyAll { // none of it has come
		path = path[1:]
	}
	n := len(p.msg) - p.start
	var head []byte
	if n > 0 {
		head = appendOpening(nil, path, p.extra, n)
	} else {
		head = appendClosed(nil, path, p.extra)
	}
	p.msg = append(p.msg, head...)
	copy(p.msg[p.start+len(head):], p.msg[p.start:p.start+n])
	copy(p.msg[p.start:], head)
}
