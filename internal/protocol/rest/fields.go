package rest

import (
	"fmt"
	"net"
	"strings"

	"github.com/sluice-rpc/sluice/internal/exchange"
	grpcwire "github.com/sluice-rpc/sluice/internal/wire/grpc"
	"github.com/sluice-rpc/sluice/rpc"
)

// FieldRules say which fields become metadata, or which metadata fields, and how they
// are called there. The first rule that fits a name counts; what none fits is dropped.
//
//	name          passes
//	name-*        and all that begin with it
//	*             all that are the application's
//	!name         is dropped
//	name=other    gets another name, or several, separated by spaces
//	name-*=*      loses its prefix; name-*=other-* gets another one
//
// Whatever the rules, names that belong to HTTP or gRPC are neither metadata nor fields.
type FieldRules []fieldRule

type fieldRule struct {
	text   string
	name   string // in lower case
	prefix bool   // name is what names begin with
	drop   bool
	to     []fieldRule // none: the name stays
}

// ParseFieldRules reads rules.
func ParseFieldRules(rules []string) (FieldRules, error) {
	parsed := FieldRules{}
	for _, text := range rules {
		r, err := parseFieldRule(text)
		if err != nil {
			return nil, fmt.Errorf("rule %q: %w", text, err)
		}
		parsed = append(parsed, r)
	}
	return parsed, nil
}

// Rules returns the rules as they were written.
func (rules FieldRules) Rules() []string {
	all := make([]string, len(rules))
	for i := range rules {
		all[i] = rules[i].text
	}
	return all
}

func parseFieldRule(text string) (r fieldRule, err error) {
	from, to, renamed := strings.Cut(text, "=")
	r.text = text
	from, r.drop = strings.CutPrefix(strings.TrimSpace(from), "!")
	if r.name, r.prefix, err = parseName(from); err != nil {
		return r, err
	}
	if !renamed {
		return r, nil
	}
	if r.drop {
		return r, fmt.Errorf("what is dropped has no other name")
	}
	for t := range strings.FieldsSeq(to) {
		var one fieldRule
		if one.name, one.prefix, err = parseName(t); err != nil {
			return r, err
		}
		switch {
		case one.prefix && !r.prefix:
			return r, fmt.Errorf("%s has a star, and %s has none to fill it", t, from)
		case r.prefix && !one.prefix:
			return r, fmt.Errorf("%s has a star, and %s has no place for what it stands for", from, t)
		case !r.prefix && rpc.Binary(r.name) != rpc.Binary(one.name):
			return r, fmt.Errorf("the values of names that end in -bin are written otherwise: %s can't become %s", from, t)
		case !one.prefix && !allowedName(one.name):
			return r, fmt.Errorf("%s belongs to HTTP or gRPC", t)
		}
		r.to = append(r.to, one)
	}
	if r.to == nil {
		return r, fmt.Errorf("nothing stands behind =")
	}
	return r, nil
}

func parseName(s string) (name string, prefix bool, err error) {
	name, prefix = strings.CutSuffix(strings.ToLower(s), "*")
	for i := range len(name) {
		if c := name[i]; !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.') {
			return "", false, fmt.Errorf("%q is no name of a field: letters, digits, - _ . and a star at the end", s)
		}
	}
	if name == "" && !prefix {
		return "", false, fmt.Errorf("a name is missing")
	}
	return name, prefix, nil
}

func mustRules(rules ...string) FieldRules {
	r, err := ParseFieldRules(rules)
	if err != nil {
		panic(err)
	}
	return r
}

// allowedName says whether a field, or metadata, may be called so by a rule.
func allowedName(name string) bool {
	return !grpcwire.Reserved(name) || strings.HasPrefix(name, "grpc-metadata-") || strings.HasPrefix(name, "grpc-trailer-")
}

// each calls f with the names that a name becomes. own says whether a name is the
// application's, which the rule "*" is about.
func (rules FieldRules) each(name string, own func(string) bool, f func(name string)) {
	for i := range rules {
		r := &rules[i]
		switch {
		case !r.prefix && r.name != name, r.prefix && !strings.HasPrefix(name, r.name), r.prefix && r.name == "" && !own(name):
			continue
		case r.drop:
			return
		case r.to == nil:
			f(name)
			return
		}
		for j := range r.to {
			t := &r.to[j]
			other := t.name
			if t.prefix {
				other += name[len(r.name):]
			}
			if allowedName(other) {
				f(other)
			}
		}
		return
	}
}

// requestMetadata takes fields of the request.
func requestMetadata(fields []exchange.Field, rules FieldRules) rpc.Metadata {
	md := make(rpc.Metadata, 0, len(fields))
	for i := range fields {
		f := &fields[i]
		if f.Name == "sec-websocket-protocol" {
			continue // it may have a token, which is passed as what it is
		}
		rules.each(f.Name, applications, func(key string) {
			if forbiddenKey(key) {
				return
			}
			if !rpc.Binary(key) {
				md = append(md, rpc.Field{Key: key, Value: f.Value, Sensitive: f.Sensitive})
				return
			}
			for v := range strings.SplitSeq(f.Value, ",") {
				md = append(md, rpc.Field{Key: key, Value: grpcwire.Unpad(strings.TrimSpace(v)), Sensitive: f.Sensitive})
			}
		})
	}
	if id := exchange.Get(fields, "last-event-id"); id != "" {
		md = append(md, rpc.Field{Key: "last-event-id", Value: id})
	}
	return md
}

// forbiddenKey says whether a rule made a name that is no metadata.
func forbiddenKey(key string) bool { return grpcwire.Reserved(key) }

// applications says whether a field of a request is the application's.
func applications(name string) bool { return !dropped(name) }

// appendMetadata writes metadata of a response as fields.
func appendMetadata(f []exchange.Field, md rpc.Metadata, rules FieldRules) []exchange.Field {
	for i := range md {
		m := &md[i]
		if toGateway(m.Key) || grpcwire.Reserved(m.Key) {
			continue
		}
		rules.each(m.Key, anyName, func(name string) {
			f = append(f, exchange.Field{Name: name, Value: m.Value, Sensitive: m.Sensitive})
		})
	}
	return f
}

func anyName(string) bool { return true }

// appendForwarded adds what proxies say of who asked: the address of the client behind those
// that it names itself, and the host that it asked for.
func appendForwarded(md rpc.Metadata, head *exchange.RequestHead) rpc.Metadata {
	host := exchange.Get(head.Fields, "x-forwarded-host")
	if host == "" {
		host = head.Authority
	}
	if host != "" {
		md = append(md, rpc.Field{Key: "x-forwarded-host", Value: host})
	}
	from := values(head.Fields, "x-forwarded-for")
	if head.Addr != nil {
		if ip, _, err := net.SplitHostPort(head.Addr.String()); err == nil {
			from = append(from, ip)
		}
	}
	if len(from) > 0 {
		md = append(md, rpc.Field{Key: "x-forwarded-for", Value: strings.Join(from, ", ")})
	}
	return md
}
