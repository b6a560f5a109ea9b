// Package route finds the rule that a request's path belongs to, among templates in the
// grammar of google/api/http.proto:
//
//	Template  = "/" Segments [ ":" Verb ]
//	Segments  = Segment { "/" Segment }
//	Segment   = "*" | "**" | Literal | Variable
//	Variable  = "{" FieldPath [ "=" Segments ] "}"
//	FieldPath = Name { "." Name }
//
// "*" is one segment that is not empty. "**" is what is left of the path, also nothing
// at all, and stands at the end. A Variable without Segments is "*". A Literal is what
// RFC 3986, section 3.3, lets stand in a segment, and percent-encoding stands for what
// it encodes. "/" alone, which the grammar lacks, is the path "/".
//
// A [Table] matches the path as it was sent, cut at its slashes before anything is
// decoded, so "%2F" separates nothing and nothing is cleaned: "/a/" is not "/a", and
// "//" has an empty segment. Where several templates fit,
//
//   - one with a custom verb goes before those without: "/v1/a:b" is "/v1/{x}:b" if that
//     is there, and else "/v1/{x}" with "a:b" (as Google's own transcoder does it);
//   - then, segment by segment from the left, a literal goes before "*", "*" before
//     "**", and the end of the template before "**";
//   - then the HTTP verb itself goes before "*", which is any.
//
// The order in which templates were added never counts. A template that has no route
// for the request's verb does not hide one that has.
//
// What a variable captures is percent-decoded. A variable of one segment is decoded
// whole. One of several ("{name=a/*}", "{x=**}") keeps the reserved characters of RFC
// 6570 encoded, as they were written: a "%2F" in it is not a slash of its own.
//
// A match visits each node of the tree of templates at most once, whatever the path, so
// the worst a client can choose costs as much as the templates are large, and no more;
// what matches in practice costs as much as the template has segments.
package route
