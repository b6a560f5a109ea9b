package config

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// maxFile is far above any real configuration, and keeps a mistaken path such as a
// disk image from being read whole.
const maxFile = 1 << 20

// A FileError is what is wrong with a file, and where.
type FileError struct {
	File         string
	Line, Column int // from 1; 0 is the file as a whole
	Message      string
	Source       string // the line itself
}

// Error returns the place, the message, and the line with a mark under the place.
func (e *FileError) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %s", e.File, e.Message)
	}
	s := fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Message)
	if e.Source != "" {
		number := fmt.Sprintf("%5d | ", e.Line)
		lead := strings.Map(func(r rune) rune { // tabs stay tabs, so that the mark stays under its place
			if r == '\t' {
				return r
			}
			return ' '
		}, e.Source[:min(e.Column-1, len(e.Source))])
		s += "\n" + number + e.Source + "\n" + strings.Repeat(" ", len(number)) + lead + "^"
	}
	return s
}

// ReadFile takes what a YAML file says.
func (c *Config) ReadFile(name string) error {
	b, err := os.ReadFile(name)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return &FileError{File: name, Message: "there is no such file"}
	case err != nil:
		return &FileError{File: name, Message: errors.Unwrap(err).Error()}
	case len(b) > maxFile:
		return &FileError{File: name, Message: fmt.Sprintf("has %d bytes: is this really a configuration?", len(b))}
	}
	return c.Read(name, b)
}

// Read takes what YAML text says. Name is used in errors.
func (c *Config) Read(name string, b []byte) error {
	r := &reader{file: name, lines: strings.Split(strings.ReplaceAll(string(b), "\r\n", "\n"), "\n"), config: c}
	f, err := parser.ParseBytes(b, 0)
	if err != nil {
		var at yaml.Error
		if errors.As(err, &at) && at.GetToken() != nil {
			if strings.HasPrefix(at.GetMessage(), "found character '\t'") {
				return r.errorf(at.GetToken(), "a tab: YAML is indented with spaces")
			}
			return r.errorf(at.GetToken(), "%s", at.GetMessage())
		}
		return &FileError{File: name, Message: err.Error()}
	}
	var body ast.Node
	for _, doc := range f.Docs {
		switch {
		case doc.Body == nil:
		case body != nil:
			return r.errorf(doc.Body.GetToken(), "a second document: a configuration is one document")
		default:
			body = doc.Body
		}
	}
	if body == nil {
		return nil
	}
	return r.mapping(body, "", c.Settings(), func(s *Setting, n ast.Node, origin string) error {
		read := func(n ast.Node) error { return r.leaf(s, n) }
		switch s.Key {
		case "backends":
			read = r.backends
		case "rest.overrides":
			read = r.overrides
		}
		if err := read(n); err != nil {
			return err
		}
		c.from(s.Key, origin)
		return nil
	})
}

// reader walks the syntax tree: the tree is small and the tables say all there is to
// know, so it needs neither anchors nor a decoder into structs.
type reader struct {
	file   string
	lines  []string
	config *Config
}

func (r *reader) errorf(t *token.Token, format string, args ...any) error {
	e := &FileError{File: r.file, Message: fmt.Sprintf(format, args...)}
	if t != nil && t.Position != nil {
		e.Line, e.Column = t.Position.Line, max(t.Position.Column, 1)
		if e.Line <= len(r.lines) {
			e.Source = r.lines[e.Line-1]
		}
	}
	return e
}

// mapping walks a mapping whose keys have the prefix, and gives each value to take.
func (r *reader) mapping(n ast.Node, prefix string, table []Setting, take func(s *Setting, n ast.Node, origin string) error) error {
	m, ok := n.(ast.MapNode)
	if !ok {
		what := "the configuration"
		if prefix != "" {
			what = strings.TrimSuffix(prefix, ".")
		}
		return r.errorf(n.GetToken(), "%s has to be a mapping (key: value), not %s", what, describe(n))
	}
	seen := map[string]bool{}
	for it := m.MapRange(); it.Next(); {
		key, keyToken := it.Key().String(), it.Key().GetToken()
		if _, ok := it.Key().(*ast.MergeKeyNode); ok {
			return r.errorf(keyToken, "merging (<<) is not supported: write the keys out")
		}
		if s, ok := it.Key().(*ast.StringNode); ok {
			key = s.Value
		}
		path := prefix + key
		if seen[path] {
			return r.errorf(keyToken, "%s is there twice", path)
		}
		seen[path] = true
		i := slices.IndexFunc(table, func(s Setting) bool { return s.Key == path })
		group := slices.ContainsFunc(table, func(s Setting) bool { return strings.HasPrefix(s.Key, path+".") })
		switch {
		case i < 0 && !group:
			return r.errorf(keyToken, "unknown key %q%s", path, suggest(path, table))
		case isEmpty(it.Value()):
			return r.errorf(keyToken, "%s has no value: give one or remove the key", path)
		case group:
			if err := r.mapping(it.Value(), path+".", table, take); err != nil {
				return err
			}
		default:
			origin := fmt.Sprintf("%s:%d", r.file, keyToken.Position.Line)
			if err := take(&table[i], it.Value(), origin); err != nil {
				return err
			}
		}
	}
	return nil
}

// leaf writes a scalar, or a sequence of scalars, to a setting.
func (r *reader) leaf(s *Setting, n ast.Node) error {
	multi, ok := s.Value.(Multi)
	if !ok {
		text, err := r.scalar(s.Key, n)
		if err != nil {
			return err
		}
		if err := s.Value.Set(text); err != nil {
			return r.errorf(n.GetToken(), "%s: %v", s.Key, err)
		}
		return nil
	}
	nodes := []ast.Node{n}
	if seq, ok := n.(*ast.SequenceNode); ok {
		nodes = seq.Values
	}
	if err := multi.Replace(nil); err != nil {
		return err
	}
	for _, n := range nodes {
		text, err := r.scalar(s.Key, n)
		if err != nil {
			return err
		}
		if err := multi.Append(text); err != nil {
			return r.errorf(n.GetToken(), "%s: %v", s.Key, err)
		}
	}
	return nil
}

// backends reads a list of targets and of mappings.
func (r *reader) backends(n ast.Node) error {
	nodes := []ast.Node{n}
	if seq, ok := n.(*ast.SequenceNode); ok {
		nodes = seq.Values
	}
	r.config.Backends = nil
	for _, n := range nodes {
		b := Backend{origin: fmt.Sprintf("%s:%d", r.file, n.GetToken().Position.Line)}
		if _, ok := n.(ast.MapNode); ok {
			take := func(s *Setting, n ast.Node, _ string) error { return r.leaf(s, n) }
			if err := r.mapping(n, "", b.settings(), take); err != nil {
				return err
			}
			if b.Target == "" {
				return r.errorf(n.GetToken(), "a backend without target: add target: localhost:50051")
			}
		} else {
			table := b.settings()
			if err := r.leaf(&table[0], n); err != nil {
				return err
			}
		}
		r.config.Backends = append(r.config.Backends, b)
	}
	return nil
}

// scalar returns the text of a scalar, however YAML understands it: 30s is a string
// and 250 a number, but on the command line both are text.
func (r *reader) scalar(key string, n ast.Node) (string, error) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, nil
	case *ast.LiteralNode:
		return n.Value.Value, nil
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return n.GetToken().Value, nil
	case *ast.AnchorNode, *ast.AliasNode:
		return "", r.errorf(n.GetToken(), "%s: anchors and aliases are not supported: write the value out", key)
	}
	return "", r.errorf(n.GetToken(), "%s has to be one value, not %s", key, describe(n))
}

func isEmpty(n ast.Node) bool {
	_, null := n.(*ast.NullNode)
	return n == nil || null
}

func describe(n ast.Node) string {
	switch n.(type) {
	case ast.MapNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.AnchorNode, *ast.AliasNode:
		return "an anchor or alias, which are not supported"
	case *ast.NullNode:
		return "nothing"
	}
	return "a single value"
}

// suggest says which key was most likely meant: one whose last part is near, in this
// place or elsewhere, or that of a flag.
func suggest(path string, table []Setting) string {
	var keys []string
	for _, s := range table {
		keys = append(keys, s.Key)
		if group, _, ok := strings.Cut(s.Key, "."); ok && !slices.Contains(keys, group) {
			keys = append(keys, group)
		}
		if s.Flag != "" && strings.ReplaceAll(path, "_", "-") == s.Flag {
			return fmt.Sprintf(": the key of --%s is %q", s.Flag, s.Key)
		}
	}
	if near := Nearest(path, keys); near != "" {
		return fmt.Sprintf(": did you mean %q?", near)
	}
	last := path[strings.LastIndexByte(path, '.')+1:]
	for _, key := range keys {
		if tail := key[strings.LastIndexByte(key, '.')+1:]; Nearest(last, []string{tail}) != "" {
			return fmt.Sprintf(": did you mean %q?", key)
		}
	}
	if prefix := path[:strings.LastIndexByte(path, '.')+1]; prefix != "" {
		keys = slices.DeleteFunc(keys, func(k string) bool { return !strings.HasPrefix(k, prefix) })
		for i := range keys {
			keys[i] = strings.TrimPrefix(keys[i], prefix)
		}
		return fmt.Sprintf(": in %s there are %s", strings.TrimSuffix(prefix, "."), strings.Join(keys, ", "))
	}
	var top []string
	for _, key := range keys {
		if !strings.Contains(key, ".") {
			top = append(top, key)
		}
	}
	return ": there are " + strings.Join(top, ", ")
}
