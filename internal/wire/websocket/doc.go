// Package websocket holds the WebSocket protocol (RFC 6455), its bootstrapping over
// HTTP/2 (RFC 8441) and its compression (permessage-deflate, RFC 7692) as functions on
// bytes and fields. It does no I/O, and knows no time.
//
// [Server] answers an opening handshake. A [Decoder] is fed with what a peer sends, in
// pieces of any size, and calls [Events]; an [Encoder] appends frames to a slice. Both
// serve both roles. They don't know each other: who drives them answers a Ping with a
// Pong, a Close with a Close, and an error of the Decoder with a Close of its code.
// [Keepalive] and [Pongs] look after the peer for it.
//
// What a peer can make a Decoder keep is bounded: a part of a message up to MaxMessage
// where whole messages are wanted or the message is compressed, and between messages
// nothing, or, if context takeover was agreed upon, a window. Compressors and
// decompressors are large; they are shared by all connections, and none of them is kept
// between two calls.
package websocket
