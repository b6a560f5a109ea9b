// Package backend is the end of the pipeline: it gives each call to a connection of
// one of the endpoints of a gRPC server.
//
// # Shape
//
//	rpc.Call ─► Router ─► Backend ─ pick ─► conn.client (gRPC, client half)
//	                         │                   │ exchange
//	                         │                 retry ─► Conn (HTTP/2)
//	                       queue: rpc.Hold, and retries that wait
//
// A [Backend] has endpoints (one address, or all addresses of a DNS name), an
// endpoint has connections. A call that finds a ready connection costs one atomic
// load of an immutable snapshot and a few counters; it takes no lock that calls
// share. Everything else is slow path: one goroutine a Backend, run, owns the state
// of endpoints and connections, and gets what happens as events in an inbox.
//
// # Waiting and failing
//
// A call waits, in an [rpc.Hold], while no connection is ready: up to its deadline,
// or [Config.ReadyTimeout] if it has none. But a backend that is down is said to be
// down: when no endpoint has been ready for [Config.Grace] and the last attempt of
// every one of them has failed, calls that wait and new ones fail at once with
// UNAVAILABLE and the reason, until an endpoint is ready again. So a restart that
// takes a second is not seen by clients, and a wrong address is seen at once.
// [Config.WaitForReady] turns the failing off.
//
// # Retry
//
// A call that a backend refused unprocessed is replayed elsewhere; see the type
// retry. A connection gets calls only after its SETTINGS have come, so a connection
// that was never ready has none to lose.
package backend
