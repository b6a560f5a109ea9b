package client

import (
	"context"
	"fmt"
	"math"
	"strings"

	"github.com/sluice-rpc/sluice/internal/wire/duplex"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // the codec that calls have by default
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// Resumable says whether a call can be resumed, instead of [Config.Resume].
func Resumable(yes bool) grpc.CallOption { return resumable{yes: yes} }

type resumable struct {
	grpc.EmptyCallOption
	yes bool
}

// options are the call options that mean something here.
type options struct {
	resume      *bool
	lossy       *lossy
	failFast    bool
	maxReceive  int
	maxSend     int
	subtype     string
	codec       encoding.CodecV2
	compressor  string
	credentials []credentials.PerRPCCredentials
	headers     []*metadata.MD
	trailers    []*metadata.MD
	peers       []*peer.Peer
	finished    []func(error)
}

func (c *Client) options(list []grpc.CallOption) (*options, error) {
	o := &options{failFast: true, maxReceive: c.cfg.MaxReceive, maxSend: c.cfg.MaxSend}
	if c.cfg.Credentials != nil {
		o.credentials = append(o.credentials, c.cfg.Credentials)
	}
	for _, option := range list {
		switch v := option.(type) {
		case resumable:
			o.resume = &v.yes
		case lossyOption:
			o.lossy = &lossy{late: v.late, order: duplex.Order{Late: v.late}}
		case grpc.HeaderCallOption:
			o.headers = append(o.headers, v.HeaderAddr)
		case grpc.TrailerCallOption:
			o.trailers = append(o.trailers, v.TrailerAddr)
		case grpc.PeerCallOption:
			o.peers = append(o.peers, v.PeerAddr)
		case grpc.FailFastCallOption:
			o.failFast = v.FailFast
		case grpc.OnFinishCallOption:
			o.finished = append(o.finished, v.OnFinish)
		case grpc.MaxRecvMsgSizeCallOption:
			o.maxReceive = v.MaxRecvMsgSize
		case grpc.MaxSendMsgSizeCallOption:
			o.maxSend = v.MaxSendMsgSize
		case grpc.PerRPCCredsCallOption:
			o.credentials = append(o.credentials, v.Creds)
		case grpc.CompressorCallOption:
			o.compressor = v.CompressorType
		case grpc.ContentSubtypeCallOption:
			o.subtype = v.ContentSubtype
		case grpc.ForceCodecCallOption:
			o.codec = codecV1{v.Codec}
		case grpc.ForceCodecV2CallOption:
			o.codec = v.CodecV2
		case grpc.EmptyCallOption, grpc.StaticMethodCallOption:
		case grpc.AuthorityOverrideCallOption:
			return nil, status.Error(codes.InvalidArgument, "client: the authority of a call is that of its connection: grpc.CallAuthority can't be had")
		default:
			// Options of others are EmptyCallOption in a coat, which mean nothing here.
		}
	}
	o.maxReceive, o.maxSend = limit(o.maxReceive), limit(o.maxSend)
	if o.codec == nil {
		name := or(o.subtype, "proto")
		if o.codec = encoding.GetCodecV2(name); o.codec == nil {
			old := encoding.GetCodec(name)
			if old == nil {
				return nil, status.Errorf(codes.Internal, "no codec is registered for the content subtype %q", name)
			}
			o.codec = codecV1{old}
		}
	}
	o.subtype = or(o.subtype, strings.ToLower(o.codec.Name()))
	if o.compressor == encoding.Identity {
		o.compressor = ""
	}
	if o.compressor != "" && encoding.GetCompressor(o.compressor) == nil {
		return nil, status.Errorf(codes.Internal, "no compressor is registered for grpc-encoding %q", o.compressor)
	}
	return o, nil
}

func limit(n int) int {
	if n < 0 || n > math.MaxInt32 {
		return math.MaxInt32
	}
	return n
}

// authorize asks credentials.
func (c *Client) authorize(ctx context.Context, list []credentials.PerRPCCredentials, method string) (metadata.MD, error) {
	md := metadata.MD{}
	service, _, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	for _, creds := range list {
		if creds.RequireTransportSecurity() && c.target.URL.Scheme != "https" {
			return nil, status.Error(codes.Unauthenticated, "credentials that need TLS are not sent without it")
		}
		got, err := creds.GetRequestMetadata(ctx, fmt.Sprintf("https://%s/%s", c.target.URL.Host, service))
		if err != nil {
			if st, ok := status.FromError(err); ok {
				return nil, st.Err()
			}
			return nil, status.Errorf(codes.Unauthenticated, "credentials: %v", err)
		}
		for name, value := range got {
			md.Append(name, value)
		}
	}
	return md, nil
}
