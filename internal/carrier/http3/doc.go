// Package http3 is the carrier for HTTP/3: requests become exchanges, and the streams of
// WebTransport sessions become pipes (docs/protocols/webtransport.md). It is the only
// package that knows quic-go and webtransport-go.
//
// Both libraries block, so this is one of the edges that bring goroutines: package blocking
// has them. QUIC's own are those of the libraries.
//
// # Windows
//
// All streams of a QUIC connection share its window, so streams that nobody reads could stop
// the others. A request is read as credit allows; its stream's window is small, and as many
// windows as there may be streams fit into that of the connection. Pipes are always read,
// and held back by the frames on them.
//
// # Connections that are not yet
//
// What comes before the end of a handshake has an address that anybody may have written.
// With few handshakes at a time each is taken; above [retryAbove] an address has to be
// proved first, which costs its client a round trip and us nothing (RFC 9000, section 8.1.2);
// then an address has at most [maxPerAddr] at a time, and all have [maxHandshakes].
package http3
