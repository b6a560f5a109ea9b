// Package routes holds judges of the routes of google.api.http: the rules of Google's own
// APIs, with paths from an encoder that shares no code with the matcher, and grpc-gateway
// with the same templates.
package routes

import (
	"math/rand/v2"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	_ "cloud.google.com/go/iam/apiv1/iampb"                                 // messages that the APIs import
	_ "cloud.google.com/go/longrunning/autogen/longrunningpb"               // messages that the APIs import
	_ "google.golang.org/genproto/googleapis/cloud/location"                // so that the module is required
	_ "google.golang.org/genproto/googleapis/rpc/context/attribute_context" // messages that the APIs import

	"github.com/sluice-rpc/sluice/internal/schema"
	"github.com/sluice-rpc/sluice/internal/schema/route"
	"google.golang.org/protobuf/proto"
)

// knownProblems are rules that are left out, each with its reason. One that is not left
// out any more fails the test.
var knownProblems = map[string]string{
	"/ccc.hosted.marketplace.v2.LicenseNotificationService/List": "GET with a body",
}

// knownConflicts are methods whose rule is another one's of the same API.
var knownConflicts = map[string]string{
	"/google.cloud.bigquery.storage.v1alpha2.BigQueryWrite/GetWriteStream":      "AppendRows has the same path, with another field",
	"/google.cloud.bigquery.storage.v1alpha2.BigQueryWrite/FinalizeWriteStream": "AppendRows has the same path, with another field",
	"/google.cloud.bigquery.storage.v1alpha2.BigQueryWrite/FlushRows":           "AppendRows has the same path",
}

func googleRules(t *testing.T) []*schema.Rule {
	t.Helper()
	set, err := googleFiles("google.golang.org/genproto")
	if err != nil {
		t.Fatal(err)
	}
	b, err := proto.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	s, err := schema.FromDescriptorSets(b)
	if err != nil {
		t.Fatal(err)
	}
	rules, problems := s.Rules(schema.RuleOptions{})
	expect(t, problems, knownProblems)
	if len(rules) < 1000 {
		t.Errorf("only %d rules", len(rules))
	}
	t.Logf("%d files, %d services, %d methods, %d rules", len(set.File), len(s.Services()), s.Methods(), len(rules))
	return rules
}

// expect compares problems with the known ones, both ways.
func expect(t *testing.T, problems []error, known map[string]string) {
	t.Helper()
	found := map[string]bool{}
	for _, p := range problems {
		e, ok := p.(*schema.RuleError)
		if !ok || known[e.Method] == "" {
			t.Error(p)
			continue
		}
		found[e.Method] = true
	}
	for method, reason := range known {
		if !found[method] {
			t.Errorf("%s is a known problem (%s), and is none", method, reason)
		}
	}
}

// TestGoogle sends random requests for each rule of Google's APIs, to a table of the rule's
// own API and to one of all APIs.
func TestGoogle(t *testing.T) {
	rules := googleRules(t)
	byAPI := map[string][]*schema.Rule{}
	for _, r := range rules {
		api := string(r.Descriptor.ParentFile().Package())
		byAPI[api] = append(byAPI[api], r)
	}
	all, conflicts := schema.NewTable(rules, schema.RuleOptions{})
	t.Logf("%d APIs; %d rules have the same paths as others when all are behind one host", len(byAPI), len(conflicts))
	var problems []error
	requests, others := 0, 0
	for _, list := range byAPI {
		own, p := schema.NewTable(list, schema.RuleOptions{})
		problems = append(problems, p...)
		for _, rule := range list {
			seed := rand.New(rand.NewPCG(uint64(len(rule.Method)), uint64(len(rule.Template.String()))))
			reached := false
			for i := range 30 {
				path, want := expand(seed, rule.Template.String(), i%2 == 0)
				verb := rule.Verb
				for _, table := range []*route.Table[*schema.Rule]{own, all} {
					requests++
					got, c, ok := table.Match(verb, path, nil)
					switch {
					case !ok:
						t.Errorf("%s %s: no match, want %s", verb, path, rule.Template)
					case shape(got.Template) != shape(rule.Template):
						// A ** may stand for what another rule has literally.
						others++
						if !fits(got.Template, path) || !before(got.Template, rule.Template) {
							t.Errorf("%s %s: got %s, want %s", verb, path, got.Template, rule.Template)
						}
					case got.Template.String() == rule.Template.String() && !slices.Equal(c, want):
						t.Errorf("%s %s: got %q, want %q", verb, path, c, want)
					default:
						reached = true
					}
				}
			}
			if !reached {
				t.Errorf("%s: %s is never reached", rule.Method, rule.Template)
			}
		}
	}
	expect(t, problems, knownConflicts)
	t.Logf("%d requests, of which %d belong to a more specific rule", requests, others)
}

// shape is a template without the names of its variables.
func shape(t *route.Template) string {
	return variable.ReplaceAllStringFunc(t.String(), func(s string) string {
		if m := variable.FindStringSubmatch(s); m[2] != "" {
			return m[2]
		}
		return "*"
	})
}

var escaped = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)

// fits tells whether a template matches a path, by a regular expression.
func fits(t *route.Template, path string) bool {
	e := regexp.QuoteMeta(shape(t))
	e = strings.ReplaceAll(e, `/\*\*`, `(/.*)?`)
	e = strings.ReplaceAll(e, `\*`, `[^/]+`)
	path = escaped.ReplaceAllStringFunc(path, func(s string) string {
		if c, _ := url.PathUnescape(s); plain(c[0]) {
			return c
		}
		return s
	})
	return regexp.MustCompile(`^` + e + `$`).MatchString(path)
}

// before tells whether a goes before b where both fit.
func before(a, b *route.Template) bool {
	rank := func(t *route.Template) (r []int) {
		s := shape(t)
		path, verb, _ := strings.Cut(s, ":")
		r = append(r, -len(verb))
		for segment := range strings.SplitSeq(path[1:], "/") {
			r = append(r, 1+slices.Index([]string{"*", "**"}, segment))
		}
		return r
	}
	x, y := rank(a), rank(b)
	// One that ends goes before one that goes on with **, which stands for nothing here.
	return slices.Compare(x, y) < 0
}
