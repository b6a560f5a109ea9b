package rest

import (
	"math"
	"strconv"
	"strings"
	"sync"

	"github.com/sluice-rpc/sluice/internal/transcode"
	"github.com/sluice-rpc/sluice/internal/wire/sse"
	"github.com/sluice-rpc/sluice/rpc"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
)

// eventFields say what stands in an event beside its data.
type eventFields struct {
	name      string // of all events
	nameField []protoreflect.FieldDescriptor
	idField   []protoreflect.FieldDescriptor
	retry     int    // in milliseconds, as the backend says
	told      bool   // retry is written
	number    uint64 // of the last event
	numbers   bool   // are ids
}

// read takes what the backend says in its response metadata.
func (e *eventFields) read(md rpc.Metadata, out *transcode.Message) {
	for i := range md {
		v := md[i].Value
		switch md[i].Key {
		case keyEvent:
			e.name = v
		case keyEventField:
			e.nameField = fieldPath(out.Descriptor(), v)
		case keyIDField:
			e.idField = fieldPath(out.Descriptor(), v)
		case keyRetry:
			if n, err := strconv.Atoi(v); err == nil && n > 0 {
				e.retry = n
			}
		}
	}
}

// of returns the id and the name of the event of a message.
func (e *eventFields) of(message []byte) (id, name string) {
	e.number++
	name = e.name
	if e.nameField != nil {
		name = fieldText(message, e.nameField)
	}
	if e.idField != nil {
		return fieldText(message, e.idField), name
	}
	if !e.numbers {
		return "", name
	}
	return strconv.FormatUint(e.number, 10), name
}

// again appends what has an EventSource come back after a failure.
func (w *writer) again(b []byte) []byte { return sse.AppendRetry(b, w.style.Events.Retry) }

// fieldPath finds the fields of a dotted path that ends at a scalar, or nil.
func fieldPath(md protoreflect.MessageDescriptor, path string) (fields []protoreflect.FieldDescriptor) {
	for name := range strings.SplitSeq(path, ".") {
		if md == nil {
			return nil
		}
		fd := md.Fields().ByTextName(name)
		if fd == nil {
			fd = md.Fields().ByJSONName(name)
		}
		if fd == nil || fd.IsList() || fd.IsMap() {
			return nil
		}
		fields = append(fields, fd)
		md = fd.Message()
	}
	if md != nil {
		return nil
	}
	return fields
}

// fieldText returns the value of a scalar as text; a field that is not there is "".
func fieldText(message []byte, path []protoreflect.FieldDescriptor) string {
	fd := path[0]
	text := ""
	for num, v := range wireFields(message) {
		if num != fd.Number() {
			continue
		}
		if len(path) == 1 {
			text = scalarText(v, fd)
		} else if inner, ok := v.bytes(); ok {
			if s := fieldText(inner, path[1:]); s != "" {
				text = s
			}
		}
	}
	return text
}

func scalarText(value wireValue, fd protoreflect.FieldDescriptor) string {
	switch value.typ {
	case protowire.BytesType:
		b, _ := value.bytes()
		return string(b)
	case protowire.VarintType:
		v, _ := protowire.ConsumeVarint(value.b)
		switch fd.Kind() {
		case protoreflect.BoolKind:
			return strconv.FormatBool(v != 0)
		case protoreflect.EnumKind:
			if e := fd.Enum().Values().ByNumber(protoreflect.EnumNumber(int32(v))); e != nil {
				return string(e.Name())
			}
			return strconv.FormatInt(int64(int32(v)), 10)
		case protoreflect.Int32Kind:
			return strconv.FormatInt(int64(int32(v)), 10)
		case protoreflect.Int64Kind:
			return strconv.FormatInt(int64(v), 10)
		case protoreflect.Sint32Kind, protoreflect.Sint64Kind:
			return strconv.FormatInt(protowire.DecodeZigZag(v), 10)
		}
		return strconv.FormatUint(v, 10)
	case protowire.Fixed32Type:
		v, _ := protowire.ConsumeFixed32(value.b)
		switch fd.Kind() {
		case protoreflect.FloatKind:
			return strconv.FormatFloat(float64(math.Float32frombits(v)), 'g', -1, 32)
		case protoreflect.Sfixed32Kind:
			return strconv.FormatInt(int64(int32(v)), 10)
		}
		return strconv.FormatUint(uint64(v), 10)
	case protowire.Fixed64Type:
		v, _ := protowire.ConsumeFixed64(value.b)
		switch fd.Kind() {
		case protoreflect.DoubleKind:
			return strconv.FormatFloat(math.Float64frombits(v), 'g', -1, 64)
		case protoreflect.Sfixed64Kind:
			return strconv.FormatInt(int64(v), 10)
		}
		return strconv.FormatUint(v, 10)
	}
	return ""
}

var anyDescriptor = (*anypb.Any)(nil).ProtoReflect().Descriptor()

// anyJSON writes a detail of a status. Google's own details are known even where the
// backend does not describe them: its messages need not, since they don't import them.
func (b *binding) anyJSON(dst, any []byte) ([]byte, error) {
	o := b.style.JSON
	o.MaxOutput, o.Indent = maxDetail, ""
	out, err := b.types.Message(anyDescriptor).AppendJSON(dst, any, &o)
	if err != nil {
		return errorDetails().Message(anyDescriptor).AppendJSON(dst, any, &o)
	}
	return out, nil
}

// errorDetails are the plans of google/rpc/error_details.proto.
var errorDetails = sync.OnceValue(func() *transcode.Types {
	files := &protoregistry.Files{}
	for _, fd := range []protoreflect.FileDescriptor{durationpb.File_google_protobuf_duration_proto, errdetails.File_google_rpc_error_details_proto} {
		if err := files.RegisterFile(fd); err != nil {
			panic(err) // of two files that are linked
		}
	}
	return transcode.NewTypes(files)
})

// maxDetail bounds the JSON of one detail of a status.
const maxDetail = 64 << 10
