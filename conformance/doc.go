// Package conformance holds the outside judges: its tests put the sluice command between
// clients and servers of others, and count what passes.
//
//	TestConnect   the Connect conformance suite, with its reference server and with grpc-go's
//	TestInterop   grpc-go's interop client and server
//	TestH2spec    h2spec, with and without TLS
//	TestFloods    hostile clients and backends; what they cost is in docs/floods.md
//	TestHonest    the reverse: a fast client that is not to be punished
//	TestWeb       clients of browsers, in Node and in Chromium
//	TestGRPCWebProxy  clients of grpcwebproxy, with the command that stands in for it
//	TestRESTWeb   streams over REST: EventSource and fetch, in Node, Chromium and Firefox
//	TestRESTGone  clients that go away in the middle of a stream
//	TestRESTSlow  clients that don't read, and servers: what the gateway keeps
//	TestCaller    the Connect conformance suite, with the Go client, over each carrier
//	TestCallerWeb the same with the client for browsers, in Node, Chromium and Firefox
//	TestMatrix    every kind of call over every carrier in every situation, with the Go client
//	TestMatrixWeb the same in Chromium and Firefox, with the client for browsers
//	TestChaos     messages while their connections are cut, with the Go client
//	TestChaosWeb  the same in Chromium and Firefox, with the client for browsers
//	TestNginx     streams through nginx as it is by default
//	TestProxies   the matrix through nginx and HAProxy, in five ways to set them up
//	TestProxiesWeb  the same for Chromium, with the carrier that the client for browsers chooses
//	TestTwoGatewaysWeb  sessions of Chromium with two gateways behind HAProxy
//	TestHole      UDP that nothing answers, where WebTransport is announced
//	TestParallel  100 calls of a page, and its connections
//	TestHidden    pages that sleep, or that nobody looks at
//	TestHeap      a page that calls for an hour
//	TestOrigins   pages of foreign origins, over every carrier
//	TestThieves   tickets that were forged, stolen or kept, over every kind of carrier
//	TestFirstCall docs/browser.md from an empty folder, by its own lines, in Chromium
//	TestPages     the lines with curl that the pages show
//	TestExamples  the programs to copy, started as their pages say, in Chromium
//	TestPublic    a public server with google.api.http annotations, grpc-gateway's example
//
// The directory routes has judges of its own, for what needs no running command. The
// directory internal/attack has the floods, internal/feed a server that streams as it is
// asked to, web the clients of browsers. Everything that is run is pinned in go.mod (as
// tools) or in web/package-lock.json. SLUICE names the command to test; without it the one
// of this repository is built.
package conformance
