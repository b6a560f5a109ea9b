package sse

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// event is what a reader made of a stream.
type event struct {
	Name, ID, Data string
}

// read is the algorithm of the specification, section 9.2.6.
func read(s string) (events []event, retry string) {
	s = strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\r", "\n")
	var e event
	var data []string
	lines := strings.Split(s, "\n")
	for _, line := range lines[:len(lines)-1] { // an end without a line end is dropped
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case line == "":
			if data != nil {
				e.Data = strings.Join(data, "\n")
				events = append(events, e)
			}
			e, data = event{ID: e.ID}, nil
		case name == "event":
			e.Name = value
		case name == "data":
			data = append(data, value)
		case name == "id" && !strings.Contains(value, "\x00"):
			e.ID = value
		case name == "retry":
			retry = value
		}
	}
	return events, retry
}

func TestAppend(t *testing.T) {
	for _, tc := range []struct {
		name string
		e    Event
		data string
		wire string
		want event
	}{
		{"plain", Event{}, `{"a":1}`, "data: {\"a\":1}\n\n", event{Data: `{"a":1}`}},
		{"named", Event{Name: "x", ID: "7"}, "d", "event: x\nid: 7\ndata: d\n\n", event{"x", "7", "d"}},
		{"empty id", Event{HasID: true}, "d", "id: \ndata: d\n\n", event{Data: "d"}},
		{"no data", Event{Name: "EOS"}, "", "event: EOS\ndata: \n\n", event{Name: "EOS"}},
		{"lines", Event{}, "a\nb\r\nc\rd", "data: a\ndata: b\ndata: c\ndata: d\n\n", event{Data: "a\nb\nc\nd"}},
		{"line ends only", Event{}, "\n\r\n\r", "data: \ndata: \ndata: \ndata: \n\n", event{Data: "\n\n\n"}},
		{"a forged field", Event{Name: "x\ndata: y", ID: "1\r2\x003"}, "d", "event: xdata: y\nid: 123\ndata: d\n\n", event{"xdata: y", "123", "d"}},
		{"leading space", Event{}, " d", "data:  d\n\n", event{Data: " d"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := string(Append(nil, tc.e, []byte(tc.data)))
			if got != tc.wire {
				t.Errorf("got %q, want %q", got, tc.wire)
			}
			events, _ := read(got)
			if diff := cmp.Diff([]event{tc.want}, events); diff != "" {
				t.Error(diff)
			}
		})
	}
	if _, retry := read(string(Append(nil, Event{Retry: 1500}, nil))); retry != "1500" {
		t.Errorf("retry %q", retry)
	}
	if events, retry := read(string(AppendRetry(nil, 20)) + Comment); len(events) > 0 || retry != "20" {
		t.Errorf("%v, retry %q", events, retry)
	}
}

func FuzzAppend(f *testing.F) {
	f.Add("name", "id", []byte("data\nmore"))
	f.Add("", "\x00", []byte("\r\n\r"))
	f.Fuzz(func(t *testing.T, name, id string, data []byte) {
		events, _ := read(Comment + string(Append(nil, Event{Name: name, ID: id}, data)) + Comment)
		if len(events) != 1 {
			t.Fatalf("%d events", len(events))
		}
		clean := strings.NewReplacer("\r", "", "\n", "", "\x00", "")
		lines := strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(string(data))
		// A field's value loses one leading space only, which is the one that was added.
		want := event{clean.Replace(name), clean.Replace(id), lines}
		if diff := cmp.Diff(want, events[0]); diff != "" {
			t.Error(diff)
		}
	})
}
