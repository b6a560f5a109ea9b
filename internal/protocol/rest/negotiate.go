package rest

import (
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
	style    *Style
	offer    // how the answer is written
	enumInts bool
	pretty   string    // $prettyPrint
	errors   ErrorBody // as the client prefers
	content  content
	coding   string // of the body of the request, "" if it is not compressed

	// Without a binding, or with one that does not fit: the answer.
	status  int
	message string
	allow   []string
	codings string // of 415, if the content coding was refused
	unknown bool   // the path: a new schema may know it
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
	multipartContent
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

// decide finds who gets a request.
func (t *Table) decide(h *exchange.RequestHead) decision {
	path, rawQuery, _ := strings.Cut(h.Path, "?")
	ranges := parseAccept(values(h.Fields, "accept"))
	d := decision{}
	d.useStyle(t.styles(""), ranges)
	verb := h.Method
	if verb == "HEAD" {
		verb = "GET"
	}
	if err := route.CheckPath(path); err != nil {
		d.status, d.message = 400, err.Error()
		return d
	}
	if h.Handshake() {
		if d.binding, d.captures = t.socket(path); d.binding != nil {
			d.mode = WebSocket
			d.useStyle(d.binding.style, ranges)
			return d
		}
	}
	d.binding, d.captures = t.find(verb, path, nil)
	if d.binding == nil && verb == "POST" {
		d.binding = t.byPath(path)
	}
	if d.binding == nil && h.Method == "GET" && wantsEvents(ranges) {
		d.binding, d.captures = t.alias(path)
		if d.binding != nil && foreign(h) {
			d.refuse(403, "GET stands in for POST here, so pages of other origins may not ask, and this request does not say that it comes from none: "+
				"a browser says so over HTTPS, or if the gateway allows its origin")
			return d
		}
	}
	if d.binding == nil {
		d.nobody(t, h, path)
		return d
	}
	d.useStyle(d.binding.style, ranges)
	var ok bool
	if d.query, ok = parseQuery(rawQuery); !ok {
		d.refuse(400, "the query of the URL is malformed: a percent sign stands before two hexadecimal digits")
		return d
	}
	d.chooseContent(h)
	if d.binding != nil {
		d.chooseCoding(h.Fields)
	}
	d.chooseMode(ranges)
	return d
}

// useStyle takes the style of who gets the request, and its errors, unless the client
// prefers problem details or their opposite.
func (d *decision) useStyle(s *Style, ranges []mediaRange) {
	d.style, d.errors = s, s.Errors
	problem, exact := weigh(ranges, "application/problem+json")
	plain, named := weigh(ranges, "application/json")
	switch {
	case exact && problem > 0 && problem >= plain:
		d.errors = ErrorProblem
	case s.Errors == ErrorProblem && named && plain > problem:
		d.errors = ErrorStatus
	}
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

// foreign says whether a page of another origin may have made a request without its
// browser asking for permission. A fetch with mode "no-cors" is made by GET with any
// Accept, and has no Origin (https://fetch.spec.whatwg.org/#origin-header). Browsers then
// say by Sec-Fetch-Site where it comes from, but only over HTTPS; what else comes from
// a browser is known by its User-Agent, which such a fetch can't change.
func foreign(h *exchange.RequestHead) bool {
	if h.Allowed {
		return false
	}
	if site := exchange.Get(h.Fields, "sec-fetch-site"); site != "" {
		return site != "same-origin" && site != "none"
	}
	return strings.Contains(exchange.Get(h.Fields, "user-agent"), "Mozilla/")
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
	if up, down := b.streams(); up || !down || !b.style.Alias {
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
	case h.Method == "POST" && d.unread(exchange.MediaType(exchange.Get(h.Fields, "content-type"))):
	default:
		d.unknown = true
		d.status, d.message = 404, "nothing is at "+path+": it is no gRPC method that the gateway knows, and no path of an HTTP rule (google.api.http)"
	}
}

// chooseContent finds out how the body of the request is written.
func (d *decision) chooseContent(h *exchange.RequestHead) {
	b := d.binding
	ct := exchange.MediaType(exchange.Get(h.Fields, "content-type"))
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
	case ct == "multipart/form-data" && b.content != nil:
		d.content = multipartContent
	default:
		d.unread(ct)
	}
}

// reads says whether a content type is one that is read.
func reads(ct string) bool {
	switch ct {
	case "", "application/json", "application/x-ndjson", "application/jsonl", "application/json-seq", "application/x-protobuf", "application/x-www-form-urlencoded", "multipart/form-data":
		return true
	}
	return false
}

// unread refuses a content type, unless it is one that is read.
func (d *decision) unread(ct string) bool {
	if reads(ct) {
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
	d.prettyPrint()
	if len(b.offers) == 0 {
		d.refuse(501, "streams over REST are switched off for this method")
		return
	}
	for _, p := range d.query {
		if p.name != "$alt" && (p.name != "alt" || b.in.Descriptor().Fields().ByName("alt") != nil) {
			continue
		}
		if d.alt(p.value, down) {
			return
		}
		if !b.style.IgnoreParams {
			d.refuse(400, "$alt="+p.value+" can't be had here: there are json, proto, sse and media, if they are not switched off")
			return
		}
	}
	best, at, named := 0, -1, false
	for i, o := range b.offers {
		for _, name := range o.accept {
			q, exact := weigh(ranges, name)
			if q > best || q == best && q > 0 && exact && !named {
				best, at, named = q, i, exact
			}
		}
	}
	if at < 0 && (b.style.AnyAccept || !down && d.errors == ErrorProblem) {
		at = 0 // for problem details: the answer as what it is
	}
	if at < 0 {
		var all []string
		for _, o := range b.offers {
			all = append(all, o.accept...)
		}
		d.refuse(406, "nothing that the client accepts can be had: there are "+strings.Join(all, ", "))
		return
	}
	d.offer = b.offers[at]
}

// take takes the first offer of a mode.
func (d *decision) take(m Mode, protobuf bool) bool {
	for _, o := range d.binding.offers {
		if o.mode == m && o.protobuf == protobuf {
			d.offer = o
			return true
		}
	}
	return false
}

// alt is Google's system parameter: https://cloud.google.com/apis/docs/system-parameters.
func (d *decision) alt(value string, stream bool) bool {
	kind, option, _ := strings.Cut(value, ";")
	if option != "" && option != "enum-encoding=int" {
		return false
	}
	ok := false
	switch kind {
	case "json":
		m := Unary
		if stream {
			m = d.style.Document
		}
		ok = d.take(m, false)
	case "proto":
		m := Unary
		if stream {
			m = Delimited
		}
		ok = d.take(m, true)
	case "sse":
		ok = d.take(SSE, false)
	case "media":
		m := Unary
		if stream {
			m = NDJSON
		}
		ok = d.take(m, false)
	}
	d.enumInts = ok && option != ""
	return ok
}

// prettyPrint reads Google's system parameter.
func (d *decision) prettyPrint() {
	d.pretty = d.style.JSON.Indent
	for _, p := range d.query {
		if p.name == "$prettyPrint" || p.name == "prettyPrint" && d.binding.in.Descriptor().Fields().ByJSONName(p.name) == nil {
			switch p.value {
			case "true", "1", "":
				if d.pretty == "" {
					d.pretty = "  "
				}
			case "false", "0":
				d.pretty = ""
			}
		}
	}
}
