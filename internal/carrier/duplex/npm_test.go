package duplex

import (
	"encoding/base64"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/exchange/exchangetest"
)

// npm opens a session as npm http2-duplex does, and returns its id.
func (w *world) npm() (get *asked, id string) {
	w.t.Helper()
	get = w.ask("GET", "sec-fetch-mode", "cors", "sec-fetch-site", "same-origin")
	get.End(nil)
	return get, get.Answer().Get("http2-duplex-id")
}

// write is an upload of npm http2-duplex.
func (w *world) write(id, body string, more ...string) *asked {
	w.t.Helper()
	a := w.ask("POST", append([]string{"http2-duplex-id", id}, more...)...)
	if body != "" {
		a.Data([]byte(body))
	}
	a.End(nil)
	return a
}

// TestNPM has what a client of npm http2-duplex does.
func TestNPM(t *testing.T) {
	w := newWorld(t, echo())
	get, id := w.npm()
	pipe := w.pipes.Next(t)
	if b, err := base64.StdEncoding.DecodeString(id); err != nil || len(b) != 64 {
		t.Errorf("id %q: %v", id, err)
	}
	get.body("ahello ")
	_, other := w.npm()
	if other == id {
		t.Error("the same id twice")
	}
	w.write(id, "one ").want(200, "")
	single := w.ask("POST", "http2-duplex-id", id, "http2-duplex-single", "true")
	single.Data([]byte("two "))
	waits := w.write(id, "four ")
	single.Data([]byte("three "))
	waits.running()
	single.Reset(exchange.Cancel) // what came of it counts
	single.done()
	waits.want(200, "")
	w.got(pipe, "one two three four ")
	w.write(id, "", "http2-duplex-end", "true", "http2-duplex-destroyed", "false").want(200, "")
	if !pipe.Seen().Ended {
		t.Error("not ended")
	}
	get.body("ahello one two three four ")
	if a := get.Answer(); !a.Ended {
		t.Errorf("%+v", a)
	}
	w.write(id, "x").want(200, "") // the call is over: this is dropped, as it would be on any exchange
	w.write(id, "", "http2-duplex-end", "true").want(200, "")
	get.done()
	w.write(id, "x").status(404)
	pipe.Check(t)
}

// TestNPMSingle ends up with its one upload.
func TestNPMSingle(t *testing.T) {
	w := newWorld(t, echo())
	get, id := w.npm()
	pipe := w.pipes.Next(t)
	w.write(id, "all", "http2-duplex-single", "true").want(200, "")
	if s := pipe.Seen(); !s.Ended || string(s.Body) != "all" {
		t.Errorf("%+v", s)
	}
	get.body("ahello all")
}

// TestNPMDestroyed has a client that leaves, as it does: it says so twice.
func TestNPMDestroyed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		script := echo()
		script.NoCredit = true
		w := newWorld(t, script)
		get, id := w.npm()
		pipe := w.pipes.Next(t)
		waits := w.write(id, "x")
		waits.running()
		w.write(id, "", "http2-duplex-end", "true", "http2-duplex-destroyed", "true").want(200, "")
		w.write(id, "", "http2-duplex-end", "true", "http2-duplex-destroyed", "true").status(404)
		waits.status(404)
		if s := pipe.Seen(); !s.Reset || s.Code != exchange.Cancel {
			t.Errorf("%+v", s)
		}
		if a := get.Answer(); !a.Broken {
			t.Errorf("%+v", a)
		}
		get.done()
		synctest.Wait()
		w.empty()
		time.Sleep(time.Minute)
		pipe.Check(t)
	})
}

// TestNPMLimits has a client that does not wait for answers.
func TestNPMLimits(t *testing.T) {
	w := newWorld(t, exchangetest.Script{NoCredit: true})
	_, id := w.npm()
	large := string(make([]byte, window))
	w.write(id, large).running()
	w.write(id, large[:1000]).running()
	w.write(id, "x").status(409)
	w.write(id, "").running()
	w.write(id, "").running()
	w.write(id, "").status(409)
}
