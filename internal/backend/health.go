package backend

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sluice-rpc/sluice/rpc"
)

const (
	healthMethod = "/grpc.health.v1.Health/Watch"
	// healthMax bounds a message of the health service; a real one has two bytes.
	healthMax = 1 << 10
	// healthPause is how long after its end a watch begins again.
	healthPause = time.Second
)

// A watch is a call of grpc.health.v1.Health/Watch on one connection
// (https://github.com/grpc/grpc/blob/master/doc/health-checking.md). UNIMPLEMENTED
// means healthy: the server has no such service.
type watch struct {
	c   *conn
	req rpc.Request

	mu      sync.Mutex
	busy    int // calls into req that have not returned: Done waits for them
	stopped bool
	ended   bool
	outcome rpc.Outcome
	buf     []byte // a part of a message; of the goroutine that delivers
}

// startWatch returns what begins to watch the health of c.
func (b *Backend) startWatch(c *conn) []func() {
	w := &watch{c: c, busy: 1}
	c.watch = w
	client := b.cfg.NewClient(c.wire) // not through a retry: this connection is meant
	return []func(){func() {
		now := time.Now()
		call := &rpc.Call{Method: healthMethod, Received: now, Authority: b.cfg.Target.Authority(), Protocol: "grpc", Carrier: "gateway"}
		w.req = client.Start(call, w)
		w.req.Begin()
		w.req.Data(healthRequest(b.cfg.HealthService))
		w.req.End()
		w.leave()
	}}
}

// healthRequest returns HealthCheckRequest{service} with the gRPC prefix.
func healthRequest(service string) []byte {
	b := make([]byte, 5, 16+len(service))
	if service != "" {
		b = append(b, 1<<3|2)
		b = binary.AppendUvarint(b, uint64(len(service)))
		b = append(b, service...)
	}
	binary.BigEndian.PutUint32(b[1:], uint32(len(b)-5))
	return b
}

// healthStatus reads HealthCheckResponse, and returns its status.
func healthStatus(m []byte) (status uint64, err error) {
	bad := errors.New("grpc.health.v1 answered with a malformed message")
	for len(m) > 0 {
		tag, n := binary.Uvarint(m)
		if n <= 0 {
			return 0, bad
		}
		m = m[n:]
		var size uint64
		switch tag & 7 {
		case 0:
			v, n := binary.Uvarint(m)
			if n <= 0 {
				return 0, bad
			}
			if tag>>3 == 1 {
				status = v
			}
			m = m[n:]
			continue
		case 1:
			size = 8
		case 2:
			v, n := binary.Uvarint(m)
			if n <= 0 {
				return 0, bad
			}
			m, size = m[n:], v
		case 5:
			size = 4
		default:
			return 0, bad
		}
		if size > uint64(len(m)) {
			return 0, bad
		}
		m = m[size:]
	}
	return status, nil
}

var healthNames = []string{"UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"}

// stop cancels the watch.
func (w *watch) stop() {
	w.mu.Lock()
	cancel := !w.stopped && !w.ended && w.req != nil
	w.stopped = true
	if cancel {
		w.busy++
	}
	w.mu.Unlock()
	if cancel {
		w.req.Cancel(rpc.Errorf(rpc.Canceled, "connection is draining"))
		w.leave()
	}
}

func (w *watch) leave() {
	w.mu.Lock()
	w.busy--
	done := w.ended && w.busy == 0
	w.mu.Unlock()
	if done {
		w.req.Done(w.outcome)
	}
}

func (w *watch) tell(ok bool, err error) {
	w.mu.Lock()
	stopped := w.stopped
	w.mu.Unlock()
	if !stopped {
		w.c.b.post(event{kind: connHealth, conn: w.c, ok: ok, err: err})
	}
}

// Head implements rpc.Response.
func (w *watch) Head(*rpc.Head) {}

// Credit implements rpc.Response.
func (w *watch) Credit(int) {}

// Data implements rpc.Response.
func (w *watch) Data(b []byte) {
	w.req.Credit(len(b))
	w.buf = append(w.buf, b...)
	for len(w.buf) >= 5 {
		size := binary.BigEndian.Uint32(w.buf[1:])
		if size > healthMax || w.buf[0] != 0 {
			w.tell(false, errors.New("grpc.health.v1 answered with a message that is compressed or too large"))
			w.buf = nil
			w.stop()
			return
		}
		if len(w.buf) < 5+int(size) {
			return
		}
		status, err := healthStatus(w.buf[5 : 5+size])
		w.buf = w.buf[5+size:]
		switch {
		case err != nil:
			w.tell(false, err)
		case status == 1:
			w.tell(true, nil)
		case status < uint64(len(healthNames)):
			w.tell(false, fmt.Errorf("grpc.health.v1 says %s", healthNames[status]))
		default:
			w.tell(false, fmt.Errorf("grpc.health.v1 says status %d", status))
		}
	}
}

// End implements rpc.Response.
func (w *watch) End(st rpc.Status, _ rpc.Metadata) {
	w.mu.Lock()
	w.ended = true
	w.outcome = rpc.Outcome{Status: st, Delivered: true}
	w.busy++
	w.mu.Unlock()
	defer w.leave()
	switch {
	case st.Code == rpc.Unimplemented:
		w.tell(true, nil)
	default:
		w.tell(false, fmt.Errorf("grpc.health.v1 watch ended: %w", st))
		time.AfterFunc(healthPause, func() { w.c.b.post(event{kind: connHealth, conn: w.c, err: errWatchAgain}) })
	}
}

var errWatchAgain = errors.New("watch again")

// health takes in what a watch says of its connection.
func (b *Backend) health(c *conn, ok bool, err error, now time.Time) []func() {
	e := c.ep
	up := false
	for _, o := range e.conns {
		up = up || o == c
	}
	switch {
	case !up || c.gone.Load():
	case err == errWatchAgain:
		return b.startWatch(c)
	case ok && !c.serving:
		b.serving(c, now)
	case !ok:
		c.serving = false
		b.dirty = true
		if e.serving() == 0 {
			e.failing, e.err = true, err
			if text := err.Error(); text != e.logged {
				e.announced, e.logged, e.loggedAt = false, text, now
				b.cfg.Logger.Warn("backend endpoint is not serving", "backend", b.cfg.Target.Name, "endpoint", e.addr, "error", text)
			}
		}
	}
	return nil
}
