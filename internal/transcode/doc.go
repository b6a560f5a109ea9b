// Package transcode turns protobuf messages into JSON and back, as protojson maps them
// (https://protobuf.dev/programming-guides/json), straight between bytes: what a
// descriptor says of a message is compiled once into a plan, and one walk over the
// input appends the output. There is no message object in between.
//
// [Types] holds the plans of one schema. A plan is a [Message]; [Message.AppendJSON]
// and [Message.AppendWire] are the two directions. A [Path] is a field in it, reached
// by names with dots, for values that are not in the message's own JSON: those of a
// URL's path and query, and bodies that are one field.
//
// What one walk cannot do, because the parts of a field are scattered over the input or
// because it holds a field twice, goes a second way over the same bytes, with an index
// of the occurrences. Peers choose their input, so both ways have the same bounds:
// [MaxDepth] levels of nesting, and memory that is the input, the output and a part
// that grows with the depth only; and, while a map is read from JSON, a few bytes for
// each of its keys, so that none is there twice. The index that a message needs whose
// fields are scattered on the wire, or a large map, is at most four times that wire.
//
// All methods may be called by any number of goroutines at once. They keep nothing of
// their input.
package transcode
