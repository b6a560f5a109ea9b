// Package rpc holds the canonical form of a gRPC call inside the gateway: what a
// protocol makes of a client's bytes, what policies see, and what a backend is
// given. It is also the package that users import to write policies.
//
// # Shape
//
// A call is a head ([Call]) and two directions of gRPC length-prefixed message
// bytes (five bytes of prefix, then the message), ended by one [Status] with
// trailers. Bytes are pushed: the goroutine that read them from one socket
// carries them through every [Handler] into the send queue of the other side.
// Nothing in between blocks, starts a goroutine, or keeps what it was lent.
//
//	caller                          handler
//	  req := h.Start(call, resp) ──►
//	  req.Begin()                ──►  from here on resp may be used
//	  req.Data(b) … req.End()    ──►
//	                             ◄──  resp.Head(h), resp.Data(b) …, resp.End(st, trailer)
//	  req.Credit(n)              ──►  n response bytes were taken
//	                             ◄──  resp.Credit(n): n request bytes were taken
//	  req.Done(outcome)          ──►  exactly once, last
//
// # Order
//
// Begin, Data and End of a request come from one goroutine at a time, in order;
// so do Head, Data and End of a response. The two directions run side by side.
// Credit may come at any time from any goroutine: it adds to a counter and marks,
// and never calls back. Cancel may run beside Data and may come more than once;
// the first one counts. No lock may be held across a call into another handler.
//
// # End
//
// Only the terminal handler (a backend, or whoever answers itself) produces
// response events. A policy that wants to end a call calls Cancel with a status;
// the terminal turns it into exactly one End, on the caller's goroutine or on
// that of whoever is delivering a response event at that moment. Every call gets
// exactly one End and then exactly one Done. After Done nothing of the call is
// touched any more.
//
// # Credit
//
// Credit counts bytes of the interface it is called on. Each direction starts
// with [WindowDefault] bytes; a producer has at most its window outstanding.
package rpc
