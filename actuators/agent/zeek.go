package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/observed"
)

// binary identifies a zeek program: what it said, and which file it was.
type binary struct {
	Path    string `json:"path"`
	Version string `json:"version"`
	StandIn bool   `json:"stand_in,omitempty"`
	// ZeekPath is its default search path; what is rendered depends on it.
	ZeekPath string    `json:"zeekpath"`
	Size     int64     `json:"size"`
	ModTime  time.Time `json:"mod_time"`
}

// fileOf returns the identity of the file at the path; the zero value where there is none.
func fileOf(path string) (b binary) {
	b.Path = path
	if info, err := os.Stat(path); err == nil {
		b.Size, b.ModTime = info.Size(), info.ModTime().UTC()
	}
	return b
}

// sameFile compares files, not versions.
func (b binary) sameFile(o binary) bool {
	return b.Path == o.Path && b.Size == o.Size && b.ModTime.Equal(o.ModTime)
}

// newer says in words how a fresh start with now would differ from b; empty for not at all.
func (b binary) newer(now binary) string {
	switch {
	case b.sameFile(now) || now.Version == "" && now.Size != 0:
		return ""
	case now.Size == 0:
		return "Zeek " + b.Version + " is no longer at " + now.Path
	case b.Path != now.Path && b.Version == now.Version:
		return fmt.Sprintf("%s -> %s", b.Path, now.Path)
	case b.Version == now.Version:
		return "another build of Zeek " + b.Version
	}
	return fmt.Sprintf("Zeek %s -> %s", b.Version, now.Version)
}

// LearnZeek asks the program at a path what it is, unless that is known. The answer, or why there is none, is
// in the reports from then on.
func (a *Agent) LearnZeek(ctx context.Context, path string) {
	a.zeeks.facts(ctx, path)
	a.changed()
}

// zeeks remembers what zeek binaries said of themselves, until their file changes.
type zeeks struct {
	fallback string
	ask      func(ctx context.Context, path string) desired.ZeekFacts

	mu    sync.Mutex            // of known and of what the entries have; never held while asking
	known map[string]*zeekEntry // by path as asked for; "" is the default
}

type zeekEntry struct {
	asking sync.Mutex // one question at a time
	asked  bool
	file   binary
	facts  desired.ZeekFacts
}

// facts returns what the program at the path says; it runs it where that is not known, which takes a
// moment. Until there is an answer, what was known before stays so.
func (z *zeeks) facts(ctx context.Context, path string) (desired.ZeekFacts, binary) {
	z.mu.Lock()
	e := z.known[path]
	if e == nil {
		e = &zeekEntry{}
		z.known[path] = e
	}
	z.mu.Unlock()

	e.asking.Lock()
	defer e.asking.Unlock()
	real, err := z.resolve(path)
	if err != nil {
		return z.keep(e, desired.ZeekFacts{Path: path, Err: err.Error()}, binary{Path: path})
	}
	file := fileOf(real)
	if facts, was, asked := z.current(path); asked && facts.Err == "" && file.sameFile(was) {
		return facts, was
	}
	facts := z.ask(ctx, real)
	file.Version, file.StandIn, file.ZeekPath = facts.Version, facts.StandIn, facts.ZeekPath
	return z.keep(e, facts, file)
}

func (z *zeeks) keep(e *zeekEntry, f desired.ZeekFacts, b binary) (desired.ZeekFacts, binary) {
	z.mu.Lock()
	defer z.mu.Unlock()
	e.asked, e.facts, e.file = true, f, b
	return f, b
}

// refresh asks again where a program was replaced.
func (z *zeeks) refresh(ctx context.Context) {
	z.mu.Lock()
	paths := slices.Collect(maps.Keys(z.known))
	z.mu.Unlock()
	for _, p := range paths {
		z.facts(ctx, p)
	}
}

// current is what facts returned last, without asking; ok is false where it was never asked.
func (z *zeeks) current(path string) (f desired.ZeekFacts, b binary, ok bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if e := z.known[path]; e != nil && e.asked {
		return e.facts, e.file, true
	}
	return f, b, false
}

func (z *zeeks) report() map[string]observed.Zeek {
	z.mu.Lock()
	defer z.mu.Unlock()
	out := make(map[string]observed.Zeek, len(z.known))
	for p, e := range z.known {
		if f := e.facts; e.asked {
			out[p] = observed.Zeek{Path: f.Path, Version: f.Version, ZeekPath: f.ZeekPath, HasLocal: f.HasLocal, StandIn: f.StandIn, Err: f.Err}
		}
	}
	return out
}

// resolve finds the program behind a path as asked for.
func (z *zeeks) resolve(path string) (string, error) {
	if path == "" {
		path = z.fallback
	}
	if path == "" {
		path = "zeek"
	}
	p, err := exec.LookPath(path)
	if err != nil {
		if errors.Is(err, exec.ErrNotFound) && path == "zeek" {
			return "", errors.New("cannot find zeek: it is not on PATH; name one with --zeek PATH")
		}
		return "", fmt.Errorf("cannot find zeek: %w", err)
	}
	return filepath.Abs(p)
}

// askTimeout bounds one question to a zeek binary.
const askTimeout = 20 * time.Second

// askZeek runs a program for what it says of itself.
func askZeek(ctx context.Context, path string) desired.ZeekFacts {
	f := desired.ZeekFacts{Path: path}
	out, err := runZeek(ctx, path, "--version")
	if err != nil {
		f.Err = err.Error()
		return f
	}
	m := regexp.MustCompile(`version (\d+\.\d+\S*)`).FindStringSubmatch(out)
	if m == nil {
		f.Err = fmt.Sprintf("cannot ask %s for its version: it says %.100q", path, strings.TrimSpace(out))
		return f
	}
	f.Version = strings.TrimRight(m[1], ",;)")
	f.StandIn = strings.Contains(strings.ToLower(out), "stand-in")

	// `zeek --help` shows the default search path: "$ZEEKPATH | file search path (.:/opt/zeek/share/zeek:…)".
	help, err := runZeek(ctx, path, "--help")
	m = regexp.MustCompile(`ZEEKPATH\s*\|[^(\n]*\(([^)\n]*)\)`).FindStringSubmatch(help)
	if m == nil {
		if err == nil {
			err = errors.New("its --help does not show $ZEEKPATH")
		}
		f.Err = fmt.Sprintf("cannot ask %s for its search path: %v", path, err)
		return f
	}
	f.ZeekPath = m[1]
	if m := regexp.MustCompile(`ZEEK_PLUGIN_PATH\s*\|[^(\n]*\(([^)\n]*)\)`).FindStringSubmatch(help); m != nil {
		f.Plugins = m[1]
	}
	f.HasLocal = hasLocal(f.ZeekPath)
	return f
}

// runZeek runs it without ZEEKPATH, which would replace the default that is asked for (decisions 8).
// Usage is printed to stderr, and with status 1, by some versions.
func runZeek(ctx context.Context, path, arg string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, arg)
	cmd.Env = []string{"PATH=" + filepath.Dir(path) + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"}
	cmd.Dir = os.TempDir()
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if len(out) > 0 {
		return string(out), nil
	}
	if err == nil {
		err = errors.New("it says nothing")
	}
	return "", fmt.Errorf("cannot ask %s for its %s: %w", path, strings.TrimPrefix(arg, "--"), err)
}

// hasLocal reports whether a local.zeek is on a search path.
func hasLocal(zeekPath string) bool {
	return slices.ContainsFunc(filepath.SplitList(zeekPath), func(dir string) bool {
		_, err := os.Stat(filepath.Join(dir, "local.zeek"))
		return err == nil && filepath.IsAbs(dir)
	})
}
