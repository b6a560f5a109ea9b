package rest

import (
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"strings"

	"github.com/sluice-rpc/sluice/internal/compress"
	"github.com/sluice-rpc/sluice/internal/exchange"
	grpcwire "github.com/sluice-rpc/sluice/internal/wire/grpc"
	"github.com/sluice-rpc/sluice/rpc"
)

// An answer is what a unary response is about to be.
type answer struct {
	status      int
	contentType string
	body        []byte
	meta        []exchange.Field // the backend's
	encoding    string           // content coding of body
	etag        string           // of ours
	vary        string
}

// fields are those of its head.
func (a *answer) fields(st *rpc.Status, length bool) []exchange.Field {
	f := make([]exchange.Field, 0, 5+len(a.meta))
	none := noContentStatus(a.status) // no content, and no length
	switch {
	case none:
	case a.contentType == "":
		f = grpcwire.AppendStatus(f, rpc.Status{Code: st.Code, Message: st.Message})
	default:
		f = append(f, exchange.Field{Name: "content-type", Value: a.contentType})
	}
	if !none && length {
		f = append(f, exchange.Field{Name: "content-length", Value: strconv.Itoa(len(a.body))})
	}
	f = append(f, exchange.Field{Name: "vary", Value: a.vary})
	if a.encoding != "" {
		f = append(f, exchange.Field{Name: "content-encoding", Value: a.encoding})
	}
	if a.etag != "" {
		f = append(f, exchange.Field{Name: "etag", Value: a.etag})
	}
	return append(f, a.meta...)
}

// represent compresses an answer, and leaves it out if the client has it already.
func (r *responseBody) represent(a *answer) {
	c := r.c
	tag := exchange.Get(a.meta, "etag")
	if c.conditional && a.status == 200 {
		if tag == "" {
			sum := sha256.Sum256(a.body)
			a.etag = `"` + base64.RawURLEncoding.EncodeToString(sum[:16]) + `"`
			tag = a.etag
		}
		if matches(c.ifNoneMatch, tag) {
			a.status = 304
		}
	}
	least := c.style.Compress
	if least <= 0 || len(a.body) < least || noTransform(a.meta) {
		return
	}
	a.vary = "Accept, Accept-Encoding"
	if c.accepted == "" || noContentStatus(a.status) {
		return
	}
	b, err := compress.Append(nil, c.accepted, a.body)
	if err != nil || len(b) >= len(a.body) {
		return
	}
	a.body, a.encoding = b, c.accepted
	// Compressed content is another representation (RFC 9110, section 8.8.3.3).
	if a.etag != "" {
		a.etag = a.etag[:len(a.etag)-1] + "-" + a.encoding + `"`
	}
	for i := range a.meta {
		if f := &a.meta[i]; f.Name == "etag" && !strings.HasPrefix(f.Value, "W/") {
			f.Value = "W/" + f.Value
		}
	}
}

// matches says whether If-None-Match names a tag (RFC 9110, section 13.1.2). The
// comparison is weak, and a tag of compressed content stands for the content.
func matches(ifNoneMatch []string, tag string) bool {
	tag = strings.TrimPrefix(tag, "W/")
	for _, v := range ifNoneMatch {
		for v = strings.TrimLeft(v, " \t,"); v != ""; v = strings.TrimLeft(v, " \t,") {
			if v[0] == '*' {
				return true
			}
			v = strings.TrimPrefix(v, "W/")
			if v == "" || v[0] != '"' {
				break
			}
			end := strings.IndexByte(v[1:], '"')
			if end < 0 {
				break
			}
			one := v[:end+2]
			v = v[end+2:]
			if one == tag || uncoded(one) == tag {
				return true
			}
		}
	}
	return false
}

// uncoded returns the tag without what compression has added.
func uncoded(tag string) string {
	for _, name := range compress.Encodings {
		if s, ok := strings.CutSuffix(tag, "-"+name+`"`); ok {
			return s + `"`
		}
	}
	return tag
}

// chooseRepresentation reads what the client says of the answer's form.
func (c *call) chooseRepresentation(head *exchange.RequestHead) *rpc.Status {
	if c.mode != HTTPBody {
		if st := c.chooseFields(); st != nil {
			return st
		}
	}
	if c.mode == Unary {
		if c.style.Compress > 0 {
			c.accepted = acceptedCoding(values(head.Fields, "accept-encoding"))
		}
		if c.conditional = c.style.ETag && (head.Method == "GET" || head.Method == "HEAD"); c.conditional {
			c.ifNoneMatch = values(head.Fields, "if-none-match")
		}
	}
	return nil
}
