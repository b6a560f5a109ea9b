package http3

import (
	"time"

	"github.com/quic-go/quic-go"

	"github.com/sluice-rpc/sluice/rpc"
)

const (
	// streamWindow is what a client may send on a stream that nobody reads, at first;
	// maxStreamWindow what becomes of it where a stream is read fast.
	streamWindow    = rpc.WindowDefault
	maxStreamWindow = 4 * streamWindow

	// spareStreams are for sessions, and for what is opened and not yet known to be over: a
	// call ends before its stream does.
	spareStreams = 16

	// keepAlive is for browsers that don't do it (Chromium), lost is when a connection on
	// which nothing comes is given up.
	keepAlive = 15 * time.Second
	lost      = 30 * time.Second

	// uniStreams are those of HTTP/3: control, and two of QPACK. There are no others, but a
	// few that are stopped.
	uniStreams = 8
)

// maxStreams is how many streams a client may have open.
func maxStreams(calls int) int64 { return 2*int64(calls) + spareStreams }

// quicConfig makes each window of a connection large enough for those of all its streams.
func quicConfig(cfg *Config) *quic.Config {
	streams := maxStreams(cfg.MaxStreams)
	window := uint64(streams) * maxStreamWindow // a promise; what is kept is bounded by the streams' own
	return &quic.Config{
		HandshakeIdleTimeout: cfg.Handshake / 2, // quic-go gives up after twice as long
		MaxIdleTimeout:       lost, KeepAlivePeriod: keepAlive,
		MaxIncomingStreams: streams, MaxIncomingUniStreams: uniStreams,
		InitialStreamReceiveWindow: streamWindow, MaxStreamReceiveWindow: maxStreamWindow,
		InitialConnectionReceiveWindow: window, MaxConnectionReceiveWindow: window,
		EnableDatagrams: true, EnableStreamResetPartialDelivery: true,
		Allow0RTT: false, // early data can be sent again by anybody, and a call is not idempotent
	}
}
