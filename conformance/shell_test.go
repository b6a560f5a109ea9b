package conformance

import (
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A shell runs a line of a page that starts servers. It ends with the test, with whatever it has started; also if
// the test is killed.
type shell struct {
	line   string
	said   transcript // all of its output
	stdout transcript
	ended  chan struct{}

	t     *testing.T
	group int
	hold  *os.File
}

// untilDead ends the group when the other end of its pipe is closed: the kernel tells a child of its parent's death,
// but not a grandchild.
const untilDead = "(cat <&3; kill 0) >/dev/null 2>&1 &\nexec 3<&-\n"

func startShell(t *testing.T, dir, line string, env []string) *shell {
	t.Helper()
	theirs, ours, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	s := &shell{t: t, line: strings.TrimSpace(line), ended: make(chan struct{}), hold: ours}
	c := exec.Command("sh", "-ec", untilDead+line)
	c.Dir, c.Env, c.WaitDelay = dir, env, 5*time.Second
	c.ExtraFiles = []*os.File{theirs} // its descriptor 3
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Stdout, c.Stderr = io.MultiWriter(&s.stdout, &s.said), &s.said
	err = c.Start()
	_ = theirs.Close()
	if err != nil {
		_ = ours.Close()
		t.Fatal(err)
	}
	s.group = c.Process.Pid
	go func() { // ends with the shell
		_ = c.Wait() // it is ended by a signal
		close(s.ended)
	}()
	return s
}

// stop ends it: politely, then not.
func (s *shell) stop() {
	defer s.hold.Close()
	_ = syscall.Kill(-s.group, syscall.SIGTERM)
	select {
	case <-s.ended:
	case <-time.After(10 * time.Second):
		s.t.Errorf("%s does not end", s.line)
		_ = syscall.Kill(-s.group, syscall.SIGKILL)
		<-s.ended
	}
	if s.t.Failed() {
		s.t.Logf("%s:\n%s", s.line, s.said.String())
	}
}

// A transcript keeps what a command says.
type transcript struct {
	mu sync.Mutex
	b  strings.Builder
}

func (o *transcript) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(b)
}

func (o *transcript) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}
