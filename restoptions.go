package sluice

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/sluice-rpc/sluice/internal/protocol/rest"
	"github.com/sluice-rpc/sluice/internal/schema"
)

// RESTOptions are everything about REST that can be chosen; docs/rest.md tells what each
// changes on the wire. A field that is nil or empty is what Profile says.
type RESTOptions struct {
	// Profile is another gateway whose ways are taken over: "sluice" (the default), "google",
	// "grpc-gateway", "envoy" or "meshapi". In an override it takes the place of all that is
	// said for more methods.
	Profile string

	EmitDefaults    *bool // fields without presence are written with their defaults too
	EmitUnpopulated *bool // and messages and optional fields that are not set as null
	ProtoNames      *bool // fields are called as in the .proto file
	EnumNumbers     *bool // enums are numbers
	Indent          *int  // spaces of a level, in unary answers and arrays; 0 is one line

	IgnoreParams *bool // parameters of the query that name no field, or one that path or body have, are ignored
	IgnoreFields *bool // unknown fields of a body are ignored
	FillMask     *bool // PATCH fills an update_mask that is not there
	ValuesInEach *bool // path and query are in each message of a streamed request, not only in the first

	// Disable names what can't be had, of RESTModes: modes of streams, and "rpc", which is
	// JSON on RPC paths.
	Disable   []string
	SSEAlias  *bool // GET with Accept: text/event-stream reaches streaming methods with a POST rule, as EventSource needs it
	AnyAccept *bool // a client that accepts nothing of what there is gets the usual answer, and not 406

	Stream     string // the mode of a stream if the client accepts anything
	JSONStream string // the mode of a stream for Accept: application/json: "array", or "ndjson" in that type
	Envelope   *bool  // messages of streams are {"result":…}, and failures {"error":…}
	Failure    string // how a stream that fails in the middle says so: "mark", "closed", "bare" or "open"
	EarlyHead  *bool  // the head of a stream does not wait for its first message
	FirstByte  *bool  // something follows a head that leaves without a message
	Heartbeats *bool  // a quiet stream has signs of life

	SSEFailure   string         // the name of the event of a failure
	SSEEnd       *bool          // an event EOS at the end
	SSEEndData   *string        // its data
	SSEEndFailed *bool          // EOS follows a failure too, if trying again would fail again
	SSENumber    *bool          // events without an id of their own have running numbers
	SSERetry     *time.Duration // until an EventSource tries again what may succeed then; 0 does not ask it to

	Compress *int  // a unary answer of at least so many bytes is compressed for a client that accepts it; 0 never
	ETag     *bool // unary GETs have an ETag and are conditional; JSON is written in one order then

	Errors string // what the body of an error is: "status", "problem" (RFC 9457), "google" (AIP-193) or "none"

	// Rules about names: "name", "name-*", "*" pass, "!name" is dropped, "name=other" and
	// "name-*=other-*" get another name. The first that fits counts; what none fits is
	// dropped. RequestFields make metadata, the others fields.
	RequestFields  []string
	ResponseFields []string
	TrailerFields  []string
	TrailerSection *bool // metadata of the end of a unary call are trailer fields, if the client takes them, and not header fields
	Forwarded      *bool // x-forwarded-for and x-forwarded-host tell the backend who asked
}

// RESTProfiles are the names of the profiles.
func RESTProfiles() []string { return rest.Profiles() }

// RESTModes are what Disable can name.
func RESTModes() (names []string) {
	for _, m := range rest.StreamModes() {
		names = append(names, m.String())
	}
	return append(names, modeRPC)
}

// RESTProfile returns the options of a profile, all of them filled in.
func RESTProfile(name string) (RESTOptions, error) {
	s, err := rest.Profile(name)
	if err != nil {
		return RESTOptions{}, err
	}
	o := optionsOf(&s)
	o.Profile = name
	return o, nil
}

// With returns the options with all that is set in other.
func (o RESTOptions) With(other RESTOptions) RESTOptions {
	if other.Profile != "" {
		o = RESTOptions{}
	}
	to, from := reflect.ValueOf(&o).Elem(), reflect.ValueOf(other)
	for i := range from.NumField() {
		if f := from.Field(i); !f.IsZero() {
			to.Field(i).Set(f)
		}
	}
	return o
}

// Resolve fills in what the profile says, and finds what is wrong.
func (o RESTOptions) Resolve() (RESTOptions, error) {
	if o.Profile == "" {
		o.Profile = "sluice"
	}
	all, err := RESTProfile(o.Profile)
	if err != nil {
		return o, err
	}
	name := o.Profile
	o.Profile = ""
	all = all.With(o)
	all.Profile = name
	_, err = all.style()
	return all, err
}

const modeRPC = "rpc"

// optionsOf and style are the same table, read in both directions.
func optionsOf(s *rest.Style) RESTOptions {
	disable := []string{}
	for _, m := range rest.StreamModes() {
		if s.Off.Has(m) {
			disable = append(disable, m.String())
		}
	}
	if s.NoRPC {
		disable = append(disable, modeRPC)
	}
	return RESTOptions{
		EmitDefaults: &s.JSON.EmitDefaults, EmitUnpopulated: &s.JSON.EmitUnpopulated, ProtoNames: &s.JSON.ProtoNames,
		EnumNumbers: &s.JSON.EnumNumbers, Indent: new(len(s.JSON.Indent)),
		IgnoreParams: &s.IgnoreParams, IgnoreFields: &s.IgnoreFields, FillMask: &s.FillMask, ValuesInEach: &s.EachMessage,
		Disable: disable, SSEAlias: &s.Alias, AnyAccept: &s.AnyAccept,
		Stream: s.Stream.String(), JSONStream: s.Document.String(), Envelope: &s.Envelope, Failure: s.Failure.String(),
		EarlyHead: &s.EarlyHead, FirstByte: &s.FirstByte, Heartbeats: &s.Heartbeats,
		SSEFailure: s.Events.Failure, SSEEnd: &s.Events.End, SSEEndData: &s.Events.EndData, SSEEndFailed: &s.Events.EndFailed,
		SSENumber: &s.Events.Number, SSERetry: new(time.Duration(s.Events.Retry) * time.Millisecond),
		Compress: &s.Compress, ETag: &s.ETag,
		Errors:        s.Errors.String(),
		RequestFields: s.Request.Rules(), ResponseFields: s.Response.Rules(), TrailerFields: s.Trailer.Rules(),
		TrailerSection: &s.TrailerSection, Forwarded: &s.Forwarded,
	}
}

// style makes a style of options that are all filled in.
func (o *RESTOptions) style() (*rest.Style, error) {
	s := &rest.Style{
		IgnoreParams: *o.IgnoreParams, IgnoreFields: *o.IgnoreFields, FillMask: *o.FillMask, EachMessage: *o.ValuesInEach,
		Alias: *o.SSEAlias, AnyAccept: *o.AnyAccept,
		Envelope: *o.Envelope, EarlyHead: *o.EarlyHead, FirstByte: *o.FirstByte, Heartbeats: *o.Heartbeats,
		Events: rest.Events{
			Failure: o.SSEFailure, End: *o.SSEEnd, EndData: *o.SSEEndData, EndFailed: *o.SSEEndFailed,
			Number: *o.SSENumber, Retry: int(o.SSERetry.Milliseconds()),
		},
		Compress: *o.Compress, ETag: *o.ETag,
		TrailerSection: *o.TrailerSection, Forwarded: *o.Forwarded,
	}
	s.JSON.EmitDefaults, s.JSON.EmitUnpopulated = *o.EmitDefaults, *o.EmitUnpopulated
	s.JSON.ProtoNames, s.JSON.EnumNumbers = *o.ProtoNames, *o.EnumNumbers
	if *o.Indent < 0 || *o.Indent > maxIndent {
		return nil, fmt.Errorf("indent is %d: it is between 0 and %d", *o.Indent, maxIndent)
	}
	s.JSON.Indent = strings.Repeat(" ", *o.Indent)
	if *o.Compress < 0 {
		return nil, fmt.Errorf("compress is %d: it is a number of bytes, or 0 for never", *o.Compress)
	}
	if *o.SSERetry < 0 {
		return nil, fmt.Errorf("the time of an EventSource to try again is %v: it is not below 0", *o.SSERetry)
	}
	if strings.ContainsAny(o.SSEFailure, "\r\n\x00") || o.SSEFailure == "error" {
		return nil, fmt.Errorf("the event of a failure can't be called %q: EventSource gives that name to errors of its own, or it is no line", o.SSEFailure)
	}
	for _, name := range o.Disable {
		if name == modeRPC {
			s.NoRPC = true
			continue
		}
		m, err := rest.ParseMode(name)
		if err != nil {
			return nil, fmt.Errorf("disable: %w, and %s", err, modeRPC)
		}
		s.Off = s.Off.With(m)
	}
	var err error
	set := func(what string, e error) {
		if e != nil && err == nil {
			err = fmt.Errorf("%s: %w", what, e)
		}
	}
	var e error
	s.Stream, e = rest.ParseMode(o.Stream)
	set("stream", e)
	if s.Stream == rest.WebSocket {
		set("stream", errors.New("websocket is no answer to a request: a client asks for it by a handshake"))
	}
	if e == nil && s.Stream > rest.Delimited {
		set("stream", fmt.Errorf("%s is no framing of a response", o.Stream))
	}
	s.Document, e = rest.ParseMode(o.JSONStream)
	set("json_stream", e)
	if e == nil && s.Document != rest.Array && s.Document != rest.NDJSON {
		set("json_stream", fmt.Errorf("it is array or ndjson, and not %s", o.JSONStream))
	}
	s.Failure, e = rest.ParseFailure(o.Failure)
	set("failure", e)
	s.Errors, e = rest.ParseErrorBody(o.Errors)
	set("errors", e)
	s.Request, e = rest.ParseFieldRules(o.RequestFields)
	set("request_fields", e)
	s.Response, e = rest.ParseFieldRules(o.ResponseFields)
	set("response_fields", e)
	s.Trailer, e = rest.ParseFieldRules(o.TrailerFields)
	set("trailer_fields", e)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// maxIndent is what a person still reads.
const maxIndent = 16

// styles are the styles of methods, made once.
type styles struct {
	all *rest.Style
	of  map[string]*rest.Style // by "package.Service" and "package.Service/Method"
}

// CheckREST finds what is wrong with the options of REST, as New does.
func CheckREST(r REST) error {
	_, err := newStyles(&r)
	return err
}

func newStyles(r *REST) (*styles, error) {
	base := r.Options
	resolve := func(what string, o RESTOptions) (*rest.Style, error) {
		full, err := o.Resolve()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
		return full.style()
	}
	all, err := resolve("REST", base)
	if err != nil {
		return nil, err
	}
	s := &styles{all: all, of: map[string]*rest.Style{}}
	for name, o := range r.Overrides {
		name = strings.TrimPrefix(name, "/")
		service, method, isMethod := strings.Cut(name, "/")
		if service == "" || isMethod && method == "" || strings.Contains(method, "/") {
			return nil, fmt.Errorf("REST override %q: it is package.Service or package.Service/Method", name)
		}
		below := base
		if isMethod {
			below = below.With(r.Overrides[service])
		}
		if s.of[name], err = resolve("REST override "+name, below.With(o)); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// unknown says which overrides are of nothing.
func (s *styles) unknown(in *schema.Snapshot) (names []string) {
	for _, name := range slices.Sorted(maps.Keys(s.of)) {
		service, _, isMethod := strings.Cut(name, "/")
		if isMethod && in.Lookup("/"+name) == nil || len(in.Sources(service)) == 0 {
			names = append(names, name)
		}
	}
	return names
}

// style returns the style of a method, "/package.Service/Method".
func (s *styles) style(method string) *rest.Style {
	name := strings.TrimPrefix(method, "/")
	if st := s.of[name]; st != nil {
		return st
	}
	service, _, _ := strings.Cut(name, "/")
	if st := s.of[service]; st != nil {
		return st
	}
	return s.all
}
