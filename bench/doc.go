// Command bench compares Sluice with other proxies: it starts one grpc-go echo server,
// and each proxy in front of it, sends the same load through one after the other in
// alternating rounds, and prints what each round cost.
//
// CPU time is the kernel's count for the process (all its threads, and children),
// between the start and the end of a measured window, divided by the calls that were
// answered in it. It does not depend on how busy the other processes of the machine
// are, as throughput and latency do; those are printed too, but are to be read with
// the machine in mind: load, proxy and server share its cores.
//
// A ratio is Sluice's figure divided by the other's in the same round; of the ratios
// of all rounds the least, the median and the greatest are printed.
//
//	go run . -quick                       Sluice and HAProxy, unary calls, half a minute
//	go run . -rows unary-8x16 -peers sluice,nginx -rounds 9
//	go run .                              everything, as in docs/benchmarks.md
//
// The binary is also the echo server and some of the proxies: "bench serve-echo".
package main
