// Package client makes gRPC calls through a Sluice gateway over whatever the network lets
// through, and its calls outlive the connection that carries them.
//
//	c, err := client.New("https://gateway.example.com", client.Config{})
//	…
//	defer c.Close()
//	chat, err := demo.NewChatClient(c).Talk(ctx)
//
// A [Client] is a [grpc.ClientConnInterface], so the clients that protoc-gen-go-grpc makes
// work with it unchanged, in all four kinds of calls. What is spoken is the duplex protocol
// (docs/protocols/duplex.md) on a [Carrier]. The carriers of [Config] are tried in their order.
//
// # Calls that outlive a connection
//
// When a connection breaks, its calls that can be resumed wait, and go on over the next one,
// of whatever carrier: no message is lost, doubled or out of order, and the server behind the
// gateway does not notice. By default these are the calls that stream ([ResumeStreams]). A call
// that can't be resumed, or waited too long, ends with UNAVAILABLE, with a google.rpc.ErrorInfo
// of the domain "sluice-rpc" that says why.
//
// # Goroutines
//
// A connection has one goroutine that reads and one that writes. A call has none: its methods
// work on its state under the lock of the client, and wait there. On a carrier where a call
// has a pipe of its own (WebTransport) these two goroutines are the call's.
package client
