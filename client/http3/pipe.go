package http3

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/sluice-rpc/sluice/client"
	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/wire/duplex"
	"github.com/sluice-rpc/sluice/internal/wire/fields"
	wiregrpc "github.com/sluice-rpc/sluice/internal/wire/grpc"
	"github.com/sluice-rpc/sluice/rpc"
)

// pipe is a call: frames on the client's side, a request on the other. Bytes of messages are the same
// in both. Send never waits for the server, because CREDIT for the other direction may be behind
// what the server does not take: what is to go up is kept, and the client's window bounds it.
type pipe struct {
	s   *session
	str *http3.RequestStream
	dec duplex.Decoder

	begun chan struct{} // closed when the request is on its way
	done  chan struct{} // closed by Close

	mu      sync.Mutex
	room    sync.Cond // for more from the server
	up      []byte    // not given to QUIC yet
	loading bool      // a goroutine does that
	half    bool      // END comes after it
	fin     bool      // our side has ended
	closed  bool
	limit   uint64 // bytes that the client takes in all
	gone    error  // why the request could not be made

	taken, told uint64 // by QUIC; to the client. Of the goroutine that loads

	out  sync.Mutex // whoever gives the client frames
	sink func([]byte) error
}

func newPipe(s *session, str *http3.RequestStream) *pipe {
	p := &pipe{s: s, str: str, begun: make(chan struct{}), done: make(chan struct{}), limit: duplex.Window}
	p.room.L = &p.mu
	return p
}

// Send implements [client.Pipe].
func (p *pipe) Send(b []byte) error { return p.dec.Feed(b, (*incoming)(p)) }

// incoming is a pipe as the place of what its decoder finds; see [duplex.Events].
type incoming pipe

// Data is a part of the request.
func (i *incoming) Data(_ uint32, b []byte) error {
	p := (*pipe)(i)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.up = append(p.up, b...)
	p.load()
	return nil
}

// Frame is any other frame.
func (i *incoming) Frame(kind duplex.Kind, _ uint32, payload []byte) error {
	p := (*pipe)(i)
	switch kind {
	case duplex.Headers:
		return p.begin(payload)
	case duplex.End:
		p.mu.Lock()
		defer p.mu.Unlock()
		p.half = true
		p.load()
	case duplex.Cancel:
		p.abort()
	case duplex.Credit:
		c, err := duplex.ParseCredit(payload)
		if err != nil {
			return err
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.limit = max(p.limit, c.Taken+uint64(c.Window))
		p.room.Broadcast()
	}
	return nil
}

// begin sends the head of the request.
func (p *pipe) begin(block []byte) error {
	list, err := fields.Parse(nil, block, maxBlock)
	if err != nil {
		return err
	}
	req, err := p.s.request(list)
	if err == nil {
		err = p.str.SendRequestHeader(req)
	}
	p.gone = err
	close(p.begun)
	return nil
}

// load gives QUIC what is to go up; p.mu is held.
func (p *pipe) load() {
	if !p.loading && !p.fin {
		p.loading = true
		go p.upload() // ends when nothing is left, or with the stream
	}
}

func (p *pipe) upload() {
	var spare []byte
	p.mu.Lock()
	for {
		b := p.up
		if len(b) == 0 || p.fin {
			break
		}
		p.up = spare[:0]
		p.mu.Unlock()
		_, err := p.str.Write(b)
		if p.taken += uint64(len(b)); err == nil && p.taken-p.told >= duplex.Window/2 {
			p.told = p.taken
			err = p.emit(duplex.CallForm.AppendCredit(nil, 0, duplex.CreditFrame{Taken: p.taken, Window: duplex.Window}))
		}
		spare = b
		p.mu.Lock()
		if err != nil { // the server takes no more; what it says to that is read
			p.fin = true
		}
	}
	p.loading, p.up = false, nil
	end := p.half && !p.fin
	p.fin = p.fin || end
	p.mu.Unlock()
	if end {
		_ = p.str.Close()
	}
}

// emit gives the client frames.
func (p *pipe) emit(b []byte) error {
	p.out.Lock()
	defer p.out.Unlock()
	if p.sink == nil {
		return errClosed
	}
	return p.sink(b)
}

func (p *pipe) receiver(f func([]byte) error) {
	p.out.Lock()
	defer p.out.Unlock()
	p.sink = f
}

// Receive implements [client.Pipe]: it makes frames of the response.
func (p *pipe) Receive(f func(b []byte) error) error {
	select {
	case <-p.begun:
	case <-p.done:
		return errClosed
	case <-p.s.conn.Context().Done():
		return p.s.lost()
	}
	p.s.receiving.RLock()
	defer p.s.receiving.RUnlock()
	p.receiver(f)
	defer p.receiver(nil)
	end, err := p.response()
	if err != nil {
		if p.s.conn.Context().Err() != nil { // the connection is lost, and not the call's stream alone
			return err
		}
		end = wiregrpc.AppendStatus(nil, failed(err))
	}
	block := fields.Append(nil, end)
	if len(block) > duplex.MaxFrame {
		block = fields.Append(nil, wiregrpc.AppendStatus(nil, tooLarge))
	}
	if err := p.emit(duplex.CallForm.Append(nil, duplex.End, 0, block)); err != nil {
		return err
	}
	return io.EOF
}

var tooLarge = rpc.Errorf(rpc.ResourceExhausted, "the server's metadata is larger than %d bytes", duplex.MaxFrame)

// maxInformational bounds the informational responses that are skipped.
const maxInformational = 8

// response reads the response, and returns the fields of its end.
func (p *pipe) response() ([]exchange.Field, error) {
	if p.gone != nil {
		return nil, p.gone
	}
	resp, err := p.str.ReadResponse()
	for i := 0; err == nil && resp.StatusCode < 200; i++ {
		if i == maxInformational {
			return nil, errors.New("the server sent too many informational responses")
		}
		resp, err = p.str.ReadResponse()
	}
	if err != nil {
		return nil, err
	}
	head := list(resp.Header)
	_, only := wiregrpc.ReadStatus(head)
	if ct := resp.Header.Get("Content-Type"); !only && (resp.StatusCode != http.StatusOK || !isGRPC(ct)) {
		st := rpc.Errorf(wiregrpc.FromHTTP(resp.StatusCode), "the server answered with HTTP status %d and content-type %q instead of gRPC", resp.StatusCode, ct)
		if resp.StatusCode == http.StatusOK {
			st.Code = rpc.Unknown
		}
		p.abort()
		return wiregrpc.AppendStatus(nil, st), nil
	}
	// What ends in its head has no metadata of a head (PROTOCOL-HTTP2.md, "Trailers-Only").
	if !only {
		block := fields.Append(nil, head)
		if len(block) > duplex.MaxFrame {
			return nil, tooLarge
		}
		if err := p.emit(duplex.CallForm.Append(nil, duplex.Headers, 0, block)); err != nil {
			return nil, err
		}
	}
	frame := make([]byte, frameHeader+duplex.MaxData)
	for received := uint64(0); ; {
		room := p.wait(received)
		if room == 0 {
			return nil, errClosed
		}
		n, err := p.str.Read(frame[frameHeader : frameHeader+room])
		if received += uint64(n); n > 0 {
			if only {
				p.abort()
				return nil, rpc.Status{Code: rpc.Internal, Message: "the server sent more after a status"}
			}
			if err := p.emit(duplex.CallForm.Finish(append(duplex.CallForm.Begin(frame[:0], duplex.Data, 0), frame[frameHeader:frameHeader+n]...), 0)); err != nil {
				return nil, err
			}
		}
		switch {
		case errors.Is(err, io.EOF) && only:
			return head, nil
		case errors.Is(err, io.EOF):
			return list(resp.Trailer), nil
		case err != nil:
			return nil, err
		}
	}
}

// frameHeader is in front of each frame of the call form.
const frameHeader = 4

// wait waits until the client takes more than it has received, and says how much; 0 is that the pipe is closed.
func (p *pipe) wait(received uint64) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if life := p.s.conn.Context(); received >= p.limit {
		defer context.AfterFunc(life, func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.room.Broadcast()
		})()
		for received >= p.limit && !p.closed && life.Err() == nil {
			p.room.Wait()
		}
	}
	if p.closed || received >= p.limit {
		return 0
	}
	return int(min(p.limit-received, duplex.MaxData))
}

// list is a header of net/http's as fields.
func list(h http.Header) []exchange.Field {
	out := make([]exchange.Field, 0, len(h))
	for name, values := range h {
		for _, v := range values {
			out = append(out, exchange.Field{Name: strings.ToLower(name), Value: v})
		}
	}
	return out
}

func isGRPC(contentType string) bool {
	rest, ok := strings.CutPrefix(contentType, "application/grpc")
	return ok && (rest == "" || rest[0] == '+' || rest[0] == ';')
}

// failed is the status of a call whose stream was reset, or whose response is none
// (PROTOCOL-HTTP2.md, "Errors", for the codes of RFC 9114, section 8.1).
func failed(err error) rpc.Status {
	var said rpc.Status
	if errors.As(err, &said) {
		return said
	}
	reset, ok := errors.AsType[*quic.StreamError](err)
	if !ok {
		return rpc.Errorf(rpc.Internal, "the response can't be read: %v", err)
	}
	st := rpc.Errorf(rpc.Internal, "the server reset the call: %v", http3.ErrCode(reset.ErrorCode))
	switch http3.ErrCode(reset.ErrorCode) {
	case http3.ErrCodeRequestRejected:
		st.Code = rpc.Unavailable
	case http3.ErrCodeRequestCanceled:
		st.Code = rpc.Canceled
	case http3.ErrCodeExcessiveLoad:
		st.Code = rpc.ResourceExhausted
	}
	return st
}

// abort ends the request, as an HTTP client that wants no response.
func (p *pipe) abort() {
	p.mu.Lock()
	p.fin = true
	p.mu.Unlock()
	p.str.CancelWrite(quic.StreamErrorCode(http3.ErrCodeRequestCanceled))
	p.str.CancelRead(quic.StreamErrorCode(http3.ErrCodeRequestCanceled))
}

// CloseSend implements [client.Pipe]. The client has nothing more to say: it has canceled the call, or has
// seen its end, and then the server needs no more of the request.
func (p *pipe) CloseSend() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.fin && !p.half {
		p.fin = true
		p.str.CancelWrite(quic.StreamErrorCode(http3.ErrCodeNoError))
	}
	return nil
}

// Close implements [client.Pipe].
func (p *pipe) Close(why client.Reason, _ string) {
	p.mu.Lock()
	closed, late := p.closed, p.loading && !p.fin
	p.closed = true
	p.room.Broadcast()
	p.mu.Unlock()
	if closed {
		return
	}
	close(p.done)
	if why != client.Done || late {
		p.abort()
	}
}
