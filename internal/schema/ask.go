package schema

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/sluice-rpc/sluice/rpc"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// ahead is how many questions are asked before the first is answered, so that a backend
// far away does not cost a round trip for each. Answers come in the order of questions.
const ahead = 16

// maxHeld is how much may wait unread: a whole answer, and some of the next. Above it
// the backend gets no credit.
const maxHeld = maxMessage + rpc.WindowDefault

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

func parseAnswer(b []byte) (*answer, error) {
	var a answer
	err := fields(b, func(num protowire.Number, _ uint64, data []byte) error {
		switch num {
		case 4: // file_descriptor_response
			return fields(data, func(num protowire.Number, _ uint64, file []byte) error {
				if num == 1 {
					a.files = append(a.files, file)
				}
				if len(a.files) > maxFiles {
					return fmt.Errorf("reflection: more than %d files in an answer", maxFiles)
				}
				return nil
			})
		case 6: // list_services_response
			a.list, a.hasList = data, true
		case 7: // error_response
			a.code = uint64(rpc.Unknown)
			return fields(data, func(num protowire.Number, v uint64, msg []byte) error {
				switch num {
				case 1:
					a.code = v
				case 2:
					a.message = printable(msg[:min(len(msg), maxName)])
				}
				return nil
			})
		}
		return nil
	})
	return &a, err
}

// printable makes what a backend says fit for the eyes of an operator.
func printable(b []byte) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, string(b))
}

// services are the names in a list of services, sorted, each once.
func (a *answer) services() (names []string, err error) {
	if a.code != 0 {
		return nil, fmt.Errorf("reflection: list of services: %s", a.message)
	}
	if !a.hasList {
		return nil, errAnswer
	}
	err = fields(a.list, func(num protowire.Number, _ uint64, service []byte) error {
		if num != 1 {
			return nil
		}
		if len(names) >= maxFiles {
			return fmt.Errorf("reflection: more than %d services", maxFiles)
		}
		return fields(service, func(num protowire.Number, _ uint64, name []byte) error {
			switch {
			case num != 1:
				return nil
			case len(name) == 0 || len(name) > maxName:
				return errName
			case !protoreflect.FullName(name).IsValid():
				return fmt.Errorf("reflection: %q is not the name of a service", name)
			case len(names) >= maxFiles:
				return fmt.Errorf("reflection: more than %d services", maxFiles)
			}
			names = append(names, string(name))
			return nil
		})
	})
	slices.Sort(names)
	return slices.Compact(names), err
}

// reflection is one call of ServerReflectionInfo.
type reflection struct {
	req rpc.Request

	mu    sync.Mutex
	buf   []byte
	held  int // bytes that were not credited
	total int
	open  int // questions without an answer
	lost  error
	ended bool
	st    rpc.Status

	news chan struct{}
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

// services asks which services there are.
func (c *reflection) services(ctx context.Context) ([]string, error) {
	c.send(7, "*") // list_services
	a, err := c.answer(ctx)
	if err != nil {
		return nil, err
	}
	return a.services()
}

// each asks a question for each of the names that are wanted when their turn comes, and
// gives the answers to take.
func (c *reflection) each(ctx context.Context, question protowire.Number, names []string, wanted func(string) bool, take func(*answer) error) error {
	for len(names) > 0 {
		asked := 0
		for len(names) > 0 && asked < ahead {
			if wanted(names[0]) {
				c.send(question, names[0])
				asked++
			}
			names = names[1:]
		}
		for range asked {
			a, err := c.answer(ctx)
			if err != nil {
				return err
			}
			if err := take(a); err != nil {
				return err
			}
		}
	}
	return nil
}

// send asks. Names are bounded, and so are those on the way: the backend's window holds
// them.
func (c *reflection) send(question protowire.Number, name string) {
	c.mu.Lock()
	c.open++
	c.mu.Unlock()
	request := appendField(nil, question, name)
	c.req.Data(append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(request))), request...))
}

// answer waits for the next answer.
func (c *reflection) answer(ctx context.Context) (*answer, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if b, ok, err := c.next(); err != nil {
			return nil, err
		} else if ok {
			return parseAnswer(b)
		}
		select {
		case <-c.news:
		case <-ctx.Done():
		}
	}
}

// next takes a whole message.
func (c *reflection) next() (b []byte, ok bool, err error) {
	credit := 0
	c.mu.Lock()
	defer func() {
		c.mu.Unlock()
		if credit > 0 {
			c.req.Credit(credit)
		}
	}()
	if c.lost != nil {
		return nil, false, c.lost
	}
	if len(c.buf) >= 5 {
		n := int(binary.BigEndian.Uint32(c.buf[1:]))
		if c.buf[0] != 0 || n > maxMessage {
			return nil, false, errors.New("reflection: an answer is compressed or too large")
		}
		if len(c.buf) >= 5+n {
			// A copy, because files are kept, and not all that was ever buffered with them.
			b = slices.Clone(c.buf[5 : 5+n])
			c.buf = c.buf[5+n:]
			c.open--
			if len(c.buf) <= maxHeld {
				credit, c.held = c.held, 0
			}
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

// Data keeps what comes, as long as there is a question. A backend that sends ahead of
// its reader gets no credit, and has to stop.
func (r *reflectionResponse) Data(b []byte) {
	credit := 0
	r.mu.Lock()
	r.total += len(b)
	switch {
	case r.lost != nil:
	case r.open == 0:
		r.lost = errors.New("reflection: the backend answers what nobody asked")
	case r.total > maxTotal:
		r.lost = fmt.Errorf("reflection: the answers are larger than %d bytes", maxTotal)
	default:
		r.buf = append(r.buf, b...)
		r.held += len(b)
		if len(r.buf) <= maxHeld {
			credit, r.held = r.held, 0
		}
	}
	r.mu.Unlock()
	if credit > 0 {
		r.req.Credit(credit)
	}
	(*reflection)(r).wake()
}

func (r *reflectionResponse) End(st rpc.Status, _ rpc.Metadata) {
	r.mu.Lock()
	r.ended, r.st = true, st
	r.mu.Unlock()
	(*reflection)(r).wake()
}
