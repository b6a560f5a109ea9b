// Package blocking is the one bridge between events that are pushed and libraries
// that block. It has two sides:
//
//   - [ServeHTTP] makes an exchange of a request that net/http serves: HTTP/1.1 by
//     the gateway's own listener, and whatever HTTP a user's own server speaks.
//   - [Handler] makes an exchange.Handler of an http.Handler, such as a *grpc.Server
//     in the same process.
//
// Elsewhere a call has no goroutine. Here it has: ServeHTTP is called on one, and adds
// a second only while a request is still being read when its response begins; Handler
// runs each exchange on one. Both are waited for before the exchange is over. A WebSocket
// over HTTP/1.1 has two goroutines while it is open: net/http's connection is hijacked,
// one reads it and the other writes.
//
// Neither side ever blocks who pushes. What comes is queued, and bounded by credit: a
// pusher has at most its window of 64 KiB outstanding, and credit is given when the
// library has taken the bytes. Events that leave here are bracketed with netio.Work,
// so that a batch of them is one flush of the HTTP/2 engine, and nothing blocks
// inside of the bracket.
//
// # What is weaker than on the gateway's own HTTP/2
//
//   - The last bytes of a response leave when ServeHTTP returns, so Done comes
//     just before them and "delivered" means that nothing had failed until then.
//   - net/http shows no half-closed TCP connections: a client that shuts its sending
//     side down after the request counts as gone.
//   - A reset has no code: after the head the connection or stream is aborted, before
//     it the client gets 502.
//   - While a request waits for credit nothing is read, so that its client is gone is
//     seen when credit comes, or when the response is written.
//   - Middleware whose ResponseWriter has no Unwrap takes full duplex from HTTP/1.1: the
//     response begins when the request has ended.
//   - Middleware whose ResponseWriter has neither Hijack nor Unwrap takes WebSockets from
//     HTTP/1.1: their handshake is then passed on as an ordinary GET. A hijacked
//     connection is not known to its http.Server any more.
//   - *grpc.Server reads a request as fast as it comes into a queue of its own when it
//     serves as an http.Handler; its credit does not bound what it keeps.
package blocking
