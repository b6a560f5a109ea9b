package rest

import (
	"slices"
	"strings"

	"github.com/sluice-rpc/sluice/internal/compress"
	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/rpc"
)

// requestCodings are the content codings that a request may have (RFC 9110, section 8.4.1,
// RFC 7932, RFC 8878).
const requestCodings = "gzip, br, zstd, deflate"

// contentCoding returns the coding of a request's body, or "" if there is none. It says
// false if the gateway does not know it; a body may have one.
func contentCoding(fields []exchange.Field) (coding string, ok bool) {
	for _, v := range values(fields, "content-encoding") {
		for c := range strings.SplitSeq(v, ",") {
			c = strings.ToLower(strings.TrimSpace(c))
			switch {
			case c == "" || c == "identity":
				continue
			case c == "x-gzip": // RFC 9110, section 8.4.1.3
				c = "gzip"
			}
			if coding != "" || !slices.Contains(strings.Split(requestCodings, ", "), c) {
				return "", false
			}
			coding = c
		}
	}
	return coding, true
}

// chooseCoding refuses bodies that are compressed in a way that is not read.
func (d *decision) chooseCoding(fields []exchange.Field) {
	if d.content == noContent {
		return
	}
	var ok bool
	d.coding, ok = contentCoding(fields)
	up, _ := d.binding.streams()
	switch {
	case !ok:
		d.codings = requestCodings
		d.refuse(415, "unsupported content-encoding "+strings.Join(values(fields, "content-encoding"), ", ")+": this gateway takes one of "+requestCodings)
	case up && d.coding != "" && d.content != formContent:
		d.codings = "identity"
		d.refuse(415, "a body that is a stream of messages can't be compressed here: send it without content-encoding")
	}
}

// decompress takes the coding off the body.
func (r *requestBody) decompress() bool {
	o := &r.c.s.o
	b, err := compress.Decompress(r.c.coding, r.body, o.MaxMessage, o.Ratio)
	if err != nil {
		r.fail(r.status(err))
		return false
	}
	r.body = b
	return r.keep(len(b))
}

// acceptedCoding returns the content coding of [compress.Encodings] that a client likes
// best, or "" (RFC 9110, section 12.5.3).
func acceptedCoding(accept []string) string {
	best, chosen := 0, ""
	for _, name := range compress.Encodings {
		q, any := -1, 0
		n := 0
		for _, v := range accept {
			for part := range strings.SplitSeq(v, ",") {
				if n++; n > acceptRanges {
					break
				}
				coding, params, _ := strings.Cut(part, ";")
				weight, ok := quality(params)
				switch coding = strings.ToLower(strings.TrimSpace(coding)); {
				case !ok:
				case coding == name || coding == "x-"+name:
					q = weight
				case coding == "*":
					any = weight
				}
			}
		}
		if q < 0 {
			q = any
		}
		if q > best {
			best, chosen = q, name
		}
	}
	return chosen
}

// noTransform says whether the backend wants its answer left as it is (RFC 9111, section
// 5.2.2.6).
func noTransform(fields []exchange.Field) bool {
	for _, v := range values(fields, "cache-control") {
		if strings.Contains(strings.ToLower(v), "no-transform") {
			return true
		}
	}
	return false
}

// chooseFields reads the system parameter that asks for a part of the response.
func (c *call) chooseFields() *rpc.Status {
	for _, p := range c.query {
		if p.name != "$fields" && (p.name != "fields" || c.binding.in.Descriptor().Fields().ByName("fields") != nil) {
			continue
		}
		s, err := c.binding.out.Selection(p.value)
		if err != nil {
			st := rpc.Errorf(rpc.InvalidArgument, "query: %s: %v", p.name, err)
			return &st
		}
		c.selection = s
	}
	return nil
}
