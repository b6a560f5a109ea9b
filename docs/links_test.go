package docs

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

var (
	codeBlock = regexp.MustCompile("(?ms)^[ \t]*```.*?^[ \t]*```[ \t]*$")
	codeSpan  = regexp.MustCompile("`[^`\n]*`")
	inline    = regexp.MustCompile(`\]\(<?([^)\s>]+)>?(?:\s+"[^"]*")?\)`)
	reference = regexp.MustCompile(`(?m)^\[[^\]]+\]:\s*(\S+)`)
	heading   = regexp.MustCompile(`(?m)^#{1,6}[ \t]+(.*?)[ \t]*#*$`)
	htmlID    = regexp.MustCompile(`(?:id|name)="([^"]+)"`)
	linkText  = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
)

// anchors are the fragments of a page, made as GitHub makes them.
func anchors(page string) map[string]bool {
	found := map[string]bool{}
	count := map[string]int{}
	page = codeBlock.ReplaceAllString(page, "")
	for _, m := range heading.FindAllStringSubmatch(page, -1) {
		slug := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsNumber(r):
				return unicode.ToLower(r)
			}
			return -1
		}, linkText.ReplaceAllString(m[1], "$1"))
		if n := count[slug]; n > 0 {
			found[fmt.Sprintf("%s-%d", slug, n)] = true
		} else {
			found[slug] = true
		}
		count[slug]++
	}
	for _, m := range htmlID.FindAllStringSubmatch(page, -1) {
		found[m[1]] = true
	}
	return found
}

// broken lists the relative links of the pages below root that lead nowhere.
func broken(root string) (pages int, out []string, err error) {
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); name == "node_modules" || name == "testdata" || path != root && strings.HasPrefix(name, ".") {
				return filepath.SkipDir
			}
			return nil
		}
		if filepath.Ext(path) != ".md" {
			return nil
		}
		pages++
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		text := codeSpan.ReplaceAllString(codeBlock.ReplaceAllString(string(b), ""), "")
		for _, re := range []*regexp.Regexp{inline, reference} {
			for _, m := range re.FindAllStringSubmatch(text, -1) {
				if why := check(path, m[1]); why != "" {
					out = append(out, fmt.Sprintf("%s: (%s): %s", path, m[1], why))
				}
			}
		}
		return nil
	})
	return pages, out, err
}

func check(page, link string) string {
	if strings.Contains(link, "://") || strings.HasPrefix(link, "mailto:") {
		return ""
	}
	file, anchor, _ := strings.Cut(link, "#")
	target := page
	if file != "" {
		target = filepath.Join(filepath.Dir(page), filepath.FromSlash(file))
	}
	info, err := os.Stat(target)
	if err != nil {
		return "no such file"
	}
	if anchor == "" || info.IsDir() || filepath.Ext(target) != ".md" {
		return ""
	}
	b, err := os.ReadFile(target)
	if err != nil {
		return err.Error()
	}
	if !anchors(string(b))[anchor] {
		return "no such heading"
	}
	return ""
}

func TestLinks(t *testing.T) {
	pages, out, err := broken("..")
	if err != nil {
		t.Fatal(err)
	}
	if pages == 0 {
		t.Fatal("no page found")
	}
	for _, b := range out {
		t.Error(b)
	}
}

// TestBroken shows that the check can fail.
func TestBroken(t *testing.T) {
	dir := t.TempDir()
	page := "# One `two`, three\n\n[good](b.md) [good](#one-two-three) [good](b.md#b-1) [good](https://example.com/x)\n" +
		"[bad](c.md) [bad](#four) [bad](b.md#c)\n\n`[code](nowhere.md)`\n\n```\n[code](nowhere.md)\n# not-a-heading\n```\n[bad](#not-a-heading)\n"
	for name, text := range map[string]string{"a.md": page, "b.md": "# b\n# b\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pages, out, err := broken(dir)
	if err != nil || pages != 2 || len(out) != 4 {
		t.Fatalf("%d pages, %v, broken:\n%s", pages, err, strings.Join(out, "\n"))
	}
}
