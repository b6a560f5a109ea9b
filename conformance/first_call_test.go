package conformance

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-rpc/sluice/conformance/internal/gateway"
)

// TestFirstCall follows docs/browser.md from an empty folder, as it stands there: its commands, its files, and in
// Chromium what it promises then. The clone is a copy of this repository as it is. Ports are other ones, and an
// authority is not put into the stores of the machine, but into those of its own browser and programs. Unless all is run
// whole, the command, and the packages that build the client, are those that there are.
func TestFirstCall(t *testing.T) {
	t.Parallel()
	r := newReader(t)
	var did []string
	for _, b := range shownBlocks(t, "../docs/browser.md") {
		switch {
		case b.file != "":
			r.write(b.file, b.text)
			if b.file == "vite.config.js" {
				r.replace("src/main.ts", `baseUrl: "http://localhost:8080"`, "baseUrl: location.origin")
				r.run("npm run dev\n")
				r.calls("one origin")
			}
		case b.lang == "sh":
			for line := range strings.Lines(b.text) {
				did = append(did, strings.TrimSpace(line))
				r.run(line)
			}
			switch {
			case strings.Contains(b.text, "npm run dev"):
				r.calls("the page")
			case strings.Contains(b.text, "--tls-dev"):
				r.replace("src/main.ts", "baseUrl: location.origin", `baseUrl: "https://localhost:8443"`)
				r.calls("TLS")
			}
		}
	}
	for _, b := range shownBlocks(t, "../docs/choosing-a-carrier.md") {
		if b.lang == "sh" {
			r.chats(b.text)
		}
	}
	for _, want := range []string{"git clone ", "npm create ", "npx buf generate", "npm run dev", "bin/sluice trust", "bin/sluice demo --tls-dev "} {
		if !slices.ContainsFunc(did, func(line string) bool { return strings.HasPrefix(line, want) }) {
			t.Errorf("the page does not say %s", want)
		}
	}
}

// A shownBlock is a block of a page with code.
type shownBlock struct {
	lang, text string
	file       string // where the paragraph above says that it belongs
}

// namesFile matches a line that says to which file the block below belongs.
var namesFile = regexp.MustCompile("`([\\w/.-]+\\.\\w+)`[^`]*:$")

func shownBlocks(t *testing.T, page string) (all []shownBlock) {
	t.Helper()
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var open *shownBlock
	above := "" // the last line with text
	for line := range strings.Lines(string(b)) {
		lang, fence := strings.CutPrefix(line, "```")
		switch {
		case fence && open != nil:
			all, open, above = append(all, *open), nil, ""
		case fence:
			open = &shownBlock{lang: strings.TrimSpace(lang)}
			if name := namesFile.FindStringSubmatch(above); name != nil {
				open.file = name[1]
			}
		case open != nil:
			open.text += line
		case strings.TrimSpace(line) != "":
			above = strings.TrimSpace(line)
		}
	}
	return all
}

// A reader does what a page says: with two terminals, and a browser.
type reader struct {
	t     *testing.T
	root  string // of the repository
	home  string
	env   []string
	ports *strings.Replacer // the page's addresses
	flags map[string]string // what makes a server listen at them
	dirs  map[string]string // of the two terminals
	stop  map[string]func() // what runs in them
	addrs map[string]string // by the page's port

	served bool // the gateway has its terminal, and what follows is for the other
}

// databases are where Chromium looks for authorities, of two generations of it.
var databases = []string{".pki/nssdb", ".local/share/pki/nssdb"}

// The two terminals.
const (
	ofGateway = "gateway"
	ofPage    = "page"
)

func newReader(t *testing.T) *reader {
	t.Helper()
	for _, name := range []string{"node", "npm", "chromium", "certutil"} {
		installed(t, name)
	}
	modules(t)
	dir := t.TempDir()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	r := &reader{
		t: t, root: root, home: filepath.Join(dir, "home"), addrs: map[string]string{},
		dirs: map[string]string{ofGateway: dir, ofPage: dir}, stop: map[string]func(){},
	}
	var ports []string
	for _, port := range []string{"8080", "9090", "8443", "5173"} {
		addr, err := gateway.FreeAddr()
		if err != nil {
			t.Fatal(err)
		}
		_, free, _ := net.SplitHostPort(addr)
		r.addrs[port] = "localhost:" + free
		ports = append(ports, "localhost:"+port, r.addrs[port])
	}
	r.ports = strings.NewReplacer(ports...)
	_, dev, _ := net.SplitHostPort(r.addrs["5173"])
	r.flags = map[string]string{
		"npm run dev":     " -- --strictPort --port " + dev,
		"bin/sluice demo": fmt.Sprintf(" --listen %s --admin %s", r.addrs["8080"], r.addrs["9090"]),
	}
	// A home of its own, but the caches that there are.
	r.env = append(os.Environ(), "HOME="+r.home, "XDG_STATE_HOME=", "XDG_DATA_HOME=", "CI=1",
		"GOCACHE="+outputOf(t, "go", "env", "GOCACHE"), "GOMODCACHE="+outputOf(t, "go", "env", "GOMODCACHE"),
		"npm_config_cache="+outputOf(t, "npm", "config", "get", "cache"))
	for _, db := range databases {
		db = filepath.Join(r.home, db)
		if err := os.MkdirAll(db, 0o700); err != nil {
			t.Fatal(err)
		}
		outputOf(t, installed(t, "certutil"), "-N", "-d", "sql:"+db, "--empty-password")
	}
	t.Cleanup(func() {
		for _, stop := range r.stop {
			stop()
		}
	})
	return r
}

// outputOf runs a program that prints a line.
func outputOf(t *testing.T, name string, args ...string) string {
	t.Helper()
	c := exec.Command(name, args...)
	c.Stderr = t.Output()
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%s %q: %v", name, args, err)
	}
	return strings.TrimSpace(string(out))
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

func (r *reader) write(file, text string) {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(r.dirs[ofPage], file), []byte(r.ports.Replace(text)), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// replace edits a file as one does who reads on.
func (r *reader) replace(file, was, is string) {
	r.t.Helper()
	b, err := os.ReadFile(filepath.Join(r.dirs[ofPage], file))
	if err != nil {
		r.t.Fatal(err)
	}
	if was = r.ports.Replace(was); strings.Count(string(b), was) != 1 {
		r.t.Fatalf("%s has not %s once:\n%s", file, was, b)
	}
	r.write(file, strings.Replace(string(b), was, is, 1))
}

// run types a line into the terminal to which it belongs.
func (r *reader) run(line string) {
	r.t.Helper()
	line = r.ports.Replace(strings.TrimSpace(line))
	terminal := ofPage
	if !r.served || strings.HasPrefix(line, "bin/") {
		terminal = ofGateway
	}
	for server, flags := range r.flags {
		if strings.HasPrefix(line, server) {
			if strings.Contains(line, "--tls-dev") {
				flags += " --tls-listen " + r.addrs["8443"]
			}
			r.serve(terminal, line+flags)
			return
		}
	}
	if line == "bin/sluice trust" {
		r.trust()
		return
	}
	switch {
	case strings.HasPrefix(line, "git clone "):
		line = "mkdir sluice && tar -C '" + r.root + "' -cf - --exclude=node_modules --exclude=./.git --exclude=./bin" +
			" --exclude=./bench --exclude=./conformance --exclude=./examples . | tar -C sluice -xf - && cd sluice"
	case whole():
	case strings.HasPrefix(line, "go build -o bin/sluice "):
		line = "mkdir bin && ln -s '" + sluice(r.t) + "' bin/sluice"
	case strings.HasPrefix(line, "npm --prefix web ci "):
		if modules := filepath.Join(r.root, "web", "node_modules"); exists(filepath.Join(modules, ".package-lock.json")) {
			line = "ln -s '" + modules + "' web/node_modules"
		}
	}
	ctx, cancel := context.WithTimeout(r.t.Context(), 5*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, "bash", "-ec", line+"\npwd >&3")
	c.Dir, c.Env, c.WaitDelay = r.dirs[terminal], r.env, 5*time.Second
	said := filepath.Join(r.home, "pwd")
	pwd, err := os.Create(said)
	if err != nil {
		r.t.Fatal(err)
	}
	defer pwd.Close()
	c.ExtraFiles = []*os.File{pwd}
	begun := time.Now()
	out, err := c.CombinedOutput()
	if err != nil {
		r.t.Fatalf("%s: %v\n%s", line, err, out)
	}
	r.t.Logf("%s: %.1f s", line, time.Since(begun).Seconds())
	dir, err := os.ReadFile(said)
	if err != nil {
		r.t.Fatal(err)
	}
	r.dirs[terminal] = strings.TrimSpace(string(dir))
}

// serve starts a server in place of the one that runs in a terminal.
func (r *reader) serve(terminal, line string) {
	r.t.Helper()
	r.served = true
	if stop := r.stop[terminal]; stop != nil {
		stop()
	}
	server := startShell(r.t, r.dirs[terminal], line, r.env)
	r.stop[terminal] = func() {
		delete(r.stop, terminal)
		server.stop()
	}
	addr := r.addrs["8080"]
	if terminal == ofPage {
		addr = r.addrs["5173"]
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			_ = conn.Close()
			return
		}
		select {
		case <-server.ended:
			r.t.Fatalf("%s has ended", line)
		default:
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("%s: %v", line, err)
		}
	}
}

// trust has Chromium and Go trust the authority of --tls-dev.
func (r *reader) trust() {
	r.t.Helper()
	c := exec.CommandContext(r.t.Context(), "bin/sluice", "trust", "--print")
	c.Dir, c.Env = r.dirs[ofGateway], r.env
	file, err := c.Output()
	if err != nil {
		r.t.Fatal(err)
	}
	r.env = append(r.env, "SSL_CERT_FILE="+strings.TrimSpace(string(file)))
	for _, db := range databases {
		outputOf(r.t, installed(r.t, "certutil"), "-A", "-d", "sql:"+filepath.Join(r.home, db), "-t", "C,,", "-n", "Sluice", "-i", strings.TrimSpace(string(file)))
	}
}

// chats runs a line that calls Chat with what it is told.
func (r *reader) chats(line string) {
	r.t.Helper()
	line = r.ports.Replace(strings.TrimSpace(line))
	if !whole() {
		line = strings.Replace(line, "go run ./cmd/sluice", "bin/sluice", 1)
	}
	ctx, cancel := context.WithTimeout(r.t.Context(), 2*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, "bash", "-ec", line)
	c.Dir, c.Env, c.WaitDelay, c.Stdin = r.dirs[ofGateway], r.env, 5*time.Second, strings.NewReader(`{"text": "hello"}`)
	var said strings.Builder
	c.Stderr = &said
	if out, err := c.Output(); err != nil || !strings.Contains(string(out), "you said: hello") {
		r.t.Errorf("%s: %v, %s%s", line, err, out, said.String())
	}
}

// calls opens the page in Chromium.
func (r *reader) calls(what string) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, installed(r.t, "node"), "first-call.js", "http://"+r.addrs["5173"]+"/")
	c.Dir, c.WaitDelay = "web", 5*time.Second
	c.Env = append(slices.Clone(r.env), "FIRST_CALL_CHROMIUM="+installed(r.t, "chromium"))
	begun := time.Now()
	out, err := c.CombinedOutput()
	if err != nil {
		r.t.Fatalf("%s: %v\n%s", what, err, out)
	}
	r.t.Logf("%s: %.1f s, %s", what, time.Since(begun).Seconds(), strings.TrimSpace(string(out)))
}
