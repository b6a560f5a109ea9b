package openapi

import "google.golang.org/protobuf/reflect/protoreflect"

// wellKnown are the types of google.protobuf with a JSON form of their own.
var wellKnown = map[string]func(*builder) *object{
	"Any": func(b *builder) *object {
		return b.object().set("type", "object").set("description", "A message of any type, with its type in `@type`.").
			set("properties", b.object().set("@type", b.object().set("type", "string"))).set("additionalProperties", true)
	},
	"Struct":    func(b *builder) *object { return b.object().set("type", "object").set("additionalProperties", true) },
	"Value":     func(b *builder) *object { return b.object().set("description", "Any JSON value.") },
	"ListValue": func(b *builder) *object { return b.object().set("type", "array").set("items", b.object()) },
	"NullValue": func(b *builder) *object { return b.object().set("type", "null") },
	"Empty":     func(b *builder) *object { return b.object().set("type", "object") },
	"Timestamp": func(b *builder) *object { return b.object().set("type", "string").set("format", "date-time") },
	"Duration": func(b *builder) *object {
		return b.object().set("type", "string").set("format", "google-duration").set("pattern", `^-?[0-9]+(\.[0-9]{1,9})?s$`).
			set("description", "Seconds, as `1.5s`.")
	},
	"FieldMask": func(b *builder) *object {
		return b.object().set("type", "string").set("format", "google-fieldmask").set("description", "Names of fields, as `title,author.name`.")
	},
	"BoolValue":   nullable("boolean", ""),
	"Int32Value":  nullable("integer", "int32"),
	"UInt32Value": nullable("integer", "uint32"),
	"Int64Value":  nullable("string", "int64"),
	"UInt64Value": nullable("string", "uint64"),
	"FloatValue":  nullable("number", "float"),
	"DoubleValue": nullable("number", "double"),
	"StringValue": nullable("string", ""),
	"BytesValue":  nullable("string", "byte"),
}

func nullable(name, format string) func(*builder) *object {
	return func(b *builder) *object {
		return b.object().set("type", []string{name, "null"}).set("format", format)
	}
}

// textual are those of them that can be a text in a query. There is no null.
var textual = map[string]func(*builder) *object{
	"Timestamp": wellKnown["Timestamp"], "Duration": wellKnown["Duration"], "FieldMask": wellKnown["FieldMask"],
	"BoolValue": text("boolean", ""), "StringValue": text("string", ""), "BytesValue": text("string", "byte"),
	"Int32Value": text("integer", "int32"), "UInt32Value": text("integer", "uint32"),
	"Int64Value": text("string", "int64"), "UInt64Value": text("string", "uint64"),
	"FloatValue": text("number", "float"), "DoubleValue": text("number", "double"),
}

func text(name, format string) func(*builder) *object {
	return func(b *builder) *object { return b.object().set("type", name).set("format", format) }
}

// isWellKnown tells whether the fields of a message are not its JSON form.
func isWellKnown(md protoreflect.MessageDescriptor) bool {
	return md.FullName().Parent() == "google.protobuf" && wellKnown[string(md.Name())] != nil
}

// wellKnownComponents are the schemas of errors, if no descriptor has them.
var wellKnownComponents = map[string]func(*builder) *object{
	"google.rpc.Status": func(b *builder) *object {
		return b.object().set("type", "object").set("description", "Why a call failed (google/rpc/status.proto).").
			set("properties", b.object().
				set("code", b.object().set("type", "integer").set("format", "int32").set("description", "A status code of gRPC, as 5 for NOT_FOUND.")).
				set("message", b.object().set("type", "string")).
				set("details", b.object().set("type", "array").set("items", wellKnown["Any"](b))))
	},
	"problem": func(b *builder) *object {
		member := func(name string) *object { return b.object().set("type", name) }
		return b.object().set("type", "object").set("description", "Why a call failed, as problem details (RFC 9457).").
			set("properties", b.object().set("type", member("string")).set("title", member("string")).set("status", member("integer")).
				set("detail", member("string")).set("instance", member("string")).
				set("code", member("integer").set("description", "A status code of gRPC, as 5 for NOT_FOUND.")).
				set("details", b.object().set("type", "array").set("items", wellKnown["Any"](b)))).set("additionalProperties", true)
	},
	"connect.Error": func(b *builder) *object {
		member := func(name string) *object { return b.object().set("type", name) }
		detail := b.object().set("type", "object").set("properties", b.object().set("type", member("string")).
			set("value", member("string").set("contentEncoding", "base64")).set("debug", b.object().set("description", "Any JSON value.")))
		return b.object().set("type", "object").set("description", "Why a call failed (https://connectrpc.com/docs/protocol/#error-end-stream).").
			set("properties", b.object().set("code", member("string").set("description", "A status code of gRPC, as `not_found`.")).
				set("message", member("string")).set("details", b.object().set("type", "array").set("items", detail)))
	},
}

// errorResponses are what operations answer when a call has failed before the first byte.
var errorResponses = map[string]func(*builder) *object{
	"Error": func(b *builder) *object { return b.failure("google.rpc.Status") },
	"GoogleError": func(b *builder) *object {
		body := b.object().set("type", "object").set("properties", b.object().set("error", b.object().set("$ref", "#/components/schemas/google.rpc.Status")))
		return b.object().set("description", "The call has failed.").set("content", b.object().set(typeJSON, b.object().set("schema", body)))
	},
	"NoContentError": func(b *builder) *object {
		return b.object().set("description", "The call has failed: the fields grpc-status and grpc-message say why.")
	},
	"ConnectError": func(b *builder) *object { return b.failure("connect.Error") },
}

func (b *builder) failure(schema string) *object {
	of := func(name string) *object {
		return b.object().set("schema", b.object().set("$ref", "#/components/schemas/"+name))
	}
	return b.object().set("description", "The call has failed.").
		set("content", b.object().set(typeJSON, of(schema)).set(typeProblem, of("problem")))
}
