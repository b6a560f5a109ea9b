package openapi

import (
	"regexp"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// internalComment is what is not for readers of an API (https://google.aip.dev/192), and
// directive is for a tool.
var (
	internalComment = regexp.MustCompile(`(?s)\(--.*?--\)`)
	directive       = regexp.MustCompile(`(?m)^\s*(buf:lint:ignore|buf:breaking:ignore|protolint:|@exclude).*\n?`)
)

// maxComment bounds a comment. It is in the document as often as something refers to it.
const maxComment = 16 << 10

// comment returns what the source says of d, or "".
func (b *builder) comment(d protoreflect.Descriptor) string {
	text, known := b.comments[d]
	if !known {
		text = comment(d)
		b.comments[d] = text
	}
	return text
}

func comment(d protoreflect.Descriptor) string {
	loc := d.ParentFile().SourceLocations().ByDescriptor(d)
	s := loc.LeadingComments
	if strings.TrimSpace(s) == "" {
		s = loc.TrailingComments
	}
	if s == "" {
		return ""
	}
	more := ""
	if len(s) > maxComment {
		s, more = strings.ToValidUTF8(s[:maxComment], ""), " …"
	}
	s = directive.ReplaceAllString(internalComment.ReplaceAllString(s, ""), "")
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		// What follows the slashes is a space by custom; the rest may be Markdown.
		lines[i] = strings.TrimRight(strings.TrimPrefix(line, " "), " \t\r")
	}
	return strings.TrimSpace(strings.Join(lines, "\n")) + more
}

// sentence ends one, and no abbreviation such as "e.g.".
var sentence = regexp.MustCompile(`^.*?[^. ][^. ][^.]\. `)

// maxSummary is how long a summary may be: lists of operations have one line for it.
const maxSummary = 120

// split cuts a comment into its first sentence and, if there is more, the whole.
func split(comment string) (summary, description string) {
	first, _, more := strings.Cut(comment, "\n\n")
	if len(first) > 4*maxSummary {
		first, more = first[:4*maxSummary], true // there may be indentation
	}
	summary = strings.Join(strings.Fields(first), " ")
	if at := sentence.FindStringIndex(summary); at != nil {
		summary, more = summary[:at[1]-2], true
	}
	summary = strings.TrimSuffix(summary, ".")
	if len(summary) > maxSummary {
		cut := strings.LastIndexByte(summary[:maxSummary], ' ')
		if cut <= 0 {
			return "", comment
		}
		summary, more = summary[:cut]+" …", true
	}
	if more {
		description = comment
	}
	return summary, description
}

// paragraphs joins texts that are not empty.
func paragraphs(texts ...string) string {
	var all []string
	for _, s := range texts {
		if s != "" {
			all = append(all, s)
		}
	}
	return strings.Join(all, "\n\n")
}
