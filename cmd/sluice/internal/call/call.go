// Package call is sluice call: one call through a gateway over whatever carrier, JSON in and
// JSON out, one message after the other as they come.
package call

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	_ "google.golang.org/grpc/encoding/gzip" // --compress, and what servers send
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/sluice-rpc/sluice/client"
	"github.com/sluice-rpc/sluice/client/http3"
	"github.com/sluice-rpc/sluice/client/webtransport"
)

// Options are what the command line says.
type Options struct {
	URL     string
	Method  string // as pkg.Service/Method; none lists the methods
	Over    []string
	Headers []string // "name: value"
	Sets    [][]byte // serialized descriptor sets; none asks by reflection
	Data    string   // messages; none reads Input
	Input   io.Reader
	Person  bool // sits at Input, who is not waited for by a method that takes one message
	Config  client.Config

	Timeout    time.Duration
	Compress   string
	Resume     string
	Lossy      bool
	Verbose    bool // print metadata
	ShowFrames bool
	CutEvery   time.Duration

	Out, Err io.Writer
}

// Carriers by the names of --over.
func Carriers() []client.Carrier {
	return []client.Carrier{
		client.WebSocket{}, client.WebSocket{HTTP2: true}, webtransport.Carrier{}, http3.Carrier{},
		client.Duplex{}, client.Duplex{Stream: true}, client.Duplex{Poll: true},
	}
}

// Names are those of carriers.
func Names() (names []string) {
	for _, c := range Carriers() {
		names = append(names, c.Name())
	}
	return names
}

// A Failed is a call that ended with another status than OK. It was printed.
type Failed struct{ Code codes.Code }

func (f Failed) Error() string { return "the call failed with " + f.Code.String() }

// A Usage is a mistake in what was asked for.
type Usage struct{ error }

func (u Usage) Unwrap() error { return u.error }

func usagef(format string, args ...any) error { return Usage{fmt.Errorf(format, args...)} }

// Run makes the call.
func Run(ctx context.Context, o Options) error {
	cfg, md, err := o.config()
	if err != nil {
		return err
	}
	var out lines
	out.w = o.Err
	if o.ShowFrames {
		cfg.Trace = func(f client.Frame) { out.print(f.String()) }
	}
	c, err := client.New(o.URL, cfg)
	if err != nil {
		return Usage{errors.New(strings.TrimPrefix(err.Error(), "client: "))}
	}
	defer c.Close() //nolint:errcheck // it only ends
	if o.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.Timeout)
		defer cancel()
	}
	ctx = metadata.NewOutgoingContext(ctx, md)
	src, err := newSource(c, o.Sets)
	if err != nil {
		return err
	}
	defer src.close()
	if o.Method == "" {
		return src.list(ctx, o.Out)
	}
	m, err := src.method(ctx, o.Method)
	if err != nil {
		return err
	}
	src.close()
	if o.CutEvery > 0 {
		stop := make(chan struct{})
		var cutting sync.WaitGroup
		cutting.Add(1)
		go func() { // ends with the call
			defer cutting.Done()
			cut(c, o.CutEvery, stop)
		}()
		defer cutting.Wait()
		defer close(stop)
	}
	return o.call(ctx, c, m, &types{src.resolver()})
}

func (o *Options) config() (cfg client.Config, md metadata.MD, err error) {
	cfg = o.Config
	for _, name := range o.Over {
		i := slices.IndexFunc(Carriers(), func(c client.Carrier) bool { return c.Name() == name })
		if i < 0 {
			return cfg, nil, usagef("there is no carrier %q: there are %s", name, strings.Join(Names(), ", "))
		}
		cfg.Carriers = append(cfg.Carriers, Carriers()[i])
	}
	switch o.Resume {
	case "streams", "":
	case "all":
		cfg.Resume = client.ResumeAll
	case "none":
		cfg.Resume = client.ResumeNone
	default:
		return cfg, nil, usagef("--resume is streams, all or none, not %q", o.Resume)
	}
	if o.CutEvery > 0 {
		if o.Resume == "" {
			cfg.Resume = client.ResumeAll
		}
		cfg.Alternate = true
	}
	md = metadata.MD{}
	for _, h := range o.Headers {
		name, value, ok := strings.Cut(h, ":")
		if name = strings.ToLower(strings.TrimSpace(name)); !ok || name == "" {
			return cfg, nil, usagef("-H %q: write it as 'name: value'", h)
		}
		md.Append(name, strings.TrimSpace(value))
	}
	if err := decodeBinary(md); err != nil {
		return cfg, nil, err
	}
	return cfg, md, nil
}

// cut breaks the connections every now and then.
func cut(c *client.Client, every time.Duration, stop chan struct{}) {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			c.Cut()
		case <-stop:
			return
		}
	}
}

// lines prints whole lines from several goroutines.
type lines struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lines) print(s string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintln(l.w, s)
}

// call sends what comes in, and prints what comes back.
func (o *Options) call(ctx context.Context, c *client.Client, m protoreflect.MethodDescriptor, t *types) error {
	desc := &grpc.StreamDesc{ClientStreams: m.IsStreamingClient(), ServerStreams: m.IsStreamingServer()}
	var opts []grpc.CallOption
	if o.Compress != "" {
		opts = append(opts, grpc.UseCompressor(o.Compress))
	}
	if o.Lossy {
		opts = append(opts, client.Lossy(false))
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	in := &input{dec: json.NewDecoder(o.source()), m: m.Input(), types: t, single: !desc.ClientStreams}
	var first *dynamicpb.Message
	if in.single {
		// A mistake in it is told before there is a call.
		var err error
		first = dynamicpb.NewMessage(m.Input())
		if o.Data != "" || !o.Person {
			if first, err = in.next(); errors.Is(err, io.EOF) {
				first = dynamicpb.NewMessage(m.Input())
			} else if err != nil {
				return err
			}
		}
	}
	s, err := c.NewStream(ctx, desc, "/"+string(m.Parent().FullName())+"/"+string(m.Name()), opts...)
	if err != nil {
		return o.failed(err, t)
	}
	sent := make(chan error, 1)
	go func() { // ends with the input; if that waits for a person, with the program
		err := in.send(s, first)
		if err != nil {
			cancel()
		}
		sent <- err
	}()
	if o.Verbose {
		header, err := s.Header()
		if err == nil {
			o.metadata("header", header)
		}
	}
	for {
		reply := dynamicpb.NewMessage(m.Output())
		if err = s.RecvMsg(reply); err != nil {
			break
		}
		if err := o.print(reply, t); err != nil {
			return err
		}
		if !desc.ServerStreams {
			err = s.RecvMsg(dynamicpb.NewMessage(m.Output()))
			break
		}
	}
	if o.Verbose {
		o.metadata("trailer", s.Trailer())
	}
	select {
	case bad := <-sent:
		if bad != nil { // the input was wrong, and the call was canceled for it
			return bad
		}
	default:
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return o.failed(err, t)
}

func (o *Options) source() io.Reader {
	if o.Data != "" {
		return strings.NewReader(o.Data)
	}
	return o.Input
}

// print writes a message on one line.
func (o *Options) print(m *dynamicpb.Message, t *types) error {
	b, err := protojson.MarshalOptions{Resolver: t}.Marshal(m)
	if err != nil {
		return fmt.Errorf("write a message as JSON: %w", err)
	}
	var line bytes.Buffer
	if err := json.Compact(&line, b); err != nil { // protojson puts spaces in at random
		return err
	}
	line.WriteByte('\n')
	_, err = o.Out.Write(line.Bytes())
	return err
}

func (o *Options) metadata(what string, md metadata.MD) {
	names := make([]string, 0, len(md))
	for name := range md {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		for _, value := range md[name] {
			if strings.HasSuffix(name, "-bin") {
				value = encodeBinary(value)
			}
			fmt.Fprintf(o.Err, "%s %s: %s\n", what, name, value)
		}
	}
}

// failed prints a status with its details.
func (o *Options) failed(err error, t *types) error {
	st := status.Convert(err)
	fmt.Fprintf(o.Err, "%s: %s\n", codeName(st.Code()), st.Message())
	for _, d := range st.Proto().GetDetails() {
		b, err := protojson.MarshalOptions{Resolver: t}.Marshal(d)
		var line bytes.Buffer
		if err != nil || json.Compact(&line, b) != nil {
			fmt.Fprintf(o.Err, "  %s, %d bytes\n", d.GetTypeUrl(), len(d.GetValue()))
			continue
		}
		fmt.Fprintf(o.Err, "  %s\n", &line)
	}
	return Failed{st.Code()}
}

// input reads messages.
type input struct {
	dec    *json.Decoder
	m      protoreflect.MessageDescriptor
	types  *types
	single bool
	count  int
}

func (in *input) next() (*dynamicpb.Message, error) {
	var raw json.RawMessage
	if err := in.dec.Decode(&raw); errors.Is(err, io.EOF) {
		return nil, io.EOF
	} else if err != nil {
		return nil, usagef("message %d is not JSON: %w", in.count+1, err)
	}
	in.count++
	m := dynamicpb.NewMessage(in.m)
	if err := (protojson.UnmarshalOptions{Resolver: in.types}).Unmarshal(raw, m); err != nil {
		return nil, usagef("message %d is not a %s: %s", in.count, in.m.FullName(), strings.TrimPrefix(strings.ReplaceAll(err.Error(), "\u00a0", " "), "proto: "))
	}
	return m, nil
}

// send sends what there is, as it comes, and half-closes.
func (in *input) send(s grpc.ClientStream, first *dynamicpb.Message) error {
	if in.single {
		_ = s.SendMsg(first)
		return s.CloseSend()
	}
	for {
		m, err := in.next()
		if errors.Is(err, io.EOF) {
			return s.CloseSend()
		} else if err != nil {
			return err
		}
		if s.SendMsg(m) != nil {
			return nil // RecvMsg says why
		}
	}
}
