package viewer

import (
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestFiles: what is in dist is what update has written, of the version in go:generate.
func TestFiles(t *testing.T) {
	lines := strings.Split(strings.TrimSpace(list), "\n")
	source, err := os.ReadFile("viewer.go")
	if err != nil {
		t.Fatal(err)
	}
	version, _ := strings.CutPrefix(lines[0], "swagger-ui-dist ")
	if !strings.Contains(string(source), "//go:generate ./update "+version+" "+lines[1]+"\n") {
		t.Errorf("dist.txt is of %s, %s, which is not what go:generate gets", lines[0], lines[1])
	}
	want := map[string]string{}
	for _, line := range lines[2:] {
		sum, name, _ := strings.Cut(line, "  ")
		want[name] = sum
	}
	for _, name := range []string{"swagger-ui-bundle.js", "swagger-ui.css", "LICENSE", "NOTICE"} {
		if want[name] == "" {
			t.Errorf("dist.txt does not have %s", name)
		}
	}
	entries, err := fs.ReadDir(files, "dist")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		b, err := fs.ReadFile(files, "dist/"+e.Name())
		if err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != want[e.Name()] {
			t.Errorf("%s is not what dist.txt says: run `go generate ./cmd/sluice/internal/viewer`", e.Name())
		}
		delete(want, e.Name())
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
}

// TestHandler: the page names only files that are here, and may load nothing else.
func TestHandler(t *testing.T) {
	h := Handler("/docs/")
	get := func(path string) (int, string, string) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if p := w.Header().Get("Content-Security-Policy"); w.Code == 200 && (!strings.HasPrefix(p, "default-src 'none'; ") || strings.Contains(p, "//")) {
			t.Errorf("%s: policy %q", path, p)
		}
		return w.Code, w.Header().Get("Content-Type"), w.Body.String()
	}
	code, kind, page := get("/docs/")
	if code != 200 || !strings.HasPrefix(kind, "text/html") {
		t.Fatal(code, kind)
	}
	refs := regexp.MustCompile(`(?:src|href)="([^"]*)"`).FindAllStringSubmatch(page, -1)
	if len(refs) != 5 {
		t.Errorf("the page has %v", refs)
	}
	for _, ref := range refs {
		if ref[1] == "../openapi.yaml" {
			continue
		}
		if code, _, body := get("/docs/" + ref[1]); code != 200 || body == "" {
			t.Errorf("%s: %d", ref[1], code)
		}
	}
	for path, want := range map[string]int{"/docs/none": 404, "/docs/dist/LICENSE": 404, "/docs/LICENSE": 200, "/docs/..%2fviewer.go": 400, "/docs/dist.txt": 404} {
		if code, _, _ := get(path); code != want {
			t.Errorf("%s: %d, want %d", path, code, want)
		}
	}
}
