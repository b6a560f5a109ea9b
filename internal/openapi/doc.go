// Package openapi describes services as an OpenAPI 3.1 document: what an HTTP client sees
// of them through the REST protocol, made of their descriptors and HTTP rules.
//
// The document is a function of what goes into it: the same descriptors, rules and
// options give the same bytes. It says what the REST protocol does:
//
//   - A rule is an operation. In its path each "*" is a parameter of its own: {name=shelves/*}
//     is /shelves/{shelf}, because a client encodes the slash in a parameter's value, and an
//     encoded slash separates nothing. Only "**" is a parameter that has slashes, for which
//     OpenAPI 3.1 has no word but a pattern. Where two paths would be the same, the later has
//     a fragment, which no client sends.
//   - Fields that are neither in the path nor in the body are query parameters, by dotted JSON
//     names, at most [maxQueryDepth] names deep, and no message within itself.
//   - A method without a rule is POST /package.Service/Method.
//   - Messages are schemas in JSON Schema 2020-12 that take what the JSON mapping of protobuf
//     writes, but for NaN and the infinities, which it writes as strings, and numbers of enums
//     that have no name.
//
// Descriptors come from backends, so what they make of the document is bounded.
package openapi
