package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// answerTime is how long a process may take for an answer, and for its end.
const answerTime = 20 * time.Second

// keyPrefix begins the names of Zeek's variables with keys.
const keyPrefix = "ZEEK_CLUSTER_BACKEND_ZEROMQ_CURVE_"

// process is a child: a broker, or a generator that obeys lines.
type process struct {
	name  string
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string // what it says; closed at its end
	ended chan struct{}
	said  *tail
}

// startProcess runs a program. It ends with ctx, and with this process.
func startProcess(ctx context.Context, name string, env []string, program string, args ...string) (*process, error) {
	p := &process{name: name, cmd: exec.CommandContext(ctx, program, args...), lines: make(chan string, 64),
		ended: make(chan struct{}), said: &tail{}}
	p.cmd.Env = append(withoutKeys(os.Environ()), env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p.cmd.WaitDelay = time.Second
	p.cmd.Stderr = p.said
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", name, err)
	}
	go func() {
		defer close(p.ended)
		defer close(p.lines)
		text := bufio.NewScanner(out)
		text.Buffer(nil, 1<<20)
		for text.Scan() {
			select {
			case p.lines <- text.Text():
			default: // a broker that talks, to nobody
			}
		}
		_, _ = io.Copy(io.Discard, out)
		_ = p.cmd.Wait() // how it ended is told by who misses its answers
	}()
	return p, nil
}

// withoutKeys leaves out keys that the caller's own environment happens to have: what is to be NULL has to be.
func withoutKeys(env []string) []string {
	return slices.DeleteFunc(env, func(v string) bool { return strings.HasPrefix(v, keyPrefix) })
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// tell sends a line that has no answer.
func (p *process) tell(line string) error {
	if _, err := io.WriteString(p.in, line+"\n"); err != nil {
		return fmt.Errorf("cannot tell %s to %q: %w%s", p.name, line, err, p.said)
	}
	return nil
}

// expect waits for the line that begins with a word and returns what follows it.
func (p *process) expect(ctx context.Context, word string) (string, error) {
	late := time.NewTimer(answerTime)
	defer late.Stop()
	for {
		select {
		case line, ok := <-p.lines:
			if !ok {
				return "", fmt.Errorf("%s ended before it said %q%s", p.name, word, p.said)
			}
			if first, rest, _ := strings.Cut(line, " "); first == word {
				return rest, nil
			}
		case <-late.C:
			return "", fmt.Errorf("%s has not said %q for %v%s", p.name, word, answerTime, p.said)
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
}

// ask sends a line and waits for the answer, which begins with the same word.
func (p *process) ask(ctx context.Context, word string) (string, error) {
	if err := p.tell(word); err != nil {
		return "", err
	}
	return p.expect(ctx, word)
}

// signal sends one, for SIGSTOP.
func (p *process) signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// alive reports whether it still runs.
func (p *process) alive() error {
	select {
	case <-p.ended:
		return fmt.Errorf("%s ended%s", p.name, p.said)
	default:
		return nil
	}
}

// stop ends it, with a signal first where it is given the time, and waits for its end.
func (p *process) stop(first os.Signal) error {
	if p == nil {
		return nil
	}
	_ = p.in.Close()
	if err := p.signal(first); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	for _, wait := range []time.Duration{3 * time.Second, answerTime} {
		select {
		case <-p.ended:
			return nil
		case <-time.After(wait):
			_ = p.cmd.Process.Kill()
		}
	}
	return fmt.Errorf("%s (pid %d) does not end", p.name, p.pid())
}

// tail keeps the last of what a process says on stderr, for the error that tells of it.
type tail struct {
	mu sync.Mutex
	b  []byte
}

const tailBytes = 2000

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, b...)
	if len(t.b) > 2*tailBytes {
		t.b = append(t.b[:0], t.b[len(t.b)-tailBytes:]...)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if text := bytes.TrimSpace(t.b); len(text) > 0 {
		return ":\n" + string(text)
	}
	return ""
}
