package schema

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sluice-rpc/sluice/rpc"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
)

// Limits of what a backend may answer with.
const (
	maxFiles   = 4096
	maxMessage = 4 << 20
	maxTotal   = 64 << 20
)

// ErrNoReflection is the error of a backend that does not offer server reflection.
var ErrNoReflection = errors.New("the backend does not offer server reflection: register it on the server, or give descriptors by --schema FILE")

// Reflect asks a backend for its services by server reflection, v1 and else v1alpha
// (https://github.com/grpc/grpc/blob/master/doc/server-reflection.md).
func Reflect(ctx context.Context, backend rpc.Handler) (*Schema, error) {
	s, err := reflectBy(ctx, backend, reflectionV1)
	if unimplemented(err) {
		s, err = reflectBy(ctx, backend, reflectionV1Alpha)
	}
	if unimplemented(err) {
		return nil, ErrNoReflection
	}
	return s, err
}

func unimplemented(err error) bool {
	var st rpc.Status
	return errors.As(err, &st) && st.Code == rpc.Unimplemented
}

func reflectBy(ctx context.Context, backend rpc.Handler, service string) (*Schema, error) {
	c := newReflection(ctx, backend, service)
	defer c.close()
	list, err := c.ask(ctx, appendField(nil, 7, "*")) // list_services
	if err != nil {
		return nil, err
	}
	services, err := list.services()
	if err != nil {
		return nil, err
	}
	files := map[string]*descriptorpb.FileDescriptorProto{}
	var order, missing []string
	take := func(r *answer) error {
		for _, b := range r.files {
			f := &descriptorpb.FileDescriptorProto{}
			if err := proto.Unmarshal(b, f); err != nil {
				return fmt.Errorf("reflection: a file descriptor is broken: %w", err)
			}
			if files[f.GetName()] != nil {
				continue
			}
			if len(files) >= maxFiles {
				return fmt.Errorf("reflection: more than %d files", maxFiles)
			}
			files[f.GetName()] = f
			order = append(order, f.GetName())
			missing = append(missing, f.GetDependency()...)
		}
		return nil
	}
	for _, name := range services {
		r, err := c.ask(ctx, appendField(nil, 4, name)) // file_containing_symbol
		if err != nil {
			return nil, err
		}
		if r.code != 0 {
			return nil, fmt.Errorf("reflection: the backend lists the service %q and has no descriptor of it: %s", name, r.message)
		}
		if err := take(r); err != nil {
			return nil, err
		}
	}
	asked := map[string]bool{}
	for len(missing) > 0 {
		name := missing[0]
		missing = missing[1:]
		if files[name] != nil || asked[name] {
			continue
		}
		asked[name] = true
		if len(asked) > maxFiles {
			return nil, fmt.Errorf("reflection: more than %d files", maxFiles)
		}
		r, err := c.ask(ctx, appendField(nil, 3, name)) // file_by_filename
		if err != nil {
			return nil, err
		}
		if r.code != 0 {
			continue // AllowUnresolvable: what is missing may be an option's
		}
		if err := take(r); err != nil {
			return nil, err
		}
	}
	all := make([]*descriptorpb.FileDescriptorProto, 0, len(order))
	for _, name := range order {
		all = append(all, files[name])
	}
	return fromFiles(all, services)
}

func appendField(b []byte, num protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, num, protowire.BytesType), s)
}

// answer is a ServerReflectionResponse.
type answer struct {
	files   [][]byte
	list    []byte
	hasList bool
	code    uint64
	message string
}

var errAnswer = errors.New("reflection: an answer is broken")

// fields walks a message.
func fields(b []byte, f func(num protowire.Number, v uint64, data []byte)) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return errAnswer
		}
		b = b[n:]
		var v uint64
		var data []byte
		switch typ {
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			data, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return errAnswer
		}
		b = b[n:]
		f(num, v, data)
	}
	return nil
}

func parseAnswer(b []byte) (*answer, error) {
	var a answer
	var inner error
	err := fields(b, func(num protowire.Number, _ uint64, data []byte) {
		var err error
		switch num {
		case 4: // file_descriptor_response
			err = fields(data, func(num protowire.Number, _ uint64, file []byte) {
				if num == 1 {
					a.files = append(a.files, file)
				}
			})
		case 6: // list_services_response
			a.list, a.hasList = data, true
		case 7: // error_response
			a.code = 2
			err = fields(data, func(num protowire.Number, v uint64, msg []byte) {
				switch num {
				case 1:
					a.code = v
				case 2:
					a.message = string(msg)
				}
			})
		}
		inner = errors.Join(inner, err)
	})
	return &a, errors.Join(err, inner)
}

func (a *answer) services() (names []string, err error) {
	if a.code != 0 {
		return nil, fmt.Errorf("reflection: list of services: %s", a.message)
	}
	if !a.hasList {
		return nil, errAnswer
	}
	err = fields(a.list, func(num protowire.Number, _ uint64, service []byte) {
		if num == 1 {
			if e := fields(service, func(num protowire.Number, _ uint64, name []byte) {
				if num == 1 {
					names = append(names, string(name))
				}
			}); e != nil {
				err = e
			}
		}
	})
	if len(names) > maxFiles {
		return nil, fmt.Errorf("reflection: more than %d services", maxFiles)
	}
	return names, err
}

// reflection is one call of ServerReflectionInfo: a request, an answer, in turn.
type reflection struct {
	req   rpc.Request
	mu    sync.Mutex
	buf   []byte
	total int
	ended bool
	st    rpc.Status
	news  chan struct{}
}

func newReflection(ctx context.Context, backend rpc.Handler, service string) *reflection {
	c := &reflection{news: make(chan struct{}, 1)}
	call := &rpc.Call{Method: "/" + service + "/ServerReflectionInfo", Codec: "proto", Received: time.Now(), Protocol: "internal", Carrier: "internal"}
	call.Deadline, _ = ctx.Deadline()
	c.req = backend.Start(call, (*reflectionResponse)(c))
	c.req.Begin()
	return c
}

// close ends the call and waits for its end.
func (c *reflection) close() {
	c.req.End()
	c.req.Cancel(rpc.Status{Code: rpc.Canceled})
	for {
		c.mu.Lock()
		ended := c.ended
		c.mu.Unlock()
		if ended {
			c.req.Done(rpc.Outcome{Status: c.st, Delivered: true})
			return
		}
		<-c.news
	}
}

// ask sends a request and waits for its answer.
func (c *reflection) ask(ctx context.Context, request []byte) (*answer, error) {
	msg := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(request)))
	c.req.Data(append(msg, request...))
	for {
		if b, ok, err := c.next(); err != nil || ok {
			if err != nil {
				return nil, err
			}
			return parseAnswer(b)
		}
		select {
		case <-c.news:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// next takes a whole message.
func (c *reflection) next() (b []byte, ok bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.buf) >= 5 {
		n := int(binary.BigEndian.Uint32(c.buf[1:]))
		if c.buf[0] != 0 || n > maxMessage || c.total > maxTotal {
			return nil, false, errors.New("reflection: an answer is compressed or too large")
		}
		if len(c.buf) >= 5+n {
			b = c.buf[5 : 5+n : 5+n]
			c.buf = c.buf[5+n:]
			return b, true, nil
		}
	}
	if c.ended {
		if c.st.OK() {
			return nil, false, errors.New("reflection: the backend ended the call")
		}
		return nil, false, c.st
	}
	return nil, false, nil
}

func (c *reflection) wake() {
	select {
	case c.news <- struct{}{}:
	default:
	}
}

// reflectionResponse takes the answers.
type reflectionResponse reflection

func (r *reflectionResponse) Head(*rpc.Head) {}
func (r *reflectionResponse) Credit(int)     {}

func (r *reflectionResponse) Data(b []byte) {
	r.mu.Lock()
	r.total += len(b)
	if r.total <= maxTotal {
		r.buf = append(r.buf, b...)
	}
	r.mu.Unlock()
	r.req.Credit(len(b)) // kept, within the limit
	(*reflection)(r).wake()
}

func (r *reflectionResponse) End(st rpc.Status, _ rpc.Metadata) {
	r.mu.Lock()
	r.ended, r.st = true, st
	r.mu.Unlock()
	(*reflection)(r).wake()
}
