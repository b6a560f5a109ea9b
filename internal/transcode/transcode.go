package transcode

import (
	"errors"
	"fmt"
)

// MaxDepth is how deep messages may be nested in each other, in both directions, each
// value in a Struct or ListValue being one; protobuf's own parsers have the same limit.
const MaxDepth = 100

// EncodeOptions say how JSON is written. The zero value writes what protojson writes
// by default, without its random spaces.
type EncodeOptions struct {
	// EmitDefaults also writes fields that are not set and have no presence, with
	// their default, as protojson's EmitDefaultValues.
	EmitDefaults bool
	// EmitUnpopulated writes null too, for messages and optional fields that are not
	// set, as protojson's option of this name. It implies EmitDefaults.
	EmitUnpopulated bool
	ProtoNames      bool   // lower_snake_case names, as in the .proto file
	EnumNumbers     bool   // numbers for enums instead of names
	Indent          string // of each level, on lines of their own; "" is one line without spaces
	// Deterministic writes fields in the order of the descriptor and maps by key, so
	// that equal messages are equal JSON. Else fields come as they are on the wire.
	Deterministic bool
	// MaxOutput is how many bytes may be appended; 0 is no limit.
	MaxOutput int
}

// DecodeOptions say how JSON is read.
type DecodeOptions struct {
	DiscardUnknown bool // fields and enum names that no descriptor knows are ignored, else an error
	MaxOutput      int  // how many bytes may be appended; 0 is no limit
}

// ErrTooLarge is within the error for output over MaxOutput.
var ErrTooLarge = errors.New("output is larger than the limit")

// A JSONError says where JSON input is wrong.
type JSONError struct {
	Offset int    // in bytes from the beginning of the input
	Field  string // the path of the field, "a.b[2].c", or ""
	Reason string
}

// Error implements error.
func (e *JSONError) Error() string {
	if e.Field == "" {
		return fmt.Sprintf("JSON, byte %d: %s", e.Offset, e.Reason)
	}
	return fmt.Sprintf("JSON, byte %d, field %s: %s", e.Offset, e.Field, e.Reason)
}

// A WireError says where protobuf input is wrong.
type WireError struct {
	Message string // the full name of the message type
	Field   string // the field's name, or ""
	Reason  string
}

// Error implements error.
func (e *WireError) Error() string {
	if e.Field == "" {
		return fmt.Sprintf("protobuf message %s: %s", e.Message, e.Reason)
	}
	return fmt.Sprintf("protobuf message %s, field %s: %s", e.Message, e.Field, e.Reason)
}
