package client

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/wire/duplex"
	wiregrpc "github.com/sluice-rpc/sluice/internal/wire/grpc"
	"github.com/sluice-rpc/sluice/rpc"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// lost says that the call's pipe broke. A call that can be resumed waits for another one, and so
// does a call of which nothing was sent.
func (k *call) lost(err error) {
	n := k.lane.n
	k.lossy.stop()
	wait := n.welcome.detach
	fresh := k.epoch == 0
	if k.phase == phaseOpen && k.id == "" && !fresh {
		k.finish(status.Newf(codes.Unavailable, "the connection was lost: %s", oneLine(err)))
		return
	}
	if !fresh && !k.answered && !k.over {
		// The gateway remembers what it has seen for a while only.
		if wait = min(wait, k.first.Add(n.welcome.detach).Sub(now())); wait <= 0 {
			k.finish(unresumable("expired", "the connection was lost before the gateway had answered"))
			return
		}
	}
	n.detach(k)
	if k.orphan || !k.over {
		k.c.waiting = append(k.c.waiting, k)
	}
	if k.refresh != nil && !fresh && !k.over && !k.renewing {
		k.renewing = true
		k.c.wg.Add(1)
		go k.renew() // ends when the credentials have answered, whose context is the call's
	}
	if !fresh && k.timer == nil {
		k.timer = time.AfterFunc(wait, k.abandon)
	}
}

// renew asks the credentials of a call again, before it is resumed: a token may have run out.
func (k *call) renew() {
	c := k.c
	defer c.wg.Done()
	block, err := k.refresh()
	c.mu.Lock()
	defer c.unlock()
	k.renewing = false
	switch {
	case k.over:
	case err != nil:
		k.finish(status.Convert(err))
	default:
		k.block = block
	}
	c.place()
}

// abandon gives up a call that has waited for as long as the gateway keeps it.
func (k *call) abandon() {
	k.c.mu.Lock()
	defer k.c.unlock()
	if k.orphan {
		k.orphan = false
		if k.lane != nil {
			k.leave()
		}
		k.c.unwait(k)
		return
	}
	k.finish(unresumable("expired", "the connection was lost, and the call could not be resumed in time"))
	if k.orphan { // it would be too late
		k.orphan = false
		k.stopTimers()
		k.c.unwait(k)
	}
}

// unresumable is the status of a call whose connection was lost for good. It tells an
// application why.
func unresumable(reason, message string) *status.Status {
	st := status.New(codes.Unavailable, message)
	info := &errdetails.ErrorInfo{Domain: "sluice-rpc", Reason: "CALL_" + strings.ToUpper(strings.ReplaceAll(reason, "-", "_"))}
	if with, err := st.WithDetails(info); err == nil {
		return with
	}
	return st
}

// takeResumed is the gateway's answer.
func (k *call) takeResumed(list []exchange.Field, again bool) error {
	if k.phase != phaseResuming && !again {
		return fmt.Errorf("RESUMED of a call that was not resumed")
	}
	state := exchange.Get(list, ":state")
	switch state {
	case "live", "ended":
	case "gone":
		k.got = duplex.GotEnd // nothing is left at the gateway
		st, ok := wiregrpc.ReadStatus(list)
		if !ok || st.Code == rpc.OK {
			k.finish(unresumable(exchange.Get(list, ":reason"), "the gateway no longer has the call"))
			return nil
		}
		k.finish(fromStatus(st))
		return nil
	default:
		return fmt.Errorf("RESUMED with the state %q", state)
	}
	got, err := strconv.ParseUint(exchange.Get(list, ":got"), 10, 8)
	if err != nil || got > uint64(duplex.GotEnd) {
		return fmt.Errorf("RESUMED with :got: %q", exchange.Get(list, ":got"))
	}
	received, err := strconv.ParseUint(exchange.Get(list, ":received"), 10, 63)
	if err != nil {
		return fmt.Errorf("RESUMED with :received: %q", exchange.Get(list, ":received"))
	}
	if k.timer != nil {
		k.timer.Stop()
		k.timer = nil
	}
	k.lossy.answer(list, true)
	if !again {
		k.phase = phaseOpen
		if err := k.up.Rewind(received); err != nil && state == "live" {
			k.finish(status.Newf(codes.DataLoss, "the gateway has %d bytes of the call: %v", received, err))
			return nil
		}
		k.endSent = duplex.Mark(got) == duplex.GotEnd
	}
	k.creditIs = true // the last one may be lost
	k.send()
	return nil
}
