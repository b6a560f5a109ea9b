// Package websocket is the carrier that makes exchanges of WebSockets. It rides on the
// carriers below it: a WebSocket is an exchange of theirs, whose Data are frames
// (package exchange, "WebSockets"). What is spoken on it goes by its subprotocol:
//
//   - sluice.v1 is a pipe ([exchange.PipeMux]): its bytes are those of the binary messages,
//     one after the other (docs/protocols/websocket.md); sluice.raw is one for applications, with credit
//     and half-close beside it;
//   - grpc-websockets is one call of gRPC-Web, and grpc-websockets-multiplex are many
//     (docs/protocols/grpc-websockets.md).
//
// Calls come out as exchanges of gRPC-Web, so there is no gRPC here.
//
// A socket is what is the same for all of them: frames, pings, Close, credit, and when
// it is over. A session is what is spoken on it; a stream is one exchange of the other
// side. Frames of the client come on one goroutine at a time. What is sent has several
// sources, streams, pings and timers; they append under the lock of the socket, and one
// of them at a time takes it to the carrier, outside of the lock. Nobody else is called
// with that lock either.
package websocket
