package local

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/zeekrec/zeekrec/cmd/internal/api"
)

// followPause between two looks at a file that is followed.
const followPause = 200 * time.Millisecond

// logWriter copies outputs to w.
type logWriter struct {
	w       io.Writer
	options api.LogOptions
	last    string // the output that was written last
	headers bool
}

func (l *logWriter) run(ctx context.Context, dir string) error {
	names := []string{"stdout", "stderr"}
	switch o := l.options; {
	case o.Stdout && !o.Stderr:
		names = names[:1]
	case o.Stderr && !o.Stdout:
		names = names[1:]
	}
	l.headers = len(names) > 1
	offsets := map[string]int64{}
	for _, name := range names {
		n, err := l.begin(name, filepath.Join(dir, name))
		if err != nil {
			return err
		}
		offsets[name] = n
	}
	if !l.options.Follow {
		return nil
	}
	tick := time.NewTicker(followPause)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		for _, name := range names {
			n, err := l.more(name, filepath.Join(dir, name), offsets[name])
			if err != nil {
				return err
			}
			offsets[name] = n
		}
	}
}

// begin writes what is there already, and returns how far it came in the current file.
func (l *logWriter) begin(name, path string) (int64, error) {
	paths := []string{path}
	if !l.options.Since.IsZero() {
		for i := 1; i <= 9; i++ {
			if old := fmt.Sprintf("%s.%d", path, i); exists(old) {
				paths = append([]string{old}, paths...)
			}
		}
	}
	var out tail
	out.most = l.options.Lines
	wanted := l.options.Since.IsZero()
	var read int64
	for _, p := range paths {
		f, err := os.Open(p)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("cannot read logs: %w", err)
		}
		read = 0
		r := bufio.NewReaderSize(f, 1<<16)
		for {
			line, err := r.ReadBytes('\n')
			read += int64(len(line))
			if len(line) > 0 {
				if t, ok := lineTime(line); ok && !l.options.Since.IsZero() {
					wanted = !t.Before(l.options.Since)
				}
				if wanted {
					out.add(line)
				}
			}
			if err != nil {
				break
			}
		}
		_ = f.Close()
	}
	return read, l.write(name, out.lines)
}

// more writes what was added since.
func (l *logWriter) more(name, path string, from int64) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return from, nil // being rotated, or not yet there
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return from, nil
	}
	if info.Size() < from {
		from = 0 // rotated: copied and truncated
	}
	if info.Size() == from {
		return from, nil
	}
	b, err := io.ReadAll(io.NewSectionReader(f, from, min(info.Size()-from, 1<<20)))
	if err != nil {
		return from, fmt.Errorf("cannot read logs: %w", err)
	}
	return from + int64(len(b)), l.write(name, [][]byte{b})
}

func (l *logWriter) write(name string, lines [][]byte) error {
	if len(lines) == 0 {
		return nil
	}
	if l.headers && l.last != name {
		gap := "\n"
		if l.last == "" {
			gap = ""
		}
		l.last = name
		if _, err := fmt.Fprintf(l.w, "%s==> %s <==\n", gap, name); err != nil {
			return err
		}
	}
	for _, line := range lines {
		if _, err := l.w.Write(line); err != nil {
			return err
		}
	}
	if f, ok := l.w.(interface{ Flush() }); ok {
		f.Flush()
	}
	return nil
}

// tail keeps the last lines.
type tail struct {
	most  int
	lines [][]byte
}

func (t *tail) add(line []byte) {
	t.lines = append(t.lines, line)
	if t.most > 0 && len(t.lines) > t.most {
		t.lines = t.lines[len(t.lines)-t.most:]
	}
}

// lineTime is the time that a line begins with: "# 2026-01-02T15:04:05Z zeekrec: …" or "1767366245.123456 …".
func lineTime(line []byte) (time.Time, bool) {
	first, _, _ := bytes.Cut(bytes.TrimPrefix(line, []byte("# ")), []byte(" "))
	if t, err := time.Parse(time.RFC3339Nano, string(first)); err == nil {
		return t, true
	}
	s := string(first)
	if seconds, _, ok := strings.Cut(s, "."); !ok || len(seconds) < 9 || len(seconds) > 11 {
		return time.Time{}, false
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return time.Time{}, false
	}
	return time.UnixMicro(int64(f * 1e6)), true
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
