package blocking

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/sluice-rpc/sluice/internal/exchange"
)

// The methods here make handled a ResponseWriter. As with net/http they are for one
// goroutine at a time.

// Header implements [http.ResponseWriter].
func (x *handled) Header() http.Header { return x.header }

// WriteHeader implements [http.ResponseWriter].
func (x *handled) WriteHeader(status int) {
	if status < 100 || status > 999 {
		panic(fmt.Sprintf("invalid WriteHeader code %v", status)) // as net/http
	}
	if x.wrote {
		return
	}
	if status < 200 {
		if status > 101 { // 100 and 101 have no meaning here (RFC 9113, section 8.6)
			h := exchange.ResponseHead{Status: status, Fields: appendFields(nil, x.header, hopByHop)}
			if x.enter() {
				defer x.leave()
				x.response.Inform(&h)
			}
		}
		return
	}
	x.wrote = true
	x.length = -1
	if v := x.header.Get("Content-Length"); v != "" {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil || n < 0 {
			x.header.Del("Content-Length")
		} else {
			x.length = n
		}
	}
	for _, v := range x.header["Trailer"] {
		for name := range strings.SplitSeq(v, ",") {
			if name = strings.ToLower(strings.TrimSpace(name)); name != "" && !slices.Contains(x.declared, name) {
				x.declared = append(x.declared, name)
			}
		}
	}
	x.head.Status = status
	x.head.Fields = appendFields(nil, x.header, func(name string) bool {
		return hopByHop(name) || strings.HasPrefix(name, trailerPrefix) || slices.Contains(x.declared, name)
	})
}

var trailerPrefix = strings.ToLower(http.TrailerPrefix)

func bodyAllowed(status int) bool {
	return status != http.StatusNoContent && status != http.StatusNotModified
}

// Write implements [http.ResponseWriter]. It blocks while the window is used up.
func (x *handled) Write(p []byte) (int, error) {
	if !x.wrote {
		x.WriteHeader(http.StatusOK)
	}
	x.written += int64(len(p))
	switch {
	case !bodyAllowed(x.head.Status):
		return 0, http.ErrBodyNotAllowed
	case x.length >= 0 && x.written > x.length:
		return 0, http.ErrContentLength
	case x.isHead:
		return len(p), nil
	}
	if len(x.out)+len(p) <= pieceSize {
		if x.out == nil {
			x.out = *datas.Get().(*[]byte)
		}
		x.out = append(x.out, p...)
		return len(p), nil
	}
	var err error
	if len(x.out) > 0 {
		err = x.send(false)
	}
	if err == nil && len(p) <= pieceSize {
		x.out = append(x.out, p...)
	} else if err == nil {
		err = x.sendData(p, false, nil)
	}
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// WriteString implements [io.StringWriter].
func (x *handled) WriteString(s string) (int, error) { return x.Write([]byte(s)) }

// Flush implements [http.Flusher].
func (x *handled) Flush() { _ = x.FlushError() }

// FlushError is for [http.ResponseController].
func (x *handled) FlushError() error {
	if !x.wrote {
		x.WriteHeader(http.StatusOK)
	}
	return x.send(false)
}

// EnableFullDuplex is for [http.ResponseController]: it always is.
func (x *handled) EnableFullDuplex() error { return nil }

var errShort = errors.New("the handler wrote less than its Content-Length")

// finish ends the response after the handler has returned.
func (x *handled) finish() {
	if !x.wrote {
		x.WriteHeader(http.StatusOK)
	}
	if x.length > x.written && bodyAllowed(x.head.Status) && !x.isHead {
		x.fail(exchange.InternalError, errShort)
		return
	}
	_ = x.send(true) // it fails if the exchange is over
	if b := x.out; b != nil {
		x.out = nil // a handler that writes when it should not harms only itself
		datas.Put(&b)
	}
}

// takeTrailer reads both of net/http's ways to set trailers.
func (x *handled) takeTrailer() []exchange.Field {
	h := http.Header{}
	for _, name := range x.declared {
		key := http.CanonicalHeaderKey(name)
		if v, ok := x.header[key]; ok {
			h[key] = v
		}
	}
	for k, v := range x.header {
		if name, ok := strings.CutPrefix(k, http.TrailerPrefix); ok {
			key := http.CanonicalHeaderKey(name)
			h[key] = append(h[key], v...)
		}
	}
	if len(h) == 0 {
		return nil
	}
	return appendFields(nil, h, hopByHop)
}

// send delivers what was written.
func (x *handled) send(last bool) error {
	var trailer []exchange.Field
	if last {
		trailer = x.takeTrailer()
	}
	if x.sent && len(x.out) == 0 && !last {
		return nil
	}
	err := x.sendData(x.out, last, trailer)
	x.out = x.out[:0]
	return err
}

// sendData delivers the head, if it has not been, b as credit allows, and the end.
func (x *handled) sendData(b []byte, last bool, trailer []exchange.Field) error {
	for {
		x.mu.Lock()
		for len(b) > 0 && x.credit <= 0 && !x.over && !x.reset {
			x.changed.Wait()
		}
		if x.over || x.reset {
			x.mu.Unlock()
			return errReset
		}
		n := min(len(b), max(x.credit, 0))
		x.credit -= n
		end := last && n == len(b)
		x.inside++
		if end {
			x.over = true
			x.freeLocked()
		}
		x.mu.Unlock()
		x.deliver(b[:n], end, trailer)
		if b = b[n:]; len(b) == 0 {
			return nil
		}
	}
}

// enter begins an event of the response, if there may be one.
func (x *handled) enter() bool {
	x.mu.Lock()
	ok := !x.over && !x.reset
	if ok {
		x.inside++
	}
	x.mu.Unlock()
	if ok {
		x.h.o.enter()
	}
	return ok
}

// deliver delivers one batch of events.
func (x *handled) deliver(b []byte, end bool, trailer []exchange.Field) {
	x.h.o.enter()
	defer x.leave()
	if !x.sent {
		x.sent = true
		x.sniff(b)
		if end && len(b) == 0 && len(trailer) == 0 {
			x.response.Head(&x.head, true)
			return
		}
		x.response.Head(&x.head, false)
	}
	if len(b) > 0 {
		x.response.Data(b)
	}
	if end {
		x.response.End(trailer)
	}
}

// sniff adds a content type, as handlers expect of net/http.
func (x *handled) sniff(b []byte) {
	if len(b) == 0 {
		return
	}
	if _, ok := x.header["Content-Type"]; ok || x.header.Get("Content-Encoding") != "" {
		return
	}
	x.head.Fields = append(x.head.Fields, exchange.Field{Name: "content-type", Value: http.DetectContentType(b)})
}
