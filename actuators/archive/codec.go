package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Compression of archived logs.
type Compression string

// Gzip is what every gunzip reads, Zstd is smaller and faster, None leaves logs as they are.
const (
	Gzip Compression = "gzip"
	Zstd Compression = "zstd"
	None Compression = "none"
)

// gzipLevel and zstdLevel were chosen on conn logs (make bench-archive). GNU gzip's own level 6 is 1; CPU and size:
// gzip 4: 0.3, 1.08; 5: 0.3, 1.02; 6: 0.33, 1.01; 7: 0.6, 0.99; zstd fastest: 0.1, 0.99; default: 0.3, 0.96; better: 0.6, 0.95.
const (
	gzipLevel = 5
	zstdLevel = zstd.SpeedFastest
)

// zstdWindow bounds the memory of whoever reads it, and ours: 4 MiB.
const zstdWindow = 4 << 20

// codec is how one log is stored.
type codec struct {
	// ext is added to the name: ".gz", or empty.
	ext string
	// plain: the log is stored as it is.
	plain bool
	// encode makes a writer that compresses into w; Close ends the stream and leaves w open.
	encode func(ctx context.Context, w io.Writer) (io.WriteCloser, error)
}

// codecs keeps compressors for the next log: each takes a megabyte, and longer to make than a small log to compress.
type codecs struct{ gzips, zstds sync.Pool }

// of is the codec for a log with an extension.
func (c *codecs) of(s *Settings, ext string) codec {
	if slices.ContainsFunc(s.Zipped, func(z string) bool { return z != "" && strings.HasSuffix(ext, "."+z) }) {
		return codec{plain: true}
	}
	switch {
	case s.Filter != "":
		out := codec{encode: func(ctx context.Context, w io.Writer) (io.WriteCloser, error) { return newFilter(ctx, s.Filter, w) }}
		if s.FilterExt != "" {
			out.ext = "." + s.FilterExt
		}
		return out
	case s.Compress == None:
		return codec{plain: true}
	case s.Compress == Zstd:
		return codec{ext: ".zst", encode: c.encodeZstd}
	}
	out := codec{ext: ".gz", encode: c.encodeGzip}
	if s.FilterExt != "" {
		out.ext = "." + s.FilterExt
	}
	return out
}

// decoderOf finds out how to read an archived log by its name; nil: as it is.
func decoderOf(name string) func(io.Reader) (io.ReadCloser, error) {
	switch {
	case strings.HasSuffix(name, ".gz"):
		return decodeGzip
	case strings.HasSuffix(name, ".zst"):
		return decodeZstd
	}
	return nil
}

// pooled gives its compressor back when it is closed.
type pooled struct {
	io.WriteCloser
	back func()
}

func (p pooled) Close() error {
	err := p.WriteCloser.Close()
	p.back()
	return err
}

func (c *codecs) encodeGzip(_ context.Context, w io.Writer) (io.WriteCloser, error) {
	z, ok := c.gzips.Get().(*gzip.Writer)
	if !ok {
		var err error
		if z, err = gzip.NewWriterLevel(w, gzipLevel); err != nil {
			return nil, err
		}
	}
	z.Reset(w)
	return pooled{z, func() { z.Reset(io.Discard); c.gzips.Put(z) }}, nil
}

func (c *codecs) encodeZstd(_ context.Context, w io.Writer) (io.WriteCloser, error) {
	z, ok := c.zstds.Get().(*zstd.Encoder)
	if !ok {
		var err error
		// One at a time: the bound is on logs, not on what each of them starts.
		if z, err = zstd.NewWriter(w, zstd.WithEncoderLevel(zstdLevel), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(zstdWindow)); err != nil {
			return nil, err
		}
	}
	z.Reset(w)
	return pooled{z, func() { z.Reset(io.Discard); c.zstds.Put(z) }}, nil
}

func decodeGzip(r io.Reader) (io.ReadCloser, error) { return gzip.NewReader(r) }

func decodeZstd(r io.Reader) (io.ReadCloser, error) {
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(128<<20))
	if err != nil {
		return nil, err
	}
	return z.IOReadCloser(), nil
}

// filter is a command that compresses.
type filter struct {
	in    io.WriteCloser
	cmd   *exec.Cmd
	name  string
	ended bool
}

// filterPatience is how long a filter may take to end when it has read all.
const filterPatience = 10 * time.Minute

func newFilter(ctx context.Context, command string, w io.Writer) (*filter, error) {
	cmd := exec.CommandContext(ctx, "sh", "-c", command)
	cmd.Stdout, cmd.WaitDelay = w, time.Second
	var said tail
	cmd.Stderr = &said
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("cannot run %s: %w", command, err)
	}
	return &filter{in: in, cmd: cmd, name: command}, nil
}

func (f *filter) Write(p []byte) (int, error) { return f.in.Write(p) }

// Close waits until the filter has written all; what is wrong with it is an error.
func (f *filter) Close() error {
	if f.ended {
		return nil
	}
	f.ended = true
	err := f.in.Close()
	late := time.AfterFunc(filterPatience, func() { _ = f.cmd.Process.Kill() })
	defer late.Stop()
	if werr := f.cmd.Wait(); werr != nil {
		said, _ := f.cmd.Stderr.(*tail)
		return fmt.Errorf("cannot compress with %q: %w%s", f.name, werr, said.suffix())
	}
	return err
}

// tail keeps the end of what is written to it.
type tail struct{ b []byte }

const tailKept = 4096

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if len(t.b) > tailKept {
		t.b = t.b[len(t.b)-tailKept:]
	}
	return len(p), nil
}

// last line of it.
func (t *tail) last() string {
	lines := strings.Split(strings.TrimSpace(string(t.b)), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}

func (t *tail) suffix() string {
	if l := t.last(); l != "" {
		return ": " + l
	}
	return ""
}

// errMismatch: what was read again is not what was written.
var errMismatch = errors.New("what is in the archive is not what was written there")
