package http3

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	qhttp3 "github.com/quic-go/quic-go/http3"
	"github.com/quic-go/webtransport-go"

	"github.com/sluice-rpc/sluice/internal/blocking"
	"github.com/sluice-rpc/sluice/internal/exchange"
)

// Subprotocol is the name that is agreed on with clients that offer names.
const Subprotocol = "sluice.v1"

// maxSessions is how many sessions one connection may have, where the client knows the
// flow control of sessions. Without it there is one.
const maxSessions = 16

// The settings of a session's flow control (draft-ietf-webtrans-http3-14, section 9.2).
const (
	settingMaxData        = 0x2b61
	settingMaxStreamsUni  = 0x2b64
	settingMaxStreamsBidi = 0x2b65
)

// sessionConfig has all three settings, or Safari opens no session.
func sessionConfig(cfg *Config) *webtransport.Config {
	streams := maxStreams(cfg.MaxStreams)
	return &webtransport.Config{MaxIncomingStreams: streams, MaxIncomingUniStreams: uniStreams, MaxIncomingData: streams * maxStreamWindow}
}

// session is a WebTransport session.
type session struct {
	s       *Server
	conn    *conn
	wt      *webtransport.Session
	connect *qhttp3.Stream // its CONNECT stream
	// shared: the library writes to the CONNECT stream, so nobody else may.
	shared bool
	head   exchange.RequestHead // of its pipes
	server exchange.SessionServer

	handler watched // of its pipes: server

	pipes  sync.WaitGroup
	others sync.WaitGroup // goroutines that write
	out    control
	grams  datagrams

	mu     sync.Mutex
	closed bool // by us
}

func isSession(r *http.Request) bool {
	return r.Method == http.MethodConnect && (r.Proto == "webtransport" || r.Proto == "webtransport-h3")
}

// open serves the CONNECT of a session, until the session ends.
func (s *Server) open(c *conn, w http.ResponseWriter, r *http.Request) {
	head, status, err := s.admit(w, r)
	if err == nil && !c.addSession() {
		s.cfg.LimitHit("sessions")
		status, err = http.StatusTooManyRequests, fmt.Errorf("a connection may have %d sessions", maxSessions)
	}
	if err != nil {
		http.Error(w, err.Error(), status)
		return
	}
	defer c.removeSession()
	k := &keeping{ResponseWriter: w}
	wt, err := s.wt.Upgrade(k, r)
	if err != nil {
		if k.stream == nil { // nothing was sent
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
		return
	}
	x := &session{s: s, conn: c, wt: wt, connect: k.stream, shared: flowControlled(w)}
	x.head = exchange.RequestHead{
		Method: head.Method, Scheme: head.Scheme, Authority: head.Authority, Path: head.Path, Protocol: exchange.PipeCall, Fields: s.metadata(head.Fields),
		Length: -1, Allowed: head.Allowed, Addr: head.Addr, TLS: head.TLS, Carrier: "wt",
	}
	s.mu.Lock()
	s.sessions[x] = struct{}{}
	closed := s.closed
	s.mu.Unlock()
	if closed {
		x.close(codeGoingAway, shutDown)
	}
	x.run()
	s.mu.Lock()
	delete(s.sessions, x)
	s.mu.Unlock()
}

const shutDown = "the gateway has shut down"

// admit decides about a request for a session.
func (s *Server) admit(w http.ResponseWriter, r *http.Request) (*exchange.RequestHead, int, error) {
	if s.cfg.Sessions == nil || r.URL.Path != s.cfg.Path {
		return nil, http.StatusNotFound, errors.New("there are no WebTransport sessions here")
	}
	head := blocking.RequestHead(r)
	if s.cfg.Admit != nil {
		var err error
		head, err = s.cfg.Admit(head)
		if m, ok := errors.AsType[*exchange.Misdirected](err); ok {
			w.Header().Set(exchange.FieldNode, m.Node)
			return nil, http.StatusMisdirectedRequest, err
		}
		if err != nil {
			return nil, http.StatusForbidden, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return nil, http.StatusServiceUnavailable, errors.New("the gateway is shutting down")
	}
	return head, 0, nil
}

// metadata keeps the fields that count for the calls of a session.
func (s *Server) metadata(fields []exchange.Field) []exchange.Field {
	var kept []exchange.Field
	for _, f := range fields {
		if s.cfg.Metadata != nil && s.cfg.Metadata(f.Name) {
			kept = append(kept, f)
		}
	}
	return kept
}

// flowControlled says whether the client has sent a setting of a session's flow control.
func flowControlled(w http.ResponseWriter) bool {
	other := w.(qhttp3.Settingser).Settings().Other // it has come: Upgrade has waited for it
	return other[settingMaxData] > 0 || other[settingMaxStreamsUni] > 0 || other[settingMaxStreamsBidi] > 0
}

// keeping is a ResponseWriter that keeps the stream which Upgrade takes.
type keeping struct {
	http.ResponseWriter
	stream *qhttp3.Stream
}

func (k *keeping) HTTPStream() *qhttp3.Stream {
	k.stream = k.ResponseWriter.(qhttp3.HTTPStreamer).HTTPStream()
	return k.stream
}

func (k *keeping) ReceivedSettings() <-chan struct{} {
	return k.ResponseWriter.(qhttp3.Settingser).ReceivedSettings()
}

func (k *keeping) Settings() *qhttp3.Settings { return k.ResponseWriter.(qhttp3.Settingser).Settings() }
func (k *keeping) Flush()                     { k.ResponseWriter.(http.Flusher).Flush() }

// run serves the streams of a session until it ends.
func (x *session) run() {
	x.out.x, x.grams.x = x, x
	o := x.options()
	x.enter()
	x.server = x.s.cfg.Sessions.StartSession(&x.head, x)
	x.handler = watched{x.server, x.conn}
	x.leave()
	x.others.Go(x.receive) // ends with the session
	for {
		str, err := x.wt.AcceptStream(context.Background())
		if err != nil {
			break // the session is over
		}
		x.pipes.Add(1)
		go x.pipe(newStream(x, str), o) // ends with the session, at the latest
	}
	x.pipes.Wait()
	x.out.stop()
	x.grams.stop()
	x.others.Wait()
	x.mu.Lock()
	x.closed = true
	x.mu.Unlock()
	x.enter()
	x.server.Done()
	x.leave()
}

// pipe serves a stream. Its goroutine waits for as long as the client is silent, so what
// stands on its stack counts: below a quarter of 8 KiB the collector makes it 4.
func (x *session) pipe(t *stream, o *blocking.Options) {
	defer x.pipes.Done()
	blocking.ServePipe(&x.handler, &x.head, t, o)
}

func (x *session) options() *blocking.Options {
	return &blocking.Options{Work: x.s.cfg.Work, Writers: &x.s.writers, Log: x.s.cfg.Log}
}

func (x *session) enter() {
	if w := x.s.cfg.Work; w != nil {
		w.Enter()
	}
}

func (x *session) leave() {
	if w := x.s.cfg.Work; w != nil {
		w.Leave()
	}
}

// receive reads datagrams.
func (x *session) receive() {
	for {
		b, err := x.wt.ReceiveDatagram(x.wt.Context())
		if err != nil {
			return
		}
		x.enter()
		x.server.Datagram(b)
		x.leave()
	}
}

// Control implements [exchange.Session].
func (x *session) Control(b []byte) { x.out.send(b) }

// Datagram implements [exchange.Session].
func (x *session) Datagram(b []byte) bool { return x.grams.send(b) }

// MaxDatagram implements [exchange.Session].
func (x *session) MaxDatagram() int { return maxDatagram }

// Close implements [exchange.Session].
func (x *session) Close(code exchange.Code, reason string) { x.close(codeOf(code), reason) }

const (
	// maxReason is WT_CLOSE_SESSION's own limit, in bytes.
	maxReason = 1024
	// closing is how long a client has to answer it.
	closing = time.Second
)

// close ends the session, in the background.
func (x *session) close(code webtransport.StreamErrorCode, reason string) {
	x.mu.Lock()
	first := !x.closed
	x.closed = true
	x.mu.Unlock()
	if first {
		reason = strings.ToValidUTF8(reason[:min(len(reason), maxReason)], "")
		x.s.wg.Go(func() { x.sayClosed(webtransport.SessionErrorCode(code), reason) }) // ends in a second
	}
}

// sayClosed sends WT_CLOSE_SESSION so that it arrives. The library sends STOP_SENDING in front
// of it, for which browsers drop code and reason (webtransport-go#242).
func (x *session) sayClosed(code webtransport.SessionErrorCode, reason string) {
	if !x.shared {
		_ = x.connect.SetWriteDeadline(time.Now().Add(closing))
		if _, err := x.connect.Write(appendClose(nil, uint32(code), reason)); err == nil {
			_ = x.connect.Close()
			t := time.NewTimer(closing)
			defer t.Stop()
			select {
			case <-x.wt.Context().Done():
			case <-t.C:
			}
		}
	}
	_ = x.wt.CloseWithError(code, reason)
}
