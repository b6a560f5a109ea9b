package config

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/sluice-rpc/sluice"
)

// REST is how methods are reached by HTTP and JSON.
type REST struct {
	HTTPRules []string // files
	Naming    string
	OpenAPI   bool // the document is for clients, too
	Options   sluice.RESTOptions
	Overrides map[string]sluice.RESTOptions
}

// Library returns what is for the library's configuration, without the files.
func (r *REST) Library() sluice.REST {
	return sluice.REST{Naming: r.Naming, Options: r.Options, Overrides: r.Overrides}
}

// restSettings is the table of options, with a prefix before their keys: for all methods,
// and for those of an override. What is not set is as the profile says.
func restSettings(prefix string, o *sluice.RESTOptions) []Setting {
	all := []Setting{
		{Key: "profile", Flag: "profile", Arg: "NAME", Value: oneOf(&o.Profile, sluice.RESTProfiles()...),
			Help: "the gateway whose ways REST takes over: " + strings.Join(sluice.RESTProfiles(), ", ") + "; sluice by default"},

		{Key: "emit_defaults", Flag: "emit-defaults", Arg: "bool", Value: maybe(&o.EmitDefaults, boolean),
			Help: "JSON has fields without presence that are not set, with their defaults"},
		{Key: "emit_unpopulated", Value: maybe(&o.EmitUnpopulated, boolean),
			Help: "and messages and optional fields that are not set, as null"},
		{Key: "proto_names", Flag: "proto-names", Arg: "bool", Value: maybe(&o.ProtoNames, boolean),
			Help: "JSON has the names of the .proto file, and not lowerCamelCase"},
		{Key: "enum_numbers", Value: maybe(&o.EnumNumbers, boolean), Help: "enums are numbers in JSON"},
		{Key: "indent", Value: maybe(&o.Indent, number), Help: "spaces of a level of JSON, in unary answers and arrays"},

		{Key: "ignore_params", Value: maybe(&o.IgnoreParams, boolean), Help: "parameters of the query that have no place are ignored, not refused"},
		{Key: "ignore_fields", Value: maybe(&o.IgnoreFields, boolean), Help: "unknown fields of a JSON body are ignored, not refused"},
		{Key: "fill_mask", Value: maybe(&o.FillMask, boolean), Help: "PATCH fills an update_mask that is not there"},
		{Key: "values_in_each", Value: maybe(&o.ValuesInEach, boolean), Help: "path and query are in each message of a streamed request, not only in the first"},

		{Key: "disable", Value: entries(&o.Disable),
			Help: "what is switched off, of " + strings.Join(sluice.RESTModes(), ", ") + "; rpc is JSON on RPC paths"},
		{Key: "sse_alias", Flag: "sse-alias", Arg: "bool", Value: maybe(&o.SSEAlias, boolean),
			Help: "GET reaches streaming methods with a POST rule, for an EventSource"},
		{Key: "any_accept", Value: maybe(&o.AnyAccept, boolean), Help: "who accepts nothing of what there is gets the usual answer, not 406"},

		{Key: "stream", Value: text(&o.Stream), Help: "the mode of a stream if the client accepts anything: ndjson, sse, array, seq or delimited"},
		{Key: "json_stream", Value: text(&o.JSONStream), Help: "the mode of a stream for Accept: application/json: array or ndjson"},
		{Key: "envelope", Value: maybe(&o.Envelope, boolean), Help: `messages of a stream are {"result":…}, and its failure {"error":…}`},
		{Key: "failure", Value: text(&o.Failure), Help: "how a stream that fails in the middle says so: mark, closed, bare or open"},
		{Key: "early_head", Value: maybe(&o.EarlyHead, boolean), Help: "the head of a stream does not wait for its first message"},
		{Key: "first_byte", Value: maybe(&o.FirstByte, boolean), Help: "something follows a head that leaves without a message"},
		{Key: "heartbeats", Value: maybe(&o.Heartbeats, boolean), Help: "a quiet stream has signs of life"},

		{Key: "sse_failure", Value: text(&o.SSEFailure), Help: "the name of the event of a failure"},
		{Key: "sse_end", Value: maybe(&o.SSEEnd, boolean), Help: "an event EOS ends a stream of events"},
		{Key: "sse_end_data", Value: maybe(&o.SSEEndData, text), Help: "the data of that event"},
		{Key: "sse_end_failed", Value: maybe(&o.SSEEndFailed, boolean), Help: "it follows a failure too, if trying again would fail again"},
		{Key: "sse_number", Value: maybe(&o.SSENumber, boolean), Help: "events without an id of their own have running numbers"},
		{Key: "sse_retry", Value: maybe(&o.SSERetry, retry), Help: "until an EventSource tries again what may succeed then; never does not ask it to"},

		{Key: "compress", Value: maybe(&o.Compress, sizeOrNever), Help: "unary answers of at least this size are compressed for who accepts it, or never"},
		{Key: "etag", Value: maybe(&o.ETag, boolean), Help: "unary GETs have an ETag and are conditional"},

		{Key: "errors", Value: text(&o.Errors), Help: "what the body of an error is: status, problem (RFC 9457), google (AIP-193) or none"},

		{Key: "request_fields", Value: entries(&o.RequestFields), Help: `rules about which fields become metadata: "x-*", "!cookie", "a=b", "grpc-metadata-*=*"`},
		{Key: "response_fields", Value: entries(&o.ResponseFields), Help: "rules about which metadata becomes fields"},
		{Key: "trailer_fields", Value: entries(&o.TrailerFields), Help: "the same of the metadata at the end of a call"},
		{Key: "trailer_section", Value: maybe(&o.TrailerSection, boolean), Help: "that of unary calls becomes trailer fields, if the client takes them, not header fields"},
		{Key: "forwarded", Value: maybe(&o.Forwarded, boolean), Help: "x-forwarded-for and x-forwarded-host tell the backend who asked"},
	}
	for i := range all {
		all[i].Key = prefix + all[i].Key
	}
	return all
}

// RESTSettings are the settings of options, in the order and by the keys of the file.
func RESTSettings(o *sluice.RESTOptions) []Setting { return restSettings("rest.", o) }

// maybe is a Value that need not be there: then its text is empty.
func maybe[T any](p **T, of func(*T) Value) Value {
	return value{of(new(T)).Type(), func(s string) error {
		v := new(T)
		if err := of(v).Set(s); err != nil {
			return err
		}
		*p = v
		return nil
	}, func() string {
		if *p == nil {
			return ""
		}
		return of(*p).String()
	}}
}

func number(p *int) Value {
	return value{"number", func(s string) error {
		n, err := strconv.ParseUint(s, 10, 16)
		if err != nil {
			return fmt.Errorf("%q is not a number", s)
		}
		*p = int(n)
		return nil
	}, func() string { return strconv.Itoa(*p) }}
}

// sizeOrNever is a size, or never, which is 0.
func sizeOrNever(p *int) Value {
	v := size(p)
	return value{v.Type(), func(s string) error {
		if s == "never" {
			*p = 0
			return nil
		}
		return v.Set(s)
	}, func() string {
		if *p == 0 {
			return "never"
		}
		return v.String()
	}}
}

// retry is a time, or never, which is 0.
func retry(p *time.Duration) Value {
	v := duration(p)
	return value{v.Type(), func(s string) error {
		err := v.Set(s)
		*p = max(*p, 0)
		return err
	}, func() string {
		if *p == 0 {
			return "never"
		}
		return v.String()
	}}
}

// entries is a list that may be set to nothing.
type entriesOf struct{ many }

func entries(p *[]string) Multi { return entriesOf{many{p, nil, new(bool)}} }

func (e entriesOf) Replace(all []string) error {
	if err := e.many.Replace(all); err != nil {
		return err
	}
	if *e.p == nil {
		*e.p = []string{}
	}
	return nil
}

func (e entriesOf) String() string {
	if *e.p != nil && len(*e.p) == 0 {
		return "[]"
	}
	return e.many.String()
}

// overrides is a summary: overrides are read from a file only.
func overrides(p *map[string]sluice.RESTOptions) Value {
	return value{"mapping", func(string) error {
		return errors.New("overrides are many settings: they have to be in the file")
	}, func() string {
		var names []string
		for name := range *p {
			names = append(names, name)
		}
		slices.Sort(names)
		return strings.Join(names, ",")
	}}
}

// overrides reads a mapping of services and methods to options.
func (r *reader) overrides(n ast.Node) error {
	m, ok := n.(ast.MapNode)
	if !ok {
		return r.errorf(n.GetToken(), "rest.overrides has to be a mapping (package.Service: options), not %s", describe(n))
	}
	all := map[string]sluice.RESTOptions{}
	for it := m.MapRange(); it.Next(); {
		name := it.Key().String()
		if s, ok := it.Key().(*ast.StringNode); ok {
			name = s.Value
		}
		if _, twice := all[name]; twice {
			return r.errorf(it.Key().GetToken(), "%s is there twice", name)
		}
		if isEmpty(it.Value()) {
			return r.errorf(it.Key().GetToken(), "%s has no options: give some or remove it", name)
		}
		var o sluice.RESTOptions
		take := func(s *Setting, n ast.Node, _ string) error { return r.leaf(s, n) }
		if err := r.mapping(it.Value(), "", restSettings("", &o), take); err != nil {
			return err
		}
		all[name] = o
		if err := sluice.CheckREST(sluice.REST{Overrides: map[string]sluice.RESTOptions{name: o}}); err != nil {
			return r.errorf(it.Key().GetToken(), "%v", err)
		}
	}
	r.config.REST.Overrides = all
	return nil
}
