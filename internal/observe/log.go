package observe

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/sluice-rpc/sluice/rpc"
)

// A Format is how lines of the access log are written.
type Format int

// The formats are those of log/slog's handlers.
const (
	Text Format = iota
	JSON
)

const (
	logFlushAt  = 64 << 10
	logMax      = 1 << 20                // what waits to be written, at most
	logInterval = 100 * time.Millisecond // how long a line waits
	maxLogged   = 1024                   // bytes of a string that a peer chose
)

// An AccessLog writes a line a call. Lines go into memory; a goroutine writes them out.
// When that is too slow, lines are dropped and counted.
type AccessLog struct {
	format  Format
	write   func([]byte)
	dropped atomic.Int64

	mu       sync.Mutex
	clock    clock
	buf      []byte
	spare    []byte
	lastDrop int64
	kick     chan struct{}
	stop     chan struct{}
	done     chan struct{}
}

// NewAccessLog returns a log that writes to w in a format.
func NewAccessLog(w io.Writer, f Format, m *Metrics) *AccessLog {
	return newLog(func(b []byte) { _, _ = w.Write(b) }, f, m)
}

// NewLoggerLog returns a log that gives its lines, rendered as text, to a logger.
func NewLoggerLog(l *slog.Logger, m *Metrics) *AccessLog {
	return newLog(func(b []byte) {
		for len(b) > 0 {
			i := 0
			for b[i] != '\n' {
				i++
			}
			l.LogAttrs(context.Background(), slog.LevelInfo, "call", slog.String("call", string(b[:i])))
			b = b[i+1:]
		}
	}, bare, m)
}

// bare is text without time, level and message, which a logger adds.
const bare Format = -1

func newLog(write func([]byte), f Format, m *Metrics) *AccessLog {
	l := &AccessLog{format: f, write: write, kick: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{})}
	if m != nil {
		m.log = l.dropped.Load
	}
	go l.run() // ends with Close
	return l
}

// Close writes what is left.
func (l *AccessLog) Close() {
	close(l.stop)
	<-l.done
}

func (l *AccessLog) run() {
	defer close(l.done)
	t := time.NewTicker(logInterval)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-l.kick:
		case <-l.stop:
			l.flush()
			return
		}
		l.flush()
	}
}

func (l *AccessLog) flush() {
	l.mu.Lock()
	buf := l.buf
	l.buf, l.spare = l.spare[:0], nil
	dropped := l.dropped.Load() - l.lastDrop
	l.lastDrop += dropped
	l.mu.Unlock()
	if len(buf) > 0 {
		l.write(buf)
	}
	if dropped > 0 {
		e := entry{format: l.format}
		e.begin(new(clock), time.Now(), "WARN", "log lines dropped")
		e.int("dropped", dropped)
		l.write(e.end())
	}
	l.mu.Lock()
	l.spare = buf
	l.mu.Unlock()
}

// call logs a call at its end.
func (l *AccessLog) call(c *rpc.Call, o *rpc.Outcome, d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.buf) > logMax {
		l.dropped.Add(1)
		return
	}
	e := entry{b: l.buf, format: l.format}
	e.begin(&l.clock, c.Received.Add(d), "INFO", "call")
	e.str("method", c.Method)
	e.str("protocol", c.Protocol)
	e.str("carrier", c.Carrier)
	if c.Peer.Addr != nil {
		e.addr("peer", c.Peer.Addr)
	}
	e.str("code", o.Status.Code.String())
	if o.Status.Message != "" {
		e.str("message", o.Status.Message)
	}
	if o.Status.Cause != nil {
		e.str("cause", o.Status.Cause.Error())
	}
	e.bool("delivered", o.Delivered)
	e.float("duration_ms", d)
	if first := c.Stats.FirstResponse.Load(); first > 0 {
		e.float("first_message_ms", time.Duration(first))
	}
	e.int("request_messages", c.Stats.RequestMessages.Load())
	e.int("request_bytes", c.Stats.RequestBytes.Load())
	e.int("response_messages", c.Stats.ResponseMessages.Load())
	e.int("response_bytes", c.Stats.ResponseBytes.Load())
	if c.UserAgent != "" {
		e.str("user_agent", c.UserAgent)
	}
	before := len(l.buf)
	l.buf = e.end()
	if before < logFlushAt && len(l.buf) >= logFlushAt {
		select {
		case l.kick <- struct{}{}:
		default:
		}
	}
}

// entry is a line as it is rendered.
type entry struct {
	b      []byte
	format Format
	some   bool
}

// clock writes times of which most are in the same second as the one before.
type clock struct {
	second       int64
	before, zone []byte // what stands around the milliseconds
}

func (k *clock) append(b []byte, t time.Time) []byte {
	if s := t.Unix(); s != k.second || k.before == nil {
		k.second = s
		k.before = t.AppendFormat(k.before[:0], "2006-01-02T15:04:05.")
		k.zone = t.AppendFormat(k.zone[:0], "Z07:00")
	}
	ms := t.Nanosecond() / int(time.Millisecond)
	b = append(append(b, k.before...), byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10))
	return append(b, k.zone...)
}

func (e *entry) begin(k *clock, t time.Time, level, msg string) {
	switch e.format {
	case Text:
		e.b = append(e.b, "time="...)
		e.b = k.append(e.b, t)
		e.b = append(e.b, " level="...)
		e.b = append(e.b, level...)
		e.str("msg", msg)
	case JSON:
		e.b = append(e.b, `{"time":"`...)
		e.b = k.append(e.b, t)
		e.b = append(e.b, `","level":"`...)
		e.b = append(e.b, level...)
		e.b = append(e.b, '"')
		e.str("msg", msg)
	}
}

func (e *entry) end() []byte {
	if e.format == JSON {
		e.b = append(e.b, '}')
	}
	return append(e.b, '\n')
}

func (e *entry) key(k string) {
	if e.format == JSON {
		e.b = append(e.b, ',', '"')
		e.b = append(e.b, k...)
		e.b = append(e.b, '"', ':')
		return
	}
	if e.format == Text || e.some {
		e.b = append(e.b, ' ')
	}
	e.some = true
	e.b = append(e.b, k...)
	e.b = append(e.b, '=')
}

func (e *entry) int(k string, v int64) {
	e.key(k)
	e.b = strconv.AppendInt(e.b, v, 10)
}

func (e *entry) bool(k string, v bool) {
	e.key(k)
	e.b = strconv.AppendBool(e.b, v)
}

// float writes milliseconds.
func (e *entry) float(k string, d time.Duration) {
	e.key(k)
	us := d.Microseconds()
	e.b = strconv.AppendInt(e.b, us/1000, 10)
	e.b = append(e.b, '.', byte('0'+us/100%10), byte('0'+us/10%10), byte('0'+us%10))
}

// addr writes an address, which usually needs no quotes.
func (e *entry) addr(k string, a net.Addr) {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		e.str(k, a.String())
		return
	}
	e.key(k)
	if e.format == JSON {
		e.b = append(e.b, '"')
	}
	e.b = netip.AddrPortFrom(t.AddrPort().Addr().Unmap(), uint16(t.Port)).AppendTo(e.b)
	if e.format == JSON {
		e.b = append(e.b, '"')
	}
}

// str writes a string that anybody may have chosen: cut to maxLogged, and quoted so
// that it stays one value of one line.
func (e *entry) str(k, v string) {
	e.key(k)
	if len(v) > maxLogged {
		v = v[:maxLogged]
	}
	if e.format != JSON && plain(v) {
		e.b = append(e.b, v...)
		return
	}
	e.b = append(e.b, '"')
	for i := 0; i < len(v); {
		c := v[i]
		switch {
		case c == '"' || c == '\\':
			e.b = append(e.b, '\\', c)
		case c < ' ' || c == 0x7f:
			e.b = append(e.b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		case c < utf8.RuneSelf:
			e.b = append(e.b, c)
		default:
			r, n := utf8.DecodeRuneInString(v[i:])
			if r == utf8.RuneError && n == 1 || r == '\u2028' || r == '\u2029' || r == '\u0085' {
				r = utf8.RuneError
			}
			e.b = utf8.AppendRune(e.b, r)
			i += n
			continue
		}
		i++
	}
	e.b = append(e.b, '"')
}

const hex = "0123456789abcdef"

// plain says whether a value needs no quotes.
func plain(v string) bool {
	for i := 0; i < len(v); i++ {
		if c := v[i]; c <= ' ' || c >= 0x7f || c == '"' || c == '=' || c == '\\' {
			return false
		}
	}
	return v != ""
}
