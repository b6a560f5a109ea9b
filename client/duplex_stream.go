package client

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"
)

// streamed is the one upload of a session that does not end. Until an upload without content has told that its
// first bytes were taken, everything that was written is kept, to be sent in uploads of their own if
// something on the way keeps the one until it is whole. The lock of the session guards it.
type streamed struct {
	p      *duplexPipe
	body   *io.PipeWriter
	abort  context.CancelFunc
	kept   []byte
	proven bool
	over   bool // other uploads go on
}

const (
	// proveWithin is how long the first bytes may take, and provePause how often is asked.
	proveWithin = 2 * time.Second
	provePause  = 50 * time.Millisecond
	// maxKept bounds what is written before that.
	maxKept = 128 << 10
)

// stream begins the upload.
func (p *duplexPipe) stream() *streamed {
	body, up := io.Pipe()
	life, abort := context.WithCancel(p.life)
	u := &streamed{p: p, body: up, abort: abort}
	go func() { // ends with the session, or when other uploads go on
		req, err := p.request(life, http.MethodPost, 0, body)
		if err == nil {
			var resp *http.Response
			if resp, err = p.transport.RoundTrip(req); err == nil {
				err = answer(resp)
			}
		}
		p.mu.Lock()
		proven := u.proven
		u.fallBack()
		p.mu.Unlock()
		_ = body.CloseWithError(err)
		if proven {
			p.fail(err)
		}
	}()
	return u
}

// send writes to the upload. It says no if that is over, and the bytes have to go another way.
func (u *streamed) send(b []byte) (bool, error) {
	u.p.mu.Lock()
	if u.over {
		u.p.mu.Unlock()
		return false, nil
	}
	if !u.proven {
		if len(u.kept) == 0 {
			go u.prove(int64(len(b))) // ends when it is proven, or in proveWithin
		}
		u.kept = append(u.kept, b...)
	}
	u.p.mu.Unlock()
	_, err := u.body.Write(b)
	u.p.mu.Lock()
	defer u.p.mu.Unlock()
	for err == nil && !u.proven && !u.over && len(u.kept) > maxKept && u.p.failed == nil {
		u.p.wake.Wait()
	}
	if err != nil {
		u.fallBack()
	}
	switch {
	case u.p.failed != nil:
		return true, u.p.failed
	case u.over: // these bytes were kept, and are on their way
		return true, nil
	}
	return true, err
}

// prove asks whether the first bytes were taken.
func (u *streamed) prove(first int64) {
	ctx, cancel := context.WithTimeout(u.p.life, proveWithin)
	defer cancel()
	for ctx.Err() == nil {
		taken, err := u.p.taken(ctx)
		if err == nil && taken >= first {
			u.p.mu.Lock()
			u.proven, u.kept = true, nil
			u.p.wake.Broadcast()
			u.p.mu.Unlock()
			return
		}
		if _, said := errors.AsType[*answered](err); said {
			break
		}
		t := time.NewTimer(provePause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
		}
	}
	u.p.mu.Lock()
	defer u.p.mu.Unlock()
	u.fallBack()
}

// fallBack sends in uploads of their own what was written; what the one still brings is the same bytes at the same place.
func (u *streamed) fallBack() {
	if u.proven || u.over {
		return
	}
	u.over = true
	u.abort()
	_ = u.body.CloseWithError(errClosed)
	if len(u.kept) > 0 && u.p.failed == nil {
		u.p.fly(u.kept)
	}
	u.kept = nil
	u.p.wake.Broadcast()
}

// taken asks how much came up without a gap.
func (p *duplexPipe) taken(ctx context.Context) (int64, error) {
	req, err := p.request(ctx, http.MethodPost, 0, nil)
	if err != nil {
		return 0, err
	}
	resp, err := p.transport.RoundTrip(req)
	if err != nil {
		return 0, err
	}
	if resp.StatusCode != http.StatusNoContent {
		return 0, answer(resp)
	}
	_ = resp.Body.Close()
	return strconv.ParseInt(resp.Header.Get("Sluice-Taken"), 10, 64)
}
