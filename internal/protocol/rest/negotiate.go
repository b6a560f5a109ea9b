package rest

import (
	"mime"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/schema/route"
)

// A decision says who gets a request and how it is answered
// (docs/protocols/negotiation.md).
type decision struct {
	binding  *binding
	captures []route.Capture
	query    []param
	mode     Mode
	protobuf bool // a unary answer in protobuf
	enumInts bool
	problem  bool // errors are problem details
	content  content

	// Without a binding, or with one that does not fit: the answer.
	status  int
	message string
	allow   []string
	unknown bool // the path: a new schema may know it
}

// content is how a request body is written.
type content int

const (
	noContent content = iota
	jsonContent
	ndjsonContent
	seqContent
	protobufContent
	formContent
	rawContent // of a google.api.HttpBody
)

// A param is one parameter of the query.
type param struct{ name, value string }

const maxParams = 1000

// parseQuery reads a query as HTML forms write it.
func parseQuery(query string) ([]param, bool) {
	var params []param
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		if pair == "" {
			continue
		}
		k, v, _ := strings.Cut(pair, "=")
		name, err1 := url.QueryUnescape(k)
		value, err2 := url.QueryUnescape(v)
		if err1 != nil || err2 != nil || len(params) == maxParams {
			return nil, false
		}
		params = append(params, param{name, value})
	}
	return params, true
}

func values(fields []exchange.Field, name string) (v []string) {
	for i := range fields {
		if fields[i].Name == name {
			v = append(v, fields[i].Value)
		}
	}
	return v
}

// mediaType reads a content type without its parameters.
func mediaType(s string) string {
	t, _, err := mime.ParseMediaType(s)
	if err != nil {
		t, _, _ = strings.Cut(s, ";")
		t = strings.ToLower(strings.TrimSpace(t))
	}
	return t
}

// decide finds who gets a request.
func (t *Table) decide(h *exchange.RequestHead, aliases bool) decision {
	path, rawQuery, _ := strings.Cut(h.Path, "?")
	ranges := parseAccept(values(h.Fields, "accept"))
	d := decision{}
	if q, exact := weigh(ranges, "application/problem+json"); exact && q > 0 {
		j, _ := weigh(ranges, "application/json")
		d.problem = q >= j
	}
	verb := h.Method
	if verb == "HEAD" {
		verb = "GET"
	}
	if err := route.CheckPath(path); err != nil {
		d.status, d.message = 400, err.Error()
		return d
	}
	d.binding, d.captures = t.find(verb, path, nil)
	if d.binding == nil && verb == "POST" {
		d.binding = t.byPath(path)
	}
	if d.binding == nil && verb == "GET" && aliases && wantsEvents(ranges) {
		d.binding, d.captures = t.alias(path)
	}
	if d.binding == nil {
		d.nobody(t, h, path)
		return d
	}
	var ok bool
	if d.query, ok = parseQuery(rawQuery); !ok {
		d.refuse(400, "the query of the URL is malformed: a percent sign stands before two hexadecimal digits")
		return d
	}
	d.chooseContent(h)
	d.chooseMode(ranges)
	return d
}

func (d *decision) refuse(status int, message string) {
	d.binding, d.status, d.message = nil, status, message
}

// wantsEvents says whether a client asks for events before anything else, as an
// EventSource does.
func wantsEvents(ranges []mediaRange) bool {
	q, exact := weigh(ranges, "text/event-stream")
	return exact && q > 0
}

// alias finds a method that streams its response and is otherwise reached by POST.
func (t *Table) alias(path string) (*binding, []route.Capture) {
	b, captures := t.find("POST", path, nil)
	if b == nil {
		b = t.byPath(path)
	}
	if b == nil {
		return nil, nil
	}
	if up, down := b.streams(); up || !down {
		return nil, nil
	}
	// Its values come from path and query.
	a := *b
	a.bodyAll, a.body, a.content, a.rawBody = false, nil, nil, false
	return &a, captures
}

// nobody answers what no method takes.
func (d *decision) nobody(t *Table, h *exchange.RequestHead, path string) {
	verbs := t.verbs(path)
	switch {
	case h.Method == "CONNECT":
		d.status, d.message = 501, "CONNECT with :protocol "+h.Protocol+" is not served here"
	case len(verbs) > 0 && h.Method == "OPTIONS":
		d.status, d.allow = 204, append(verbs, "OPTIONS")
	case len(verbs) > 0:
		d.status, d.allow = 405, append(verbs, "OPTIONS")
		d.message = h.Method + " is not a verb of " + path + ": it has " + strings.Join(verbs, ", ")
	case h.Method == "POST" && d.unread(mediaType(exchange.Get(h.Fields, "content-type"))):
	default:
		d.unknown = true
		d.status, d.message = 404, "nothing is at "+path+": it is no gRPC method that the gateway knows, and no path of an HTTP rule (google.api.http)"
	}
}

// chooseContent finds out how the body of the request is written.
func (d *decision) chooseContent(h *exchange.RequestHead) {
	b := d.binding
	ct := mediaType(exchange.Get(h.Fields, "content-type"))
	if b.content == nil && b.body == nil { // a body, if any, is ignored
		return
	}
	if b.rawBody {
		d.content = rawContent
		return
	}
	switch {
	case ct == "" || ct == "application/json" || strings.HasSuffix(ct, "+json"):
		d.content = jsonContent
	case ct == "application/x-ndjson" || ct == "application/jsonl":
		d.content = ndjsonContent
	case ct == "application/json-seq":
		d.content = seqContent
	case slices.Contains(framings[Delimited].accept, ct) && b.content != nil:
		d.content = protobufContent
	case ct == "application/x-www-form-urlencoded" && b.content != nil:
		d.content = formContent
	default:
		d.unread(ct)
	}
}

// unread refuses a content type, unless it is one that is read.
func (d *decision) unread(ct string) bool {
	switch ct {
	case "", "application/json", "application/x-ndjson", "application/jsonl", "application/json-seq", "application/x-protobuf", "application/x-www-form-urlencoded":
		return false
	}
	d.refuse(415, "unsupported content-type "+strconv.Quote(ct)+": this gateway takes "+acceptPost)
	return true
}

// chooseMode finds out how the response is written.
func (d *decision) chooseMode(ranges []mediaRange) {
	b := d.binding
	if b == nil {
		return
	}
	_, down := b.streams()
	if b.rawOut {
		d.mode = HTTPBody
		return
	}
	var offers []offer
	if down {
		offers = streamOffers
	} else {
		offers = unaryOffers
	}
	for _, p := range d.query {
		if p.name == "$alt" || p.name == "alt" && b.in.Descriptor().Fields().ByName("alt") == nil {
			if !d.alt(p.value, down) {
				d.refuse(400, "$alt="+p.value+" is not known: it is json, proto, sse or media")
			}
			return
		}
	}
	best, at, named := 0, -1, false
	for i, o := range offers {
		for _, name := range framings[o.mode].names(o.protobuf) {
			q, exact := weigh(ranges, name)
			if q > best || q == best && q > 0 && exact && !named {
				best, at, named = q, i, exact
			}
		}
	}
	if at < 0 && !down && d.problem {
		at = 0 // errors as problem details, and the answer as what it is
	}
	if at < 0 {
		var all []string
		for _, o := range offers {
			all = append(all, framings[o.mode].names(o.protobuf)...)
		}
		d.refuse(406, "nothing that the client accepts can be had: there are "+strings.Join(all, ", "))
		return
	}
	d.mode, d.protobuf = offers[at].mode, offers[at].protobuf
}

// An offer is a way to answer.
type offer struct {
	mode     Mode
	protobuf bool
}

var (
	unaryOffers  = []offer{{Unary, false}, {Unary, true}, {SSE, false}, {NDJSON, false}, {Seq, false}}
	streamOffers = []offer{{NDJSON, false}, {SSE, false}, {Array, false}, {Seq, false}, {Delimited, true}}
)

func (f *framing) names(protobuf bool) []string {
	if protobuf {
		return framings[Delimited].accept
	}
	return f.accept
}

// alt is Google's system parameter: https://cloud.google.com/apis/docs/system-parameters.
func (d *decision) alt(value string, stream bool) bool {
	kind, option, _ := strings.Cut(value, ";")
	switch kind {
	case "json":
		d.mode = Unary
		if stream {
			d.mode = Array
		}
	case "proto":
		d.mode, d.protobuf = Unary, true
		if stream {
			d.mode = Delimited
		}
	case "sse":
		d.mode = SSE
	case "media":
		d.mode = Unary
		if stream {
			d.mode = NDJSON
		}
	default:
		return false
	}
	d.enumInts = option == "enum-encoding=int"
	return option == "" || d.enumInts
}
