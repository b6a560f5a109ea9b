package gateways

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"

	pb "github.com/sluice-rpc/sluice/conformance/gateways/librarypb"

	"github.com/sluice-rpc/sluice"
)

// A request goes to both gateways.
type request struct {
	name              string
	verb, path        string
	body, contentType string
	headers           string // "name: value", separated by semicolons
	// known are the differences, by what differs: status, type, body, fields or trailers. Each has
	// a reason, and has to be there.
	known map[string]string
}

const (
	ownWords  = "Sluice says what is wrong, and where"
	allow     = "405 names what is allowed (RFC 9110, section 15.5.6)"
	challenge = "a message is no challenge (RFC 9110, section 11.6.1)"
	events    = "Sluice has Server-Sent Events, for who asks for them"
	trailers  = "Sluice ends a stream with its status, for who takes trailers"
	noType    = "grpc-gateway has no type for a stream without messages"
	delimiter = "grpc-gateway puts a line feed behind each piece of a file, which then is another file"
	arrays    = "Sluice takes a stream of messages as an array too"
	cutStream = "for grpc-gateway a stream that breaks off is one that ends"
	formAsGet = "grpc-gateway gives forms to GET routes; a page of elsewhere can send one"
)

var requests = []request{
	{name: "get", verb: "GET", path: "/v1/shelves/1/books/2"},
	{name: "get/escaped", verb: "GET", path: "/v1/shelves/1/books/a%20b+c%C3%A9"},
	{name: "list", verb: "GET", path: "/v1/shelves/1/books"},
	{name: "list/query", verb: "GET", path: "/v1/shelves/1/books?page_size=3&pageToken=x%26y+z&genre=NOVEL&tags=a&tags=b&labels[k]=v&labels[l]=w&author.full_name=n&author.born=-4" +
		"&since=2020-01-02T03:04:05.006Z&lent=true&deep=true&cursor=-_8&weight=1.5"},
	{name: "list/mask", verb: "GET", path: "/v1/books?fields_of=a,b_c"},
	{name: "list/enum number", verb: "GET", path: "/v1/books?genre=2"},
	{name: "list/unknown parameter", verb: "GET", path: "/v1/books?nope=1&page_size=2"},
	{name: "list/parameter in the path too", verb: "GET", path: "/v1/shelves/1/books?parent=other"},
	{name: "list/additional", verb: "GET", path: "/v1/books?parent=p"},
	{name: "list/alt", verb: "GET", path: "/v1/books?alt=json&$alt=media&pageSize=1"},
	{name: "list/bad number", verb: "GET", path: "/v1/books?page_size=x", known: map[string]string{"body": ownWords}},
	{name: "list/bad enum", verb: "GET", path: "/v1/books?genre=NONE", known: map[string]string{"body": ownWords}},
	{name: "create", verb: "POST", path: "/v1/shelves/1/books?book_id=7", body: `{"title":"t","author":{"fullName":"f"},"rating":0,"note":"n","extra":[1,{"a":null}]}`},
	{name: "create/proto names", verb: "POST", path: "/v1/shelves/1/books", body: `{"author":{"full_name":"f"}}`},
	{name: "create/unknown field", verb: "POST", path: "/v1/shelves/1/books", body: `{"title":"t","nope":[{"x":1}]}`},
	{name: "create/nothing", verb: "POST", path: "/v1/shelves/1/books?book_id=7"},
	{name: "create/bad JSON", verb: "POST", path: "/v1/shelves/1/books", body: `{"title":`, known: map[string]string{"body": ownWords}},
	{name: "create/bad type", verb: "POST", path: "/v1/shelves/1/books", body: `{"pages":"x"}`, known: map[string]string{"body": ownWords}},
	{name: "update", verb: "PATCH", path: "/v1/shelves/1/books/2", body: `{"title":"t","author":{"born":1}}`},
	{name: "update/mask", verb: "PATCH", path: "/v1/shelves/1/books/2?update_mask=title", body: `{"title":"t","author":{"born":1}}`},
	{name: "delete", verb: "DELETE", path: "/v1/shelves/1/books/2"},
	{name: "echo", verb: "POST", path: "/v1/echo", body: `{"pages":"9007199254740993","isbn":"+/8=","published":"1970-01-01T00:00:00.1Z","genre":1,"url":""}`},
	{name: "echo/query", verb: "POST", path: "/v1/echo?title=x", body: `{"pages":1}`},
	{name: "echo/other type", verb: "POST", path: "/v1/echo", body: `{"pages":1}`, contentType: "application/vnd.x+json"},
	{name: "echo/any accept", verb: "POST", path: "/v1/echo", body: `{"pages":1}`, headers: "Accept: image/png"},
	{name: "echo/path", verb: "PUT", path: "/v1/echo/5", body: `{"author":{"fullName":"f"},"pages":4}`},
	{name: "echo/bad path", verb: "PUT", path: "/v1/echo/x", body: `{}`, known: map[string]string{"body": ownWords}},
	{name: "cover", verb: "GET", path: "/v1/shelves/1/books/2:cover"},
	{name: "nowhere", verb: "GET", path: "/v2/nothing", known: map[string]string{"body": ownWords}},
	{name: "other verb", verb: "PUT", path: "/v1/books", known: map[string]string{"status": allow, "fields": allow, "body": ownWords}},
	{name: "headers", verb: "GET", path: "/v1/headers", headers: "X-Other: dropped;Grpc-Metadata-Foo: 1;Grpc-Metadata-Foo: 2;Cookie: c=d;Authorization: Bearer t;Referer: r;" +
		"Accept-Language: de;X-Forwarded-For: 9.9.9.9;If-Match: e;Grpc-Metadata-Grpcgateway-Host: forged;Grpc-Metadata-X-Forwarded-For: forged;User-Agent: u;Grpc-Metadata-Some-Bin: AP8=;" +
		"Grpc-Metadata-Te: x;Accept: */*"},
	{name: "headers/forwarded host", verb: "GET", path: "/v1/headers", headers: "X-Forwarded-Host: h.example"},
	{name: "headers/trailers", verb: "GET", path: "/v1/headers", headers: "Te: trailers"},
	{name: "headers/fail", verb: "GET", path: "/v1/headers?fail=true"},
	{name: "headers/fail, trailers", verb: "GET", path: "/v1/headers?fail=true", headers: "Te: trailers"},
	{name: "timeout", verb: "GET", path: "/v1/headers", headers: "Grpc-Timeout: 10S"},
	{name: "timeout/bad", verb: "GET", path: "/v1/headers", headers: "Grpc-Timeout: soon", known: map[string]string{"body": ownWords}},
	{name: "details", verb: "GET", path: "/v1/fail/9?details=true"},
	{name: "watch", verb: "GET", path: "/v1/shelves/1:watch?count=2"},
	{name: "watch/none", verb: "GET", path: "/v1/shelves/1:watch", known: map[string]string{"type": noType}},
	{name: "watch/fails early", verb: "GET", path: "/v1/shelves/1:watch?fail=5"},
	{name: "watch/fails after its head", verb: "GET", path: "/v1/shelves/1:watch?fail=5&head=true"},
	{name: "watch/fails", verb: "GET", path: "/v1/shelves/1:watch?fail=5&count=1"},
	{name: "watch/head", verb: "GET", path: "/v1/shelves/1:watch?count=1&head=true"},
	{name: "watch/accept", verb: "GET", path: "/v1/shelves/1:watch?count=1", headers: "Accept: application/json"},
	{name: "watch/any accept", verb: "GET", path: "/v1/shelves/1:watch?count=1", headers: "Accept: image/png"},
	{name: "watch/events", verb: "GET", path: "/v1/shelves/1:watch?count=1", headers: "Accept: text/event-stream", known: map[string]string{"type": events, "body": events}},
	{name: "watch/trailers", verb: "GET", path: "/v1/shelves/1:watch?count=1", headers: "Te: trailers", known: map[string]string{"trailers": trailers}},
	{name: "search", verb: "POST", path: "/v1/search", body: `{"count":2,"shelf":"s"}`},
	{name: "search/bad", verb: "POST", path: "/v1/search", body: `{"count":"x"}`, known: map[string]string{"body": ownWords}},
	{name: "pages", verb: "GET", path: "/v1/shelves/1/books/2:pages", known: map[string]string{"body": delimiter}},
	{name: "import", verb: "POST", path: "/v1/import", body: `{"bookId":"1","book":{"title":"a"}}` + "\n" + `{"bookId":"2"}`},
	{name: "import/concatenated", verb: "POST", path: "/v1/import", body: `{"bookId":"1"}{"bookId":"2"} {}`},
	{name: "import/none", verb: "POST", path: "/v1/import"},
	{name: "import/fails", verb: "POST", path: "/v1/import", body: `{"bookId":"1"}{"bookId":"bad"}`},
	{name: "import/bad", verb: "POST", path: "/v1/import", body: `{"bookId":"1"}{"bookId":`, known: map[string]string{"body": ownWords}},
	{name: "import/array", verb: "POST", path: "/v1/import", body: `[{"bookId":"1"},{"bookId":"2"}]`, known: map[string]string{"status": arrays, "body": arrays}},
	{name: "chat", verb: "POST", path: "/v1/chat", body: `{"title":"a"}` + "\n" + `{"title":"b"}`},
	{name: "chat/fails", verb: "POST", path: "/v1/chat", body: `{"title":"a"}{"title":"stop"}`},
	{name: "chat/fails early", verb: "POST", path: "/v1/chat", body: `{"title":"stop"}`},
	{name: "chat/bad", verb: "POST", path: "/v1/chat", body: `{"title":"a"}{"title":`, known: map[string]string{"status": cutStream, "body": cutStream}},
	{name: "form", verb: "POST", path: "/v1/books", body: "page_size=3", contentType: "application/x-www-form-urlencoded", known: map[string]string{"status": formAsGet, "fields": formAsGet, "body": formAsGet}},
}

// An answer is what is compared of a response.
type answer struct{ status, contentType, body, fields, trailers string }

func (a *answer) parts() map[string]string {
	return map[string]string{"status": a.status, "type": a.contentType, "body": a.body, "fields": a.fields, "trailers": a.trailers}
}

func TestGRPCGateway(t *testing.T) {
	backend := serve(t)
	conn, err := grpc.NewClient(backend, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	mux := runtime.NewServeMux()
	if err := pb.RegisterLibraryHandlerClient(context.Background(), mux, pb.NewLibraryClient(conn)); err != nil {
		t.Fatal(err)
	}
	theirs := httptest.NewServer(mux)
	defer theirs.Close()
	ours := gateway(t, backend, sluice.RESTOptions{Profile: "grpc-gateway"})

	all := slices.Clone(requests)
	for code := range 18 { // one is none of gRPC's
		r := request{name: fmt.Sprint("code ", code), verb: "GET", path: fmt.Sprint("/v1/fail/", code)}
		if codes.Code(code) == codes.Unauthenticated {
			r.known = map[string]string{"fields": challenge}
		}
		all = append(all, r)
	}
	leaked := false
	for _, r := range all {
		t.Run(r.name, func(t *testing.T) {
			want, got := r.do(t, theirs.URL).parts(), r.do(t, ours).parts()
			var leaks bool
			want["fields"], leaks = strings.CutPrefix(want["fields"], leak)
			leaked = leaked || leaks
			want["fields"] = strings.TrimPrefix(want["fields"], "\n")
			for _, part := range slices.Sorted(maps.Keys(want)) {
				reason, known := r.known[part]
				switch same := want[part] == got[part]; {
				case !same && !known:
					t.Errorf("%s: Sluice has\n%s\ngrpc-gateway has\n%s", part, got[part], want[part])
				case same && known:
					t.Errorf("%s: a known difference is none any more: %s", part, reason)
				}
			}
		})
	}
	if !leaked {
		t.Error("a known difference is none any more: grpc-gateway has no", leak)
	}
}

// leak is on most of grpc-gateway's answers: the content-type of gRPC is no metadata of the
// application's, and Sluice does not take it for some.
const leak = `Grpc-Metadata-Content-Type: ["application/grpc"]`

// gateway starts Sluice and waits until it knows the schema.
func gateway(t *testing.T, backend string, o sluice.RESTOptions) string {
	g, err := sluice.New(sluice.Config{Backends: []sluice.Backend{{Target: backend}}, REST: sluice.REST{Options: o}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	for end := time.Now().Add(10 * time.Second); g.Status().Methods == 0; {
		if time.Now().After(end) {
			t.Fatal("no schema")
		}
		time.Sleep(10 * time.Millisecond)
	}
	s := httptest.NewServer(g)
	t.Cleanup(s.Close)
	return s.URL
}

func (r *request) do(t *testing.T, url string) *answer {
	t.Helper()
	var body io.Reader
	if r.body != "" {
		body = strings.NewReader(r.body)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, r.verb, url+r.path, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "library.example"
	if r.body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if r.contentType != "" {
		req.Header.Set("Content-Type", r.contentType)
	}
	for h := range strings.SplitSeq(r.headers, ";") {
		if name, value, ok := strings.Cut(h, ": "); ok {
			req.Header.Add(name, value)
		}
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		b = append(b, " cut: "+err.Error()...)
	}
	return &answer{resp.Status, resp.Header.Get("Content-Type"), canonical(b), fields(resp.Header), fields(resp.Trailer)}
}

// canonical writes each document of a body in one form; what is none stays as it is.
func canonical(b []byte) string {
	var out bytes.Buffer
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	for {
		var v any
		if err := d.Decode(&v); err == io.EOF {
			return out.String()
		} else if err != nil {
			return string(b)
		}
		j, _ := json.Marshal(v)
		out.Write(append(j, '\n'))
	}
}

// fields shows the fields that are not of HTTP itself.
func fields(h http.Header) string {
	var all []string
	for name, values := range h {
		switch name {
		case "Content-Type", "Content-Length", "Date", "Vary", "X-Accel-Buffering", "Cache-Control":
			continue
		}
		all = append(all, fmt.Sprintf("%s: %q", name, values))
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}
