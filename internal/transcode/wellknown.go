package transcode

import "google.golang.org/protobuf/reflect/protoreflect"

// wellKnown are the message types with a JSON form of their own.
type wellKnown uint8

const (
	notWellKnown wellKnown = iota
	wktAny
	wktTimestamp
	wktDuration
	wktWrapper
	wktStruct
	wktValue
	wktListValue
	wktFieldMask
	wktEmpty // like any message, but in an Any
)

// wellKnownTypes are those types with the fields that they must have. A schema comes
// from outside: a type that has only the name of one of them is an ordinary message.
var wellKnownTypes = map[protoreflect.FullName]struct {
	is     wellKnown
	fields []protoreflect.Kind // from number 1 on
}{
	"google.protobuf.Any":         {wktAny, []protoreflect.Kind{protoreflect.StringKind, protoreflect.BytesKind}},
	"google.protobuf.Timestamp":   {wktTimestamp, []protoreflect.Kind{protoreflect.Int64Kind, protoreflect.Int32Kind}},
	"google.protobuf.Duration":    {wktDuration, []protoreflect.Kind{protoreflect.Int64Kind, protoreflect.Int32Kind}},
	"google.protobuf.FieldMask":   {wktFieldMask, []protoreflect.Kind{protoreflect.StringKind}},
	"google.protobuf.BoolValue":   {wktWrapper, []protoreflect.Kind{protoreflect.BoolKind}},
	"google.protobuf.Int32Value":  {wktWrapper, []protoreflect.Kind{protoreflect.Int32Kind}},
	"google.protobuf.Int64Value":  {wktWrapper, []protoreflect.Kind{protoreflect.Int64Kind}},
	"google.protobuf.UInt32Value": {wktWrapper, []protoreflect.Kind{protoreflect.Uint32Kind}},
	"google.protobuf.UInt64Value": {wktWrapper, []protoreflect.Kind{protoreflect.Uint64Kind}},
	"google.protobuf.FloatValue":  {wktWrapper, []protoreflect.Kind{protoreflect.FloatKind}},
	"google.protobuf.DoubleValue": {wktWrapper, []protoreflect.Kind{protoreflect.DoubleKind}},
	"google.protobuf.StringValue": {wktWrapper, []protoreflect.Kind{protoreflect.StringKind}},
	"google.protobuf.BytesValue":  {wktWrapper, []protoreflect.Kind{protoreflect.BytesKind}},
	"google.protobuf.Struct":      {wktStruct, []protoreflect.Kind{protoreflect.MessageKind}},
	"google.protobuf.ListValue":   {wktListValue, []protoreflect.Kind{protoreflect.MessageKind}},
	"google.protobuf.Empty":       {wktEmpty, nil},
	"google.protobuf.Value": {wktValue, []protoreflect.Kind{protoreflect.EnumKind, protoreflect.DoubleKind,
		protoreflect.StringKind, protoreflect.BoolKind, protoreflect.MessageKind, protoreflect.MessageKind}},
}

func wellKnownOf(md protoreflect.MessageDescriptor) wellKnown {
	w, ok := wellKnownTypes[md.FullName()]
	if !ok || md.Fields().Len() != len(w.fields) || md.ExtensionRanges().Len() > 0 {
		return notWellKnown
	}
	for i, kind := range w.fields {
		fd := md.Fields().ByNumber(protoreflect.FieldNumber(i + 1))
		repeated := w.is == wktListValue || w.is == wktFieldMask
		if fd == nil || fd.Kind() != kind || fd.IsList() != repeated || fd.IsMap() != (w.is == wktStruct) {
			return notWellKnown
		}
		if fd.Cardinality() == protoreflect.Required || (w.is == wktValue) != (fd.ContainingOneof() != nil) {
			return notWellKnown
		}
	}
	switch w.is {
	case wktStruct: // map<string, Value>
		fd := md.Fields().ByNumber(1)
		if fd.MapKey().Kind() != protoreflect.StringKind || !isMessage(fd.MapValue(), "google.protobuf.Value") {
			return notWellKnown
		}
	case wktListValue:
		if !isMessage(md.Fields().ByNumber(1), "google.protobuf.Value") {
			return notWellKnown
		}
	case wktValue:
		if md.Oneofs().Len() != 1 || md.Fields().ByNumber(1).Enum().FullName() != "google.protobuf.NullValue" ||
			!isMessage(md.Fields().ByNumber(5), "google.protobuf.Struct") ||
			!isMessage(md.Fields().ByNumber(6), "google.protobuf.ListValue") {
			return notWellKnown
		}
	}
	return w.is
}

// isMessage tells whether a field is of the message type of this name.
func isMessage(fd protoreflect.FieldDescriptor, name protoreflect.FullName) bool {
	return fd.Message() != nil && fd.Message().FullName() == name
}
