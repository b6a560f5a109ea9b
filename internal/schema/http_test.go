package schema

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

func get(path string) *annotations.HttpRule {
	return &annotations.HttpRule{Pattern: &annotations.HttpRule_Get{Get: path}}
}

func post(path, body string) *annotations.HttpRule {
	return &annotations.HttpRule{Pattern: &annotations.HttpRule_Post{Post: path}, Body: body}
}

func custom(kind, path string) *annotations.HttpRule {
	return &annotations.HttpRule{Pattern: &annotations.HttpRule_Custom{Custom: &annotations.CustomHttpPattern{Kind: kind, Path: path}}}
}

// httpFile describes shop.v1.Orders, whose methods M0, M1, … have the options.
func httpFile(options ...*descriptorpb.MethodOptions) *descriptorpb.FileDescriptorProto {
	field := func(n int32, name string, typ descriptorpb.FieldDescriptorProto_Type, typeName string) *descriptorpb.FieldDescriptorProto {
		f := &descriptorpb.FieldDescriptorProto{Name: &name, Number: &n, Type: &typ, Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum()}
		if typeName != "" {
			f.TypeName = &typeName
		}
		return f
	}
	const text, message = descriptorpb.FieldDescriptorProto_TYPE_STRING, descriptorpb.FieldDescriptorProto_TYPE_MESSAGE
	list := field(4, "tags", text, "")
	list.Label = descriptorpb.FieldDescriptorProto_LABEL_REPEATED.Enum()
	labels := field(5, "labels", message, ".shop.v1.Request.LabelsEntry")
	labels.Label = descriptorpb.FieldDescriptorProto_LABEL_REPEATED.Enum()
	f := &descriptorpb.FileDescriptorProto{
		Name: proto.String("shop.proto"), Package: proto.String("shop.v1"), Syntax: proto.String("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{
			{Name: proto.String("Request"), Field: []*descriptorpb.FieldDescriptorProto{
				field(1, "name", text, ""), field(2, "item_id", descriptorpb.FieldDescriptorProto_TYPE_INT64, ""), field(3, "order", message, ".shop.v1.Order"),
				list, labels, field(6, "kind", descriptorpb.FieldDescriptorProto_TYPE_ENUM, ".shop.v1.Kind"),
			}, NestedType: []*descriptorpb.DescriptorProto{{Name: proto.String("LabelsEntry"), Options: &descriptorpb.MessageOptions{MapEntry: proto.Bool(true)},
				Field: []*descriptorpb.FieldDescriptorProto{field(1, "key", text, ""), field(2, "value", text, "")}}}},
			{Name: proto.String("Order"), Field: []*descriptorpb.FieldDescriptorProto{field(1, "name", text, ""), field(2, "parent", message, ".shop.v1.Order")}},
		},
		EnumType: []*descriptorpb.EnumDescriptorProto{{Name: proto.String("Kind"), Value: []*descriptorpb.EnumValueDescriptorProto{{Name: proto.String("ZERO"), Number: proto.Int32(0)}}}},
		Service:  []*descriptorpb.ServiceDescriptorProto{{Name: proto.String("Orders")}},
	}
	for i, o := range options {
		f.Service[0].Method = append(f.Service[0].Method, &descriptorpb.MethodDescriptorProto{
			Name: proto.String(fmt.Sprintf("M%d", i)), InputType: proto.String(".shop.v1.Request"), OutputType: proto.String(".shop.v1.Order"), Options: o})
	}
	return f
}

func annotated(rules ...*annotations.HttpRule) *descriptorpb.FileDescriptorProto {
	var options []*descriptorpb.MethodOptions
	for _, r := range rules {
		var o *descriptorpb.MethodOptions
		if r != nil {
			o = &descriptorpb.MethodOptions{}
			proto.SetExtension(o, annotations.E_Http, r)
		}
		options = append(options, o)
	}
	return httpFile(options...)
}

func httpSchema(t testing.TB, f *descriptorpb.FileDescriptorProto) *Schema {
	s, err := FromDescriptorSets(marshal(t, &descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{f}}))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// list writes rules in a line each: METHOD VERB TEMPLATE BODY RESPONSE_BODY SOURCE.
func list(rules []*Rule) string {
	var b strings.Builder
	for _, r := range rules {
		fmt.Fprintf(&b, "%s %s %s %q %q %s\n", strings.TrimPrefix(r.Method, "/shop.v1.Orders/"), r.Verb, r.Template, r.Body, r.ResponseBody, r.Source)
	}
	return b.String()
}

func TestRules(t *testing.T) {
	first := get("/v1/{name}")
	first.AdditionalBindings = []*annotations.HttpRule{get("/v1/x/{order.parent.name}"), get("/v1/{bad}"), post("/v1/{item_id}/{kind}", "order")}
	all := post("/v1/all", "*")
	all.ResponseBody = "parent"
	s := httpSchema(t, annotated(first, nil, all, custom("PURGE", "/v1/x"), post("/v1/t", "tags"), post("/v1/l", "labels"), post("/v1/{order.name=orders/*}:do", "order"),
		custom("*", "/any/{name=**}")))
	rules, problems := s.Rules(RuleOptions{})
	if got, want := list(rules), `M0 GET /v1/{name} "" "" annotation
M0 GET /v1/x/{order.parent.name} "" "" annotation
M0 POST /v1/{item_id}/{kind} "order" "" annotation
M2 POST /v1/all "*" "parent" annotation
M3 PURGE /v1/x "" "" annotation
M4 POST /v1/t "tags" "" annotation
M5 POST /v1/l "labels" "" annotation
M6 POST /v1/{order.name=orders/*}:do "order" "" annotation
M7 * /any/{name=**} "" "" annotation
`; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if len(problems) != 1 || problems[0].Error() != `HTTP rule of /shop.v1.Orders/M0 (annotation): GET /v1/{bad}: variable {bad}: shop.v1.Request has no field "bad"` {
		t.Error(problems)
	}
	table, problems := NewTable(rules, RuleOptions{})
	if problems != nil {
		t.Error(problems)
	}
	if r, c, ok := table.Match("POST", "/v1/orders/7:do", nil); !ok || r.Method != "/shop.v1.Orders/M6" || c[0].Value != "orders/7" || r.Descriptor.Input().FullName() != "shop.v1.Request" {
		t.Error(r, c, ok)
	}
}

func TestBadRules(t *testing.T) {
	nested := get("/v1/a")
	nested.AdditionalBindings = []*annotations.HttpRule{{Pattern: get("/v1/b").Pattern, AdditionalBindings: []*annotations.HttpRule{get("/v1/c")}}}
	response := get("/v1/a")
	response.ResponseBody = "parnt"
	for _, test := range []struct {
		rule *annotations.HttpRule
		want string
	}{
		{get("/v1/{nme}"), `shop.v1.Request has no field "nme": did you mean "name"?`},
		{get("/v1/{itemId}"), `rules have the names of the .proto file, "item_id"`},
		{get("/v1/{order.x}"), `shop.v1.Order has no field "x"`},
		{get("/v1/{order}"), `shop.v1.Request.order is a message, shop.v1.Order: name a field in it, as {order.name}`},
		{get("/v1/{order.parent}"), `is a message`},
		{get("/v1/{tags}"), `shop.v1.Request.tags is repeated`},
		{get("/v1/{labels}"), `shop.v1.Request.labels is a map`},
		{get("/v1/{labels.key}"), `is a map`},
		{get("/v1/{name.x}"), `shop.v1.Request.name is no message, so it has no field "x"`},
		{get("/v1/{name}/{name}"), `column 13 of the path: the field name is there twice`},
		{get("/v1/{name"), `GET /v1/{name: column 5 of the path`},
		{get(""), `begins with a slash`},
		{post("/v1/a", "oder"), `body: shop.v1.Request has no field "oder": did you mean "order"?, or "*" is all`},
		{post("/v1/a", "order.name"), `only a field of shop.v1.Request itself can be the body`},
		{post("/v1/{name}", "name"), `the field name is in the path and is the body`},
		{&annotations.HttpRule{Pattern: get("/v1/a").Pattern, Body: "*"}, `it has a body, and GET has none`},
		{&annotations.HttpRule{Pattern: custom("HEAD", "/v1/a").Pattern, Body: "*"}, `it has a body, and HEAD has none`},
		{response, `response_body: shop.v1.Order has no field "parnt": did you mean "parent"?`},
		{&annotations.HttpRule{Body: "*"}, `it has no path: give one by get,`},
		{custom("", "/v1/a"), `"" is no HTTP verb`},
		{custom("A B", "/v1/a"), `"A B" is no HTTP verb`},
		{nested, `list them all in the first rule`},
	} {
		_, problems := httpSchema(t, annotated(test.rule, get("/v1/good"))).Rules(RuleOptions{})
		var e *RuleError
		if len(problems) != 1 || !errors.As(problems[0], &e) || e.Method != "/shop.v1.Orders/M0" || !strings.Contains(problems[0].Error(), test.want) {
			t.Errorf("%v: got %v, want %s", test.rule, problems, test.want)
		}
		rules, _ := httpSchema(t, annotated(test.rule, get("/v1/good"))).Rules(RuleOptions{})
		if len(rules) == 0 || rules[len(rules)-1].Template.String() != "/v1/good" {
			t.Errorf("%v: the good rule is lost: %v", test.rule, rules)
		}
	}
}

func TestTooManyBindings(t *testing.T) {
	many := get("/v1/a")
	for range maxBindings {
		many.AdditionalBindings = append(many.AdditionalBindings, get("/v1/b"))
	}
	rules, problems := httpSchema(t, annotated(many, get("/v1/c"))).Rules(RuleOptions{})
	if len(rules) != 1 || len(problems) != 1 || !strings.Contains(problems[0].Error(), "it has 100 additional bindings, the limit is 99") {
		t.Error(list(rules), problems)
	}
}

func TestTooManyRules(t *testing.T) {
	methods := make([]*annotations.HttpRule, maxRules/maxBindings+2)
	for i := range methods {
		methods[i] = get("")
		for range maxBindings - 1 {
			methods[i].AdditionalBindings = append(methods[i].AdditionalBindings, get("/v1/b"))
		}
	}
	rules, problems := httpSchema(t, annotated(methods...)).Rules(RuleOptions{})
	if got := len(rules) + len(problems); got > maxRules+maxBindings+1 {
		t.Errorf("%d", got)
	}
	if last := problems[len(problems)-1].Error(); !strings.Contains(last, "there are more than 65536 rules") {
		t.Error(last)
	}
}

// FuzzRules has any bytes for options of a method, as a backend may send them.
func FuzzRules(f *testing.F) {
	for _, r := range []*annotations.HttpRule{get("/v1/{name}"), post("/v1/{order.name=orders/*}:do", "order"), custom("*", "/{name=**}"),
		{Pattern: get("/v1/a").Pattern, AdditionalBindings: []*annotations.HttpRule{get("/v1/{bad}"), post("/v1/a", "*")}}} {
		o := &descriptorpb.MethodOptions{}
		proto.SetExtension(o, annotations.E_Http, r)
		f.Add(marshal(f, o), "/v1/a")
	}
	f.Fuzz(func(t *testing.T, options []byte, path string) {
		file := marshal(t, httpFile(nil, nil))
		method := bytesField(2, append(append(append(bytesField(1, []byte("X")), bytesField(2, []byte(".shop.v1.Request"))...), bytesField(3, []byte(".shop.v1.Order"))...), bytesField(4, options)...))
		file = append(file, bytesField(6, append(bytesField(1, []byte("Extra")), method...))...)
		s, err := FromDescriptorSets(bytesField(1, file))
		if err != nil {
			return
		}
		rules, problems := s.Rules(RuleOptions{})
		for _, err := range problems {
			if e, ok := err.(*RuleError); !ok || e.Method != "/shop.v1.Extra/X" || e.Reason == "" {
				t.Errorf("got %v", err)
			}
		}
		table, _ := NewTable(rules, RuleOptions{})
		if r, captures, ok := table.Match("GET", path, nil); ok && len(captures) != len(r.Template.Variables()) {
			t.Errorf("%s: %q", r.Template, captures)
		}
	})
}

// TestSnapshotRules has two sources with one service: the first one's rules count.
func TestSnapshotRules(t *testing.T) {
	store := NewStore(2, nil)
	store.Set(2, httpSchema(t, annotated(get("/v2/a"))))
	store.Set(1, httpSchema(t, annotated(get("/v1/a"), get("/v1/{bad}"))))
	rules, problems := store.Snapshot().Rules(RuleOptions{})
	if got := list(rules); got != "M0 GET /v1/a \"\" \"\" annotation\n" || len(problems) != 1 {
		t.Error(got, problems)
	}
	store.Set(1, nil)
	if rules, _ := store.Snapshot().Rules(RuleOptions{}); list(rules) != "M0 GET /v2/a \"\" \"\" annotation\n" {
		t.Error(list(rules))
	}
}

// TestConflict has two methods with the same paths: both are named, the first stays.
func TestConflict(t *testing.T) {
	rules, _ := httpSchema(t, annotated(get("/v1/{name}"), get("/v1/{item_id}"), get("/v1/a"))).Rules(RuleOptions{})
	table, problems := NewTable(rules, RuleOptions{})
	want := "HTTP rule of /shop.v1.Orders/M1 (annotation): GET /v1/{item_id}: /shop.v1.Orders/M0 (annotation) has the same paths already, by GET /v1/{name}"
	if len(problems) != 1 || problems[0].Error() != want {
		t.Errorf("got %v, want %s", problems, want)
	}
	for path, method := range map[string]string{"/v1/x": "M0", "/v1/a": "M2"} {
		if r, _, ok := table.Match("GET", path, nil); !ok || !strings.HasSuffix(r.Method, method) {
			t.Error(path, r)
		}
	}
}

// TestAnnotationParsedElsewhere has options whose extension nobody knew when they were
// parsed, or whose extension is another Go type than the one that is looked for.
func TestAnnotationParsedElsewhere(t *testing.T) {
	rule := marshal(t, get("/v1/{name}"))
	raw := protowire.AppendBytes(protowire.AppendTag(nil, protowire.Number(annotations.E_Http.TypeDescriptor().Number()), protowire.BytesType), rule)

	unknown := &descriptorpb.MethodOptions{}
	unknown.ProtoReflect().SetUnknown(raw)

	var files protoregistry.Files
	for _, f := range []protoreflect.FileDescriptor{annotations.File_google_api_http_proto, annotations.File_google_api_annotations_proto} {
		fd, err := protodesc.NewFile(protodesc.ToFileDescriptorProto(f), resolver{&files})
		if err != nil {
			t.Fatal(err)
		}
		if err := files.RegisterFile(fd); err != nil {
			t.Fatal(err)
		}
	}
	dynamic := &descriptorpb.MethodOptions{}
	if err := (proto.UnmarshalOptions{Resolver: dynamicpb.NewTypes(&files)}).Unmarshal(raw, dynamic); err != nil {
		t.Fatal(err)
	}
	if len(dynamic.ProtoReflect().GetUnknown()) > 0 {
		t.Fatal("the extension was to be known")
	}

	split := &descriptorpb.MethodOptions{} // in two occurrences, which merge
	head := protowire.AppendBytes(protowire.AppendTag(nil, 72295728, protowire.BytesType), marshal(t, &annotations.HttpRule{Body: "*"}))
	split.ProtoReflect().SetUnknown(append(head, protowire.AppendBytes(protowire.AppendTag(nil, 72295728, protowire.BytesType), marshal(t, post("/v1/p", "")))...))

	broken := &descriptorpb.MethodOptions{}
	broken.ProtoReflect().SetUnknown(protowire.AppendBytes(protowire.AppendTag(nil, 72295728, protowire.BytesType), []byte{0x12, 0x7f}))

	f := httpFile(unknown, dynamic, split, broken)
	direct, err := fromFiles([]*descriptorpb.FileDescriptorProto{f}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]*Schema{"descriptors": direct, "serialized": httpSchema(t, f)} {
		rules, problems := s.Rules(RuleOptions{})
		if got, want := list(rules), "M0 GET /v1/{name} \"\" \"\" annotation\nM1 GET /v1/{name} \"\" \"\" annotation\nM2 POST /v1/p \"*\" \"\" annotation\n"; got != want {
			t.Errorf("%s: got\n%swant\n%s", name, got, want)
		}
		if len(problems) != 1 || !strings.Contains(problems[0].Error(), "M3 (annotation): the option google.api.http cannot be read") {
			t.Error(name, problems)
		}
	}
}

// resolver finds in the files, or in those that are linked.
type resolver struct{ files *protoregistry.Files }

func (r resolver) FindFileByPath(path string) (protoreflect.FileDescriptor, error) {
	if fd, err := r.files.FindFileByPath(path); err == nil {
		return fd, nil
	}
	return protoregistry.GlobalFiles.FindFileByPath(path)
}

func (r resolver) FindDescriptorByName(name protoreflect.FullName) (protoreflect.Descriptor, error) {
	if d, err := r.files.FindDescriptorByName(name); err == nil {
		return d, nil
	}
	return protoregistry.GlobalFiles.FindDescriptorByName(name)
}

func TestNaming(t *testing.T) {
	s := httpSchema(t, annotated(get("/v1/{name}"), nil, get("/v1/{bad}")))
	for pattern, want := range map[string]string{
		"POST /api/{package}.{service}/{method}":                `M1 POST /api/shop.v1.Orders/M1 "*" "" naming pattern`,
		"GET /{package:kebab}/{service:lower}/x-{method:lower}": `M1 GET /shop.v1/orders/x-m1 "" "" naming pattern`,
		"* /{service:kebab}:{method}":                           `M1 * /orders:M1 "*" "" naming pattern`,
	} {
		n, err := ParseNaming(pattern)
		if err != nil {
			t.Error(err)
			continue
		}
		rules, problems := s.Rules(RuleOptions{Naming: n})
		if got := list(rules); got != "M0 GET /v1/{name} \"\" \"\" annotation\n"+want+"\n" || len(problems) != 1 {
			t.Errorf("%s: got %s and %v", pattern, got, problems)
		}
	}
	for pattern, want := range map[string]string{
		"/api/{method}":           "write a verb",
		"P(ST /api/{method}":      "write a verb",
		"POST api/{method}":       "begins with a slash",
		"POST /api/{service}":     "without {method}",
		"POST /api/{id}/{method}": "there is no {id}",
		"POST /api/{method:up}":   "{method:up}: there are only :lower and :kebab",
		"POST /api/*/{method}":    "it has a wildcard",
		"POST /a b/{method}":      "write %20",
		"POST /{method":           "the variable is not closed",
	} {
		if _, err := ParseNaming(pattern); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", pattern, err, want)
		}
	}
	for _, test := range [][2]string{{"GetHTTPRule", "get-http-rule"}, {"Get", "get"}, {"get_it", "get-it"}, {"Get_It", "get-it"}, {"V2API", "v2-api"}, {"HTTP", "http"}, {"ABc", "a-bc"}} {
		if got := kebab(test[0]); got != test[1] {
			t.Errorf("%s: got %s, want %s", test[0], got, test[1])
		}
	}
	n, _ := ParseNaming("POST /api/{package}/{package:lower}.{service}/{method}")
	if got := n.expand("", "S", "M"); got != "/api/S/M" {
		t.Error(got)
	}
}
