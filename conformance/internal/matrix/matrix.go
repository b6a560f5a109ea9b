// Package matrix has the cases that every carrier has to pass in every kind of call, and what
// plays them in Go: a backend, and a client of whatever makes calls.
//
// The cases are data, cases.json, so that clients in other languages play the same ones. A case has
// two scripts for each kind of call, one of which the client plays, while the backend gets the other
// in the call's metadata, as x-script. A script is steps with commas between them. N is a
// number of messages, SIZE their size in bytes, 20 if there is none. Message number i of a direction
// is always the same ([Message]), and whoever receives one checks it.
//
//	client:
//	call SIZE          a unary call as people make it
//	send N SIZE        sends messages
//	recv N SIZE        receives messages
//	pingpong N SIZE    sends one and receives one, N times
//	pump N SIZE        sends and receives N messages side by side
//	close              half-closes
//	header             waits for the header, or for the error that there is none
//	release            lets the backend go on that holds
//	cancel             cancels
//
//	backend:
//	send N SIZE        sends messages
//	recv N, recv end   receives N messages, or what comes up to the half-close
//	echo               sends back what comes, up to the half-close
//	head               sends the header
//	hold               waits for release
//	wait               waits until it is cancelled
//	fail CODE          ends with a status, with details; NOT_FOUND without a code
//	part               sends half a message; this and the following: the backend Doomed only
//	die                breaks the connection
//	reset              resets the stream with CANCEL
//	ok                 ends with the status OK
//
// After its script a client receives the end of the call, and nothing but it, and compares
// what it got with what the case wants. Then it asks the backend what that saw (the method
// Saw), for it is not the client alone who has to be told.
package matrix

import (
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/grpc/metadata"
)

// The services of the backends.
const (
	Service = "sluice.matrix.v1.Judge"
	Doomed  = "sluice.matrix.v1.Doomed"
)

// Kinds are those of calls, and the names of the methods.
var Kinds = []string{"unary", "server", "client", "bidi"}

// A Case is one situation, in each kind of call.
type Case struct {
	Name      string              `json:"name"`
	Backend   string              `json:"backend"` // "" or "Doomed"
	TimeoutMS int                 `json:"timeoutMs"`
	Metadata  map[string][]string `json:"metadata"` // of -bin in base64, here and below
	Unary     Scripts             `json:"unary"`
	Server    Scripts             `json:"server"`
	Client    Scripts             `json:"client"`
	Bidi      Scripts             `json:"bidi"`
	Want      Want                `json:"want"`
}

// Scripts are what both sides do in a kind of call.
type Scripts struct {
	Client string `json:"client"`
	Server string `json:"server"`
	Calls  int    `json:"calls"` // how often, 50 at a time; once if 0
}

// A Want is how a call ends.
type Want struct {
	Code    uint32              `json:"code"`
	Header  map[string][]string `json:"header"` // at least these
	Trailer map[string][]string `json:"trailer"`
	Gone    bool                `json:"gone"` // the backend is told that the client is
}

//go:embed cases.json
var casesJSON []byte

// Cases reads them.
func Cases() ([]Case, error) {
	var list []Case
	d := json.NewDecoder(strings.NewReader(string(casesJSON)))
	d.DisallowUnknownFields()
	return list, d.Decode(&list)
}

// Of returns the scripts of a kind.
func (c *Case) Of(kind string) *Scripts {
	return map[string]*Scripts{"unary": &c.Unary, "server": &c.Server, "client": &c.Client, "bidi": &c.Bidi}[kind]
}

// Method is the path of the method that is called.
func (c *Case) Method(kind string) string {
	service := Service
	if c.Backend != "" {
		service = Doomed
	}
	return "/" + service + "/" + kind
}

// A step of a script.
type step struct {
	verb string
	n    int // -1 is "end"
	size int
}

const (
	defaultSize = 20
	failCode    = 5 // NOT_FOUND
	failMessage = "no such thing: 100 % ünïcode"
	failReason  = "MATRIX"
)

func parse(script string) ([]step, error) {
	var steps []step
	for s := range strings.SplitSeq(script, ",") {
		words := strings.Fields(s)
		if len(words) == 0 {
			return nil, fmt.Errorf("an empty step in %q", script)
		}
		p := step{verb: words[0], size: defaultSize}
		numbers := []*int{&p.n, &p.size}
		if p.verb == "call" {
			numbers = []*int{&p.size}
		}
		if len(words) > 1+len(numbers) {
			return nil, fmt.Errorf("%q is too long in %q", s, script)
		}
		for i, w := range words[1:] {
			n, err := strconv.Atoi(w)
			if w == "end" {
				n, err = -1, nil
			}
			if err != nil {
				return nil, fmt.Errorf("%q in %q: %w", s, script, err)
			}
			*numbers[i] = n
		}
		steps = append(steps, p)
	}
	return steps, nil
}

// Message is number i of a direction.
func Message(i, size int) []byte {
	b := make([]byte, size)
	for j := range b {
		b[j] = byte(31*i + j)
	}
	return b
}

// check says whether a message is number i; a negative size is any.
func check(b []byte, i, size int) error {
	if size >= 0 && len(b) != size {
		return fmt.Errorf("message %d has %d bytes, want %d", i, len(b), size)
	}
	for j := range b {
		if b[j] != byte(31*i+j) {
			return fmt.Errorf("message %d is wrong at byte %d of %d", i, j, len(b))
		}
	}
	return nil
}

// md makes metadata of a case's.
func md(m map[string][]string) (metadata.MD, error) {
	out := metadata.MD{}
	for name, values := range m {
		for _, v := range values {
			if strings.HasSuffix(name, "-bin") {
				b, err := base64.StdEncoding.DecodeString(v)
				if err != nil {
					return nil, err
				}
				v = string(b)
			}
			out.Append(name, v)
		}
	}
	return out, nil
}

// compare says what of a wanted metadata is missing.
func compare(what string, got metadata.MD, want map[string][]string) error {
	w, err := md(want)
	if err != nil {
		return err
	}
	for name, values := range w {
		if !slices.Equal(got[name], values) {
			return fmt.Errorf("%s has %s %q, want %q", what, name, got[name], values)
		}
	}
	return nil
}
