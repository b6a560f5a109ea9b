package command

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-rpc/sluice"
	"github.com/sluice-rpc/sluice/cmd/sluice/internal/config"
)

//go:generate go test -run TestReference -update

var update = flag.Bool("update", false, "write the generated parts of docs/reference")

const reference = "../../../../docs/reference/"

// What docs say of settings is made from the table that reads them.
func TestReference(t *testing.T) {
	c := config.New()
	var keys, limits, timeouts strings.Builder
	keys.WriteString("| key | flag | variables | default | |\n| --- | --- | --- | --- | --- |\n")
	head := "| key | default | what | what the peer gets |\n| --- | --- | --- | --- |\n"
	limits.WriteString(head)
	timeouts.WriteString(head)
	for _, s := range c.Settings() {
		flag := ""
		if s.Flag != "" {
			flag = "`--" + s.Flag + strings.TrimSuffix(" "+s.Arg, " bool") + "`"
		}
		fmt.Fprintf(&keys, "| `%s` | %s | `%s` | %s | %s |\n", s.Key, flag, strings.Join(s.Env(), "`, `"), code(s.Default), s.Help)
		if s.Error == "" {
			continue
		}
		row := fmt.Sprintf("| `%s` | %s | %s | %s |\n", s.Key, s.Default, s.Help, s.Error)
		if strings.HasPrefix(s.Key, "limits.") {
			limits.WriteString(row)
		} else {
			timeouts.WriteString(row)
		}
	}
	var help bytes.Buffer
	a := &app{stdout: &help, stderr: io.Discard}
	for _, name := range []string{"serve", "demo", "check", "routes", "openapi", "call", "trust", "grpcwebproxy", "version"} {
		help.WriteString("## sluice " + name + "\n\n```\n")
		if code := a.main([]string{name, "--help"}); code != 0 {
			t.Fatalf("%s --help: exit code %d", name, code)
		}
		help.WriteString("```\n\n")
	}
	check(t, "config.md", "keys", keys.String())
	check(t, "limits.md", "limits", limits.String())
	check(t, "limits.md", "timeouts", timeouts.String())
	check(t, "../rest.md", "options", restOptions())
	check(t, "../rest.md", "profiles", restProfiles(t))
	check(t, "cli.md", "help", strings.TrimSuffix(help.String(), "\n"))
}

// restOptions is the table of options.
func restOptions() string {
	var b strings.Builder
	b.WriteString("| key of `rest` | |\n| --- | --- |\n")
	for _, s := range config.RESTSettings(&sluice.RESTOptions{}) {
		fmt.Fprintf(&b, "| `%s` | %s |\n", strings.TrimPrefix(s.Key, "rest."), s.Help)
	}
	return b.String()
}

// restProfiles is the table of what profiles have otherwise than the default.
func restProfiles(t *testing.T) string {
	names := sluice.RESTProfiles()
	var rows [][]string // by option, and profile
	for i, name := range names {
		o, err := sluice.RESTProfile(name)
		if err != nil {
			t.Fatal(err)
		}
		for j, s := range config.RESTSettings(&o) {
			if i == 0 {
				rows = append(rows, []string{strings.TrimPrefix(s.Key, "rest.")})
			}
			rows[j] = append(rows[j], s.Value.String())
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "| | `%s` |\n|%s\n", strings.Join(names, "` | `"), strings.Repeat(" --- |", len(names)+1))
	for _, row := range rows[1:] { // the first is the profile's name
		if !slices.ContainsFunc(row[2:], func(s string) bool { return s != row[1] }) {
			continue
		}
		for i, s := range row[1:] {
			if row[i+1] = code(s); len(s) > 60 {
				row[i+1] = "see below"
			}
		}
		fmt.Fprintf(&b, "| `%s` | %s |\n", row[0], strings.Join(row[1:], " | "))
	}
	return b.String()
}

func code(s string) string {
	if s == "" {
		return ""
	}
	return "`" + s + "`"
}

// check compares, or writes, what stands between two marks of a page.
func check(t *testing.T, page, mark, want string) {
	t.Helper()
	b, err := os.ReadFile(reference + page)
	if err != nil {
		t.Fatal(err)
	}
	between := regexp.MustCompile(`(?s)(<!-- begin ` + mark + ` -->\n).*?(<!-- end ` + mark + ` -->)`)
	if !between.Match(b) {
		t.Fatalf("%s has no marks for %s", page, mark)
	}
	now := between.ReplaceAllFunc(b, func(old []byte) []byte {
		m := between.FindSubmatch(old)
		return []byte(string(m[1]) + want + string(m[2]))
	})
	if bytes.Equal(now, b) {
		return
	}
	if !*update {
		t.Fatalf("%s: the part %s is not what the settings say: run `go generate ./cmd/...`", page, mark)
	}
	if err := os.WriteFile(reference+page, now, 0o644); err != nil {
		t.Fatal(err)
	}
}
