package rest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/exchange/exchangetest"
	"github.com/sluice-rpc/sluice/internal/transcode"
	"github.com/sluice-rpc/sluice/rpc"
)

// A styleCase is one exchange that an option makes different: with the option on, with
// it off.
type styleCase struct {
	name    string
	change  func(*Style)
	run     func(r *trial) exchangetest.Answer
	show    func(r *trial, a exchangetest.Answer) string // the body, by default
	with    string
	without string
}

func get(path, headers, answer string) func(*trial) exchangetest.Answer {
	return func(r *trial) exchangetest.Answer { return r.do("GET", path, headers, "", out, answer) }
}

func post(path, body string) func(*trial) exchangetest.Answer {
	return func(r *trial) exchangetest.Answer {
		return r.do("POST", path, "content-type: application/json", body, out, `{}`)
	}
}

// failing is a stream that gives a message and then a status.
func failing(accept string, code rpc.Code) func(*trial) exchangetest.Answer {
	return func(r *trial) exchangetest.Answer {
		r.start("GET", watch, "accept: "+accept).close()
		r.send(out, `{"id":"a"}`)
		r.end(rpc.Status{Code: code, Message: "m"}, nil)
		return r.finish()
	}
}

// early is a call that fails at once.
func early(path, headers string, code rpc.Code) func(*trial) exchangetest.Answer {
	return func(r *trial) exchangetest.Answer {
		r.start("GET", path, headers).close()
		r.end(rpc.Status{Code: code, Message: "m"}, nil)
		return r.finish()
	}
}

func statusAndBody(_ *trial, a exchangetest.Answer) string {
	if a.Broken {
		return fmt.Sprintf("%d %s cut", a.Status, a.Body)
	}
	return fmt.Sprintf("%d %s", a.Status, a.Body)
}

func statusOnly(_ *trial, a exchangetest.Answer) string { return fmt.Sprint(a.Status) }

func gotMessages(r *trial, a exchangetest.Answer) string {
	if a.Status != 200 {
		return fmt.Sprint(a.Status)
	}
	return strings.Join(r.messages(in), " ")
}

func typeAndBody(_ *trial, a exchangetest.Answer) string {
	return a.Get("content-type") + " " + string(a.Body)
}

const (
	sseAccept = "text/event-stream"
	failedM   = `{"code":13,"message":"m","details":[]}`
	eos       = "event: EOS\nid: EOS\ndata: \n\n"
)

// TestStyle is every option: what it changes, and what there is without it.
func TestStyle(t *testing.T) {
	for _, tc := range []styleCase{
		{"emit defaults", func(s *Style) { s.JSON.EmitDefaults = true }, get("/v1/list", "-", `{"id":"a"}`), nil,
			`{"id":"a","number":"0","tags":[],"kind":"KIND_UNSPECIFIED"}`, `{"id":"a"}`},
		{"proto names", func(s *Style) { s.JSON.ProtoNames = true }, func(r *trial) exchangetest.Answer {
			return r.do("GET", "/v1/echo", "-", "", in, `{"updateMask":"a"}`)
		}, nil, `{"update_mask":"a"}`, `{"updateMask":"a"}`},
		{"enum numbers", func(s *Style) { s.JSON.EnumNumbers = true }, get("/v1/list", "-", `{"kind":"BIG"}`), nil, `{"kind":1}`, `{"kind":"BIG"}`},
		{"indent", func(s *Style) { s.JSON.Indent = "\t" }, get("/v1/list", "-", `{"id":"a"}`), nil, "{\n\t\"id\": \"a\"\n}", `{"id":"a"}`},
		{"indent lines", func(s *Style) { s.JSON.Indent = "\t" }, get(watch, "-", `{"id":"a"}`), nil, "{\"id\":\"a\"}\n", "{\"id\":\"a\"}\n"},
		{"$prettyPrint=false", func(s *Style) { s.JSON.Indent = "\t" }, get("/v1/list?$prettyPrint=false", "-", `{"id":"a"}`), nil, `{"id":"a"}`, `{"id":"a"}`},
		{"$prettyPrint=true", func(s *Style) { s.JSON.Indent = "\t" }, get("/v1/list?$prettyPrint=true", "-", `{"id":"a"}`), nil, "{\n\t\"id\": \"a\"\n}", "{\n  \"id\": \"a\"\n}"},

		{"ignore params", func(s *Style) { s.IgnoreParams = true }, get("/v1/list?x=1&id=a&$alt=what", "-", `{}`), gotMessages, `{"id":"a"}`, "400"},
		{"ignore params/taken", func(s *Style) { s.IgnoreParams = true }, get("/v1/items/7?id=8", "-", `{}`), gotMessages, `{"id":"7"}`, "400"},
		{"ignore params/body", func(s *Style) { s.IgnoreParams = true }, post("/v1/make?id=8", `{"id":"7"}`), gotMessages, `{"id":"7"}`, "400"},
		{"ignore fields", func(s *Style) { s.IgnoreFields = true }, post("/v1/make", `{"x":1,"id":"7"}`), gotMessages, `{"id":"7"}`, "400"},
		{"ignore params, not fields", func(s *Style) { s.IgnoreParams = true }, post("/v1/make", `{"x":1,"id":"7"}`), gotMessages, "400", "400"},
		{"ignore fields, not params", func(s *Style) { s.IgnoreFields = true }, get("/v1/list?x=1", "-", `{}`), gotMessages, "400", "400"},
		{"no mask", func(s *Style) { s.FillMask = false }, func(r *trial) exchangetest.Answer {
			return r.do("PATCH", "/v1/items/7", "content-type: application/json", `{"size":1}`, out, `{}`)
		}, gotMessages, `{"nested":{"id":"7","size":1}}`, `{"nested":{"id":"7","size":1},"updateMask":"size"}`},
		{"each message", func(s *Style) { s.EachMessage = true }, post("/v1/lists/7/upload?number=3", `{"size":1}{"size":2}`), gotMessages,
			`{"id":"7","number":"3","nested":{"size":1}} {"id":"7","number":"3","nested":{"size":2}}`,
			`{"id":"7","number":"3","nested":{"size":1}} {"nested":{"size":2}}`},

		{"mode off", func(s *Style) { s.Off = s.Off.With(SSE) }, get(watch, "accept: "+sseAccept, `{}`), statusOnly, "406", "200"},
		{"mode off/$alt", func(s *Style) { s.Off = s.Off.With(SSE) }, get(watch+"?$alt=sse", "-", `{}`), statusOnly, "400", "200"},
		{"usual mode off", func(s *Style) { s.Off = s.Off.With(NDJSON) }, get(watch, "-", `{}`), typeAndBody,
			"text/event-stream id: 1\ndata: {}\n\n" + eos, "application/x-ndjson {}\n"},
		{"streams off", func(s *Style) {
			for m := range framingAccept {
				s.Off = s.Off.With(m)
			}
		}, get(watch, "-", `{}`), statusOnly, "501", "200"},
		{"streams off/unary", func(s *Style) {
			for m := range framingAccept {
				s.Off = s.Off.With(m)
			}
		}, get("/v1/list", "-", `{}`), nil, "{}", "{}"},
		{"alias", func(s *Style) { s.Alias = true }, get("/test.v1.S/Feed?id=x", "accept: "+sseAccept, `{}`), gotMessages, `{"id":"x"}`, "405"},
		{"alias is for events", func(s *Style) { s.Alias = true }, get("/test.v1.S/Feed?id=x", "accept: */*", `{}`), statusOnly, "405", "405"},
		{"alias is for streams", func(s *Style) { s.Alias = true }, get("/test.v1.S/Plain", "accept: "+sseAccept, `{}`), statusOnly, "405", "405"},
		{"alias is not for HEAD", func(s *Style) { s.Alias = true }, func(r *trial) exchangetest.Answer {
			return r.do("HEAD", "/test.v1.S/Feed", "accept: "+sseAccept, "", out, `{}`)
		}, statusOnly, "405", "405"},
		{"no RPC paths", func(s *Style) { s.NoRPC = true }, post("/test.v1.S/Plain", `{}`), statusOnly, "404", "200"},
		{"any accept", func(s *Style) { s.AnyAccept = true }, get("/v1/list", "accept: image/png", `{}`), typeAndBody, "application/json {}",
			"application/json " + `{"code":3,"message":"nothing that the client accepts can be had: there are application/json, application/x-protobuf, ` +
				`application/protobuf, application/vnd.google.protobuf, text/event-stream, application/x-ndjson, application/jsonl, application/json-seq","details":[]}` + "\n"},

		{"stream", func(s *Style) { s.Stream = Seq }, get(watch, "accept: */*", `{}`), typeAndBody, "application/json-seq \x1e{}\n", "application/x-ndjson {}\n"},
		{"stream, client prefers", func(s *Style) { s.Stream = Seq }, get(watch, "accept: application/jsonl", `{}`), typeAndBody, "application/x-ndjson {}\n", "application/x-ndjson {}\n"},
		{"document", func(s *Style) { s.Document = NDJSON }, get(watch, "accept: application/json", `{}`), typeAndBody, "application/json {}\n", "application/json [{}]"},
		{"document/*", func(s *Style) { s.Document = NDJSON }, get(watch, "-", `{}`), typeAndBody, "application/json {}\n", "application/x-ndjson {}\n"},
		{"document/lines", func(s *Style) { s.Document = NDJSON }, get(watch, "accept: application/x-ndjson", `{}`), typeAndBody, "application/x-ndjson {}\n", "application/x-ndjson {}\n"},
		{"document/$alt", func(s *Style) { s.Document = NDJSON }, get(watch+"?$alt=json", "-", `{}`), typeAndBody, "application/json {}\n", "application/json [{}]"},

		{"envelope", func(s *Style) { s.Envelope = true }, failing("application/x-ndjson", rpc.Internal), nil,
			`{"result":{"id":"a"}}` + "\n" + `{"error":` + failedM + "}\n", `{"id":"a"}` + "\n" + `{"@error":` + failedM + "}\n"},
		{"envelope/array", func(s *Style) { s.Envelope = true }, failing("application/json", rpc.Internal), nil,
			`[{"result":{"id":"a"}},{"error":` + failedM + "}", `[{"id":"a"},{"@error":` + failedM + "}"},
		{"envelope/seq", func(s *Style) { s.Envelope = true }, failing("application/json-seq", rpc.Internal), nil,
			"\x1e" + `{"result":{"id":"a"}}` + "\n\x1e" + `{"error":` + failedM + "}\n", "\x1e" + `{"id":"a"}` + "\n\x1e" + `{"@error":` + failedM + "}\n"},
		{"envelope/sse", func(s *Style) { s.Envelope = true }, get(watch, "accept: "+sseAccept, `{"id":"a"}`), nil,
			"id: 1\ndata: {\"result\":{\"id\":\"a\"}}\n\n" + eos, "id: 1\ndata: {\"id\":\"a\"}\n\n" + eos},
		{"envelope/early", func(s *Style) { s.Envelope = true }, early(watch, "-", rpc.Internal), statusAndBody,
			`500 {"error":` + failedM + "}\n", "500 " + failedM + "\n"},
		{"envelope/unary", func(s *Style) { s.Envelope = true }, early("/v1/list", "-", rpc.Internal), statusAndBody, "500 " + failedM + "\n", "500 " + failedM + "\n"},
		{"envelope/unary lines", func(s *Style) { s.Envelope = true }, get("/v1/list", "accept: application/x-ndjson", `{}`), nil, "{}\n", "{}\n"},

		{"closed", func(s *Style) { s.Failure = FailClosed }, failing("application/json", rpc.Internal), nil,
			`[{"id":"a"},` + failedM + "]", `[{"id":"a"},{"@error":` + failedM + "}"},
		{"bare", func(s *Style) { s.Failure = FailBare }, failing("application/x-ndjson", rpc.Internal), nil,
			`{"id":"a"}` + "\n" + failedM + "\n", `{"id":"a"}` + "\n" + `{"@error":` + failedM + "}\n"},
		{"open", func(s *Style) { s.Failure = FailOpen }, failing("application/json", rpc.Internal), statusAndBody,
			`200 [{"id":"a"}`, `200 [{"id":"a"},{"@error":` + failedM + "}"},
		{"open/lines are cut", func(s *Style) { s.Failure = FailOpen }, failing("application/x-ndjson", rpc.Internal), statusAndBody,
			`200 {"id":"a"}` + "\n cut", `200 {"id":"a"}` + "\n" + `{"@error":` + failedM + "}\n"},
		{"open/events are cut", func(s *Style) { s.Failure = FailOpen }, failing(sseAccept, rpc.Internal), statusAndBody,
			"200 id: 1\ndata: {\"id\":\"a\"}\n\n cut", "200 id: 1\ndata: {\"id\":\"a\"}\n\nevent: failure\ndata: " + failedM + "\n\n" + eos},

		{"closed/google events", func(s *Style) { s.Failure, s.Errors = FailClosed, ErrorGoogle }, failing(sseAccept, rpc.NotFound), nil,
			"id: 1\ndata: {\"id\":\"a\"}\n\nevent: failure\ndata: {\"error\":{\"code\":404,\"message\":\"m\",\"status\":\"NOT_FOUND\",\"details\":[]}}\n\n" + eos,
			"id: 1\ndata: {\"id\":\"a\"}\n\nevent: failure\ndata: {\"code\":5,\"message\":\"m\",\"details\":[]}\n\n" + eos},
		{"open/envelope", func(s *Style) { s.Envelope, s.Failure = true, FailOpen }, failing("application/x-ndjson", rpc.Internal), nil,
			`{"result":{"id":"a"}}` + "\n" + `{"error":` + failedM + "}\n", `{"id":"a"}` + "\n" + `{"@error":` + failedM + "}\n"},

		{"failure event", func(s *Style) { s.Events.Failure = "oops" }, failing(sseAccept, rpc.Internal), nil,
			"id: 1\ndata: {\"id\":\"a\"}\n\nevent: oops\ndata: " + failedM + "\n\n" + eos, "id: 1\ndata: {\"id\":\"a\"}\n\nevent: failure\ndata: " + failedM + "\n\n" + eos},
		{"no EOS", func(s *Style) { s.Events.End = false }, get(watch, "accept: "+sseAccept, `{}`), nil, "id: 1\ndata: {}\n\n", "id: 1\ndata: {}\n\n" + eos},
		{"no EOS/no 204", func(s *Style) { s.Events.End = false }, get(watch, "accept: "+sseAccept+"; last-event-id: EOS", `{}`), statusOnly, "200", "204"},
		{"EOS data", func(s *Style) { s.Events.EndData = "bye" }, get(watch, "accept: "+sseAccept, `{}`), nil,
			"id: 1\ndata: {}\n\nevent: EOS\nid: EOS\ndata: bye\n\n", "id: 1\ndata: {}\n\n" + eos},
		{"no EOS after a failure", func(s *Style) { s.Events.EndFailed = false }, failing(sseAccept, rpc.Internal), nil,
			"id: 1\ndata: {\"id\":\"a\"}\n\nevent: failure\ndata: " + failedM + "\n\n", "id: 1\ndata: {\"id\":\"a\"}\n\nevent: failure\ndata: " + failedM + "\n\n" + eos},
		{"no EOS/failure", func(s *Style) { s.Events.End = false }, failing(sseAccept, rpc.Internal), nil,
			"id: 1\ndata: {\"id\":\"a\"}\n\nevent: failure\ndata: " + failedM + "\n\n", "id: 1\ndata: {\"id\":\"a\"}\n\nevent: failure\ndata: " + failedM + "\n\n" + eos},
		{"no numbers", func(s *Style) { s.Events.Number = false }, get(watch, "accept: "+sseAccept, `{}`), nil, "data: {}\n\n" + eos, "id: 1\ndata: {}\n\n" + eos},
		{"retry", func(s *Style) { s.Events.Retry = 7 }, failing(sseAccept, rpc.Unavailable), nil,
			"id: 1\ndata: {\"id\":\"a\"}\n\nevent: failure\nretry: 7\ndata: {\"code\":14,\"message\":\"m\",\"details\":[]}\n\n",
			"id: 1\ndata: {\"id\":\"a\"}\n\nevent: failure\nretry: 1000\ndata: {\"code\":14,\"message\":\"m\",\"details\":[]}\n\n"},
		{"no retry", func(s *Style) { s.Events.Retry = 0 }, early(watch, "accept: "+sseAccept, rpc.Unavailable), statusAndBody,
			"503 {\"code\":14,\"message\":\"m\",\"details\":[]}\n", "200 :\n\nretry: 1000\n\n"},

		{"problem", func(s *Style) { s.Errors = ErrorProblem }, early("/v1/list", "-", rpc.Internal), typeAndBody,
			`application/problem+json {"type":"about:blank","title":"INTERNAL","status":500,"detail":"m","code":13,"details":[]}` + "\n", "application/json " + failedM + "\n"},
		{"problem, client prefers", func(s *Style) { s.Errors = ErrorProblem }, early("/v1/list", "accept: application/json", rpc.Internal), typeAndBody,
			"application/json " + failedM + "\n", "application/json " + failedM + "\n"},
		{"problem, nobody", func(s *Style) { s.Errors = ErrorProblem }, get("/.well-known/x", "-", "{}"), func(_ *trial, a exchangetest.Answer) string {
			return a.Get("content-type")
		}, "application/problem+json", "application/json"},
		{"google errors", func(s *Style) { s.Errors = ErrorGoogle }, early("/v1/list", "-", rpc.NotFound), statusAndBody,
			`404 {"error":{"code":404,"message":"m","status":"NOT_FOUND","details":[]}}` + "\n", `404 {"code":5,"message":"m","details":[]}` + "\n"},
		{"details", func(s *Style) { s.JSON.EmitDefaults = true }, func(r *trial) exchangetest.Answer {
			r.start("GET", "/v1/list", "-").close()
			nested := append([]byte{0x1a, 36, 0x0a, 34}, "type.googleapis.com/test.v1.Nested"...)
			info := append([]byte{0x1a, 48, 0x0a, 41}, "type.googleapis.com/google.rpc.ResourceInfo"...)
			info[1], info[3] = byte(2+43+2+3), 43
			info = append(info, 0x12, 3, 0x0a, 1, 'r')
			r.end(rpc.Status{Code: rpc.Internal, Details: append(nested, info...)}, nil)
			return r.finish()
		}, nil,
			`{"code":13,"message":"","details":[{"@type":"type.googleapis.com/test.v1.Nested","id":"","size":0,"more":[]},` +
				`{"@type":"type.googleapis.com/google.rpc.ResourceInfo","resourceType":"r","resourceName":"","owner":"","description":""}]}` + "\n",
			`{"code":13,"message":"","details":[{"@type":"type.googleapis.com/test.v1.Nested"},{"@type":"type.googleapis.com/google.rpc.ResourceInfo","resourceType":"r"}]}` + "\n"},
		{"google errors/array", func(s *Style) { s.Errors, s.Failure = ErrorGoogle, FailClosed }, early(watch, "accept: application/json", rpc.NotFound), statusAndBody,
			`404 [{"error":{"code":404,"message":"m","status":"NOT_FOUND","details":[]}}]` + "\n", `404 {"code":5,"message":"m","details":[]}` + "\n"},
		{"google errors/array that stays open", func(s *Style) { s.Errors = ErrorGoogle }, early(watch, "accept: application/json", rpc.NotFound), statusAndBody,
			`404 {"error":{"code":404,"message":"m","status":"NOT_FOUND","details":[]}}` + "\n", `404 {"code":5,"message":"m","details":[]}` + "\n"},
		{"details/indent", func(s *Style) { s.JSON.Indent = "  " }, func(r *trial) exchangetest.Answer {
			r.start("GET", "/v1/list", "-").close()
			detail := append([]byte{0x1a, 40, 0x0a, 34}, "type.googleapis.com/test.v1.Nested"...)
			r.end(rpc.Status{Code: rpc.Internal, Details: append(detail, 0x12, 2, 0x10, 7)}, nil)
			return r.finish()
		}, nil, `{"code":13,"message":"","details":[{"@type":"type.googleapis.com/test.v1.Nested","size":7}]}` + "\n",
			`{"code":13,"message":"","details":[{"@type":"type.googleapis.com/test.v1.Nested","size":7}]}` + "\n"},
		{"no error body", func(s *Style) { s.Errors = ErrorNone }, early("/v1/list", "-", rpc.NotFound), func(_ *trial, a exchangetest.Answer) string {
			return fmt.Sprint(a.Status, " ", string(a.Body), a.Get("grpc-status"), a.Get("grpc-message"), a.Get("content-type"), a.Get("content-length"))
		}, "404 5m0", `404 {"code":5,"message":"m","details":[]}` + "\napplication/json38"},
		{"no error body, nobody", func(s *Style) { s.Errors = ErrorNone }, get("/.well-known/x", "-", "{}"), func(_ *trial, a exchangetest.Answer) string {
			return fmt.Sprintf("%d %v %s", a.Status, len(a.Body) > 0, a.Get("grpc-status"))
		}, "404 false 5", "404 true "},

		{"request fields", func(s *Style) { s.Request = mustRules("!x-secret", "x-*=*", "cookie=c") }, get("/v1/list", "x-a: 1; x-secret: 2; cookie: 3; other: 4", "{}"),
			func(r *trial, _ exchangetest.Answer) string { return fmt.Sprint(r.call.Metadata) },
			"[{a 1 false} {c 3 false}]", "[{x-a 1 false} {x-secret 2 false} {cookie 3 false} {other 4 false}]"},
		{"response fields", func(s *Style) { s.Response = mustRules("*=grpc-metadata-*") }, answerWith(rpc.Metadata{{Key: "x-a", Value: "1"}}, nil),
			fieldsBut, "grpc-metadata-x-a:1", "x-a:1"},
		{"trailer fields", func(s *Style) { s.Trailer = nil }, answerWith(nil, rpc.Metadata{{Key: "x-t", Value: "1"}}), fieldsBut, "", "x-t:1"},
		{"fields of a stream", func(s *Style) { s.Response, s.Trailer = mustRules("*=r-*"), mustRules("*=t-*") }, func(r *trial) exchangetest.Answer {
			r.start("GET", watch, "-").close()
			r.head(rpc.Field{Key: "a", Value: "1"})
			r.end(rpc.Status{}, rpc.Metadata{{Key: "b", Value: "2"}})
			return r.finish()
		}, func(_ *trial, a exchangetest.Answer) string {
			return fmt.Sprintf("%q %q %v", a.Get("r-a"), a.Get("a"), a.Trailer)
		}, `"1" "" [{grpc-status 0 false} {t-b 2 false}]`, `"" "1" [{grpc-status 0 false} {b 2 false}]`},
		{"trailer section", func(s *Style) { s.TrailerSection = true }, answerWith(nil, rpc.Metadata{{Key: "x-t", Value: "1"}}), fieldsBut,
			"trailer x-t:1", "x-t:1"},
		{"trailer section, not taken", func(s *Style) { s.TrailerSection = true }, func(r *trial) exchangetest.Answer {
			head := request("GET", "/v1/list", "-")
			head.Carrier, head.Length = "h1", 0
			r.client.OnData = func(n int) { r.q.Credit(n) }
			r.q = NewServer(r.backend, r.o).Start(head, r.client)
			r.q.Begin()
			r.close()
			r.send(out, "{}")
			r.end(rpc.Status{}, rpc.Metadata{{Key: "x-t", Value: "1"}})
			return r.finish()
		}, fieldsBut, "", "x-t:1"},
		{"forwarded", func(s *Style) { s.Forwarded = true }, get("/v1/list", "x-forwarded-for: 1.2.3.4", "{}"),
			func(r *trial, _ exchangetest.Answer) string { return fmt.Sprint(r.call.Metadata) },
			"[{x-forwarded-for 1.2.3.4 false} {x-forwarded-host a.test false} {x-forwarded-for 1.2.3.4 false}]", "[{x-forwarded-for 1.2.3.4 false}]"},
	} {
		for _, on := range []bool{true, false} {
			t.Run(tc.name, func(t *testing.T) {
				r, want := newTrial(t), tc.without
				if on {
					want = tc.with
					r.style(tc.change)
				}
				a := tc.run(r)
				got := string(a.Body)
				if tc.show != nil {
					got = tc.show(r, a)
				}
				if got != want {
					t.Errorf("got  %q\nwant %q", got, want)
				}
			})
		}
	}
}

func answerWith(head, trailer rpc.Metadata) func(*trial) exchangetest.Answer {
	return func(r *trial) exchangetest.Answer {
		r.start("GET", "/v1/list", "-").close()
		r.head(head...)
		r.send(out, "{}")
		r.end(rpc.Status{}, trailer)
		return r.finish()
	}
}

// fieldsBut shows the fields that are not the gateway's.
func fieldsBut(_ *trial, a exchangetest.Answer) string {
	var all []string
	for _, f := range a.Fields {
		if !slices.Contains([]string{"content-type", "content-length", "vary"}, f.Name) {
			all = append(all, f.Name+":"+f.Value)
		}
	}
	for _, f := range a.Trailer {
		all = append(all, "trailer "+f.Name+":"+f.Value)
	}
	return strings.Join(all, " ")
}

// TestQuietStyles is what a stream without messages shows of itself.
func TestQuietStyles(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*Style)
		status []int  // after the backend's head; or the timer, thrice
		body   string // after it
	}{
		{"sluice", func(*Style) {}, []int{200, 200}, "[  "},
		{"no first byte", func(s *Style) { s.FirstByte = false }, []int{200, 200}, "  "},
		{"no heartbeats", func(s *Style) { s.Heartbeats = false }, []int{200, 200}, "["},
		{"late head", func(s *Style) { s.EarlyHead = false }, []int{0, 0}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for i, quiet := range []func(r *trial){
				func(r *trial) { r.head() },
				func(r *trial) { r.clock.fire(); r.clock.fire(); r.clock.fire() },
			} {
				r := newTrial(t).style(tc.change).start("GET", watch, "accept: application/json").close()
				quiet(r)
				a := r.client.Answer()
				if a.Status != tc.status[i] || i == 1 && string(a.Body) != tc.body {
					t.Errorf("%d %q", a.Status, a.Body)
				}
				r.send(out, `{"id":"a"}`)
				r.end(rpc.Status{}, nil)
				a = r.finish()
				if got := strings.ReplaceAll(string(a.Body), " ", ""); a.Status != 200 || got != `[{"id":"a"}]` {
					t.Errorf("in the end %d %q", a.Status, got)
				}
			}
		})
	}
	t.Run("late head, early failure", func(t *testing.T) {
		for late, want := range map[bool]int{true: 500, false: 200} {
			r := newTrial(t).style(func(s *Style) { s.EarlyHead = !late }).start("GET", watch, "-").close()
			r.head()
			r.end(rpc.Status{Code: rpc.Internal}, nil)
			if a := r.finish(); a.Status != want {
				t.Errorf("late %v: %d", late, a.Status)
			}
		}
	})
	t.Run("no timers", func(t *testing.T) {
		r := newTrial(t).style(func(s *Style) { s.EarlyHead, s.Heartbeats = false, false }).start("GET", watch, "-").close()
		if len(r.clock.timers) > 0 {
			t.Error("a timer for nothing")
		}
		r.end(rpc.Status{}, nil)
		r.finish()
	})
	t.Run("never", func(t *testing.T) {
		r := newTrial(t)
		r.o.HeadWait, r.o.Heartbeat = 0, 0
		r.start("GET", watch, "-").close()
		if len(r.clock.timers) > 0 {
			t.Error("a timer of no time")
		}
		r.end(rpc.Status{}, nil)
		r.finish()
	})
}

// TestStyleByMethod: a method has its own style, whatever its path.
func TestStyleByMethod(t *testing.T) {
	sn := testSnapshot(t)
	plain, pretty := Sluice(), Sluice()
	pretty.JSON.Indent = "\t"
	table, _ := NewTable(sn, ruleOptions, func(method string) *Style {
		if method == "/test.v1.S/List" {
			return &pretty
		}
		return &plain
	}, typesOf)
	for path, want := range map[string]string{"/v1/list": "{\n\t\"id\": \"a\"\n}", "/v1/items/7": `{"id":"a"}`} {
		r := newTrial(t)
		r.o.Table = func() *Table { return table }
		if a := r.do("GET", path, "-", "", out, `{"id":"a"}`); string(a.Body) != want {
			t.Errorf("%s: %q", path, a.Body)
		}
	}
}

func TestFieldRules(t *testing.T) {
	for _, tc := range []struct {
		rules string // separated by commas
		name  string
		want  string // separated by spaces
	}{
		{"*", "x", "x"},
		{"*", "accept", ""},
		{"accept", "accept", "accept"},
		{"accept=was-accept", "accept", "was-accept"},
		{"X-*", "x-a", "x-a"},
		{"x-*", "y", ""},
		{"!x-a,x-*", "x-a", ""},
		{"x-*,!x-a", "x-a", "x-a"},
		{"a=b c", "a", "b c"},
		{"grpc-metadata-*=*", "grpc-metadata-foo", "foo"},
		{"grpc-metadata-*=*", "grpc-metadata-grpc-status", ""},
		{"grpc-metadata-*=*", "grpc-metadata-te", ""},
		{"grpc-metadata-*=*", "grpc-metadata-", ""},
		{"*=grpc-metadata-*", "x", "grpc-metadata-x"},
	} {
		rules, err := ParseFieldRules(strings.Split(tc.rules, ","))
		if err != nil {
			t.Errorf("%s: %v", tc.rules, err)
			continue
		}
		var got []string
		rules.each(tc.name, applications, func(n string) { got = append(got, n) })
		if strings.Join(got, " ") != tc.want {
			t.Errorf("%s: %s becomes %v", tc.rules, tc.name, got)
		}
	}
	for rule, want := range map[string]string{
		"": "a name is missing", "!": "a name is missing", "a b": "no name of a field", "a=b*": "has none to fill it",
		"a*=b": "no place for what it stands for", "!a=b": "what is dropped has no other name", "a=": "nothing stands behind",
		"a=content-type": "belongs to HTTP or gRPC", "a=b-bin": "written otherwise", "a*b": "no name of a field", "é": "no name of a field",
	} {
		if _, err := ParseFieldRules([]string{rule}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", rule, err, want)
		}
	}
}

// FuzzFieldRules: no rule makes a name that is HTTP's or gRPC's.
func FuzzFieldRules(f *testing.F) {
	f.Add("*", "x-a")
	f.Add("grpc-metadata-*=*", "grpc-metadata-te")
	f.Add("!a=b", "a")
	f.Add("te", "te")
	f.Add("a=grpc-metadata-b", "a")
	f.Add("grpc-*", "grpc-status")
	f.Add("a=b c-*", "a")
	f.Fuzz(func(t *testing.T, rule, name string) {
		rules, err := ParseFieldRules([]string{rule})
		if err != nil {
			return
		}
		fields := []exchange.Field{{Name: name, Value: "v"}}
		for _, m := range requestMetadata(fields, rules) {
			if forbiddenKey(m.Key) {
				t.Fatalf("%q makes metadata %q of %q", rule, m.Key, name)
			}
		}
		for _, f := range appendMetadata(nil, rpc.Metadata{{Key: name, Value: "v"}}, rules) {
			if !allowedName(f.Name) {
				t.Fatalf("%q makes the field %q of %q", rule, f.Name, name)
			}
		}
	})
}

// TestAliasOrigin: a page must not start a call elsewhere by a GET that is none.
func TestAliasOrigin(t *testing.T) {
	for _, tc := range []struct {
		headers string
		allowed bool // by the policy about origins
		status  int
	}{
		{"-", false, 200},
		{"user-agent: curl/8", false, 200},
		{"user-agent: Mozilla/5.0", true, 200},
		{"user-agent: Mozilla/5.0", false, 403},
		{"user-agent: Mozilla/5.0; sec-fetch-site: same-origin", false, 200},
		{"user-agent: Mozilla/5.0; sec-fetch-site: none", false, 200},
		{"user-agent: Mozilla/5.0; sec-fetch-site: same-site", false, 403},
		{"user-agent: x; sec-fetch-site: cross-site", false, 403},
		{"sec-fetch-site: cross-site", true, 200},
	} {
		r := newTrial(t).style(func(s *Style) { s.Alias = true })
		r.onEnd = func(b *backend) { b.end(rpc.Status{}, nil) }
		head := request("GET", "/test.v1.S/Feed", "accept: text/event-stream; "+tc.headers)
		head.Allowed, head.Length = tc.allowed, 0
		r.client.OnData = func(n int) { r.q.Credit(n) }
		r.q = NewServer(r.backend, r.o).Start(head, r.client)
		r.q.Begin()
		if a := r.close().finish(); a.Status != tc.status || (r.call != nil) != (tc.status == 200) {
			t.Errorf("%s: %d %s", tc.headers, a.Status, a.Body)
		}
	}
}

// TestProfiles are the names, and that each is another style.
func TestProfiles(t *testing.T) {
	if diff := cmp.Diff([]string{"sluice", "envoy", "google", "grpc-gateway", "meshapi"}, Profiles()); diff != "" {
		t.Error(diff)
	}
	seen := map[string]string{}
	for _, name := range Profiles() {
		s, err := Profile(name)
		if err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprintf("%+v", s)
		if seen[text] != "" {
			t.Errorf("%s is %s", name, seen[text])
		}
		seen[text] = name
	}
	if _, err := Profile("nginx"); err == nil || !strings.Contains(err.Error(), "grpc-gateway") {
		t.Error(err)
	}
	var zero transcode.EncodeOptions
	if Sluice().JSON != zero {
		t.Error("the default JSON is not protojson's")
	}
}
