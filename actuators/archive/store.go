package archive

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/cespare/xxhash/v2"
)

// Bounds of storing.
const (
	// burst is how much is read at a time.
	burst = 256 << 10
	// mostNames that a log may try.
	mostNames = 100
)

// kept is a log that is in the archive, and still in the queue.
type kept struct {
	source string // its path
	info   fs.FileInfo
	dir    string // the folder of its day
	name   string // in there
	size   int64  // of what is in there
}

// store puts one log into the archive, on disk and read again, under a name that nobody had. The log itself is left
// where it is. An error that is a *flaw concerns this log alone.
func (a *Archiver) store(ctx context.Context, s *Settings, j job) (kept, error) {
	k := kept{source: filepath.Join(a.queue, j.name), dir: filepath.Join(s.Root, j.log.Day())}
	src, err := a.disk.Open(k.source)
	if err != nil {
		return k, &flaw{err: err, gone: errors.Is(err, fs.ErrNotExist)}
	}
	defer src.Close()
	if k.info, err = src.Stat(); err != nil {
		return k, &flaw{err: err}
	}
	if !k.info.Mode().IsRegular() {
		return k, &flaw{err: errors.New("it is no regular file")}
	}
	if err := a.makeDir(k.dir); err != nil {
		return k, fmt.Errorf("cannot make the folder of its day: %w", err)
	}
	p := parcel{archiver: a, settings: s, codec: a.codecs.of(s, j.log.Ext), src: src, kept: &k}
	defer p.discard()
	for n := 1; n <= mostNames; {
		k.name = j.log.ArchivedAs(n) + p.codec.ext
		if len(k.name) > 255 {
			return k, &flaw{err: fmt.Errorf("its name in the archive, %s, would be too long", k.name)}
		}
		to := filepath.Join(k.dir, k.name)
		held, err := a.disk.Lstat(to)
		switch {
		case err == nil:
			same, err := p.same(to, held)
			if err != nil {
				return k, err
			}
			if same { // a crash came after it was published
				k.size = held.Size()
				return k, nil
			}
			n++
			continue
		case !errors.Is(err, fs.ErrNotExist):
			return k, err
		}
		switch err := p.place(ctx, to); {
		case errors.Is(err, fs.ErrExist): // somebody was faster: look at it
		case err != nil:
			return k, err
		default:
			return k, nil
		}
	}
	return k, &flaw{err: fmt.Errorf("there are %d others of its name in %s", mostNames, k.dir)}
}

// makeDir makes a folder, and those above it, and has their names on disk.
func (a *Archiver) makeDir(dir string) error {
	info, err := a.disk.Lstat(dir)
	switch {
	case err == nil && (info.IsDir() || info.Mode()&fs.ModeSymlink != 0):
		return nil // a link that leads nowhere shows with the first file
	case err == nil:
		return &fs.PathError{Op: "mkdir", Path: dir, Err: syscall.ENOTDIR}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	up := filepath.Dir(dir)
	if up == dir {
		return err
	}
	if err := a.makeDir(up); err != nil {
		return err
	}
	if err := a.disk.Mkdir(dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return a.disk.SyncDir(up)
}

// parcel is a log on its way into the archive.
type parcel struct {
	archiver *Archiver
	settings *Settings
	codec    codec
	src      File
	kept     *kept

	tmp     string // holds it, complete; empty: not yet
	content uint64 // the hash of the log
	hashed  bool   // content is known
	copies  bool   // a link is not possible
}

// place gives the archive the log under a name; fs.ErrExist where somebody has it.
func (p *parcel) place(ctx context.Context, to string) error {
	a, k := p.archiver, p.kept
	if p.codec.plain && !p.copies {
		// As it is, and on the same file system: it gets a second name.
		if err := p.src.Sync(); err != nil {
			return &flaw{err: err}
		}
		err := a.disk.Link(k.source, to)
		if err == nil {
			k.size = k.info.Size()
			return nil
		}
		if errors.Is(err, fs.ErrExist) || errors.Is(err, syscall.ENOSPC) {
			return err
		}
		p.copies = true // another file system, or one without links, or a file that is not ours
	}
	if p.tmp == "" {
		if err := p.pack(ctx); err != nil {
			return err
		}
	}
	if err := p.unchanged(); err != nil {
		return err
	}
	if err := a.disk.Publish(p.tmp, to); err != nil {
		return err
	}
	p.tmp = ""
	return nil
}

// unchanged looks whether the log is what it was when it was opened.
func (p *parcel) unchanged() error {
	now, err := p.archiver.disk.Lstat(p.kept.source)
	if err == nil && p.archiver.disk.Same(p.kept.info, now) {
		return nil
	}
	return &flaw{err: errors.New("it is being written"), gone: true}
}

// pack writes the log, compressed, to a temporary file beside its place, syncs it, and reads it again.
func (p *parcel) pack(ctx context.Context) (err error) {
	a := p.archiver
	p.tmp = filepath.Join(p.kept.dir, a.tempPrefix()+fmt.Sprint(a.seq.Add(1))+tempSuffix)
	f, err := a.disk.Create(p.tmp)
	if err != nil {
		p.tmp = ""
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			p.discard()
		}
	}()
	written := xxhash.New()
	out := bufio.NewWriterSize(io.MultiWriter(f, written), 64<<10)
	size, err := p.compress(ctx, out)
	if err != nil {
		return err
	}
	if err := out.Flush(); err != nil {
		return err
	}
	// When it was written to last, so that it looks its age; not every file system keeps that.
	_ = a.disk.SetTime(p.tmp, p.kept.info.ModTime())
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if size != p.kept.info.Size() {
		return &flaw{err: errors.New("it is being written"), gone: true}
	}
	return p.verify(written.Sum64())
}

// compress reads the log to its end, and writes it to w; it returns how many bytes it had.
func (p *parcel) compress(ctx context.Context, w io.Writer) (size int64, err error) {
	var enc io.WriteCloser
	if p.codec.encode != nil {
		if enc, err = p.codec.encode(ctx, w); err != nil {
			return 0, err
		}
		defer func() {
			if cerr := enc.Close(); err == nil {
				err = cerr
			}
		}()
		w = enc
	}
	content := xxhash.New()
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	for {
		if err := ctx.Err(); err != nil {
			return size, context.Cause(ctx)
		}
		n, rerr := p.src.Read(*buf)
		if n > 0 {
			if err := p.archiver.limiter.WaitN(ctx, n); err != nil {
				return size, err
			}
			_, _ = content.Write((*buf)[:n])
			if _, err := w.Write((*buf)[:n]); err != nil {
				return size, err
			}
			size += int64(n)
		}
		if rerr == io.EOF { //nolint:errorlint // a Reader returns it as it is
			p.content, p.hashed = content.Sum64(), true
			return size, nil
		}
		if rerr != nil {
			return size, &flaw{err: rerr}
		}
	}
}

var buffers = sync.Pool{New: func() any { b := make([]byte, burst); return &b }}

// verify reads what was written from the disk, and compares it with what was meant to be written; the output of somebody
// else's compressor is read as what it should be, too.
func (p *parcel) verify(written uint64) error {
	got, n, stored, err := p.archiver.read(p.tmp, nil)
	if err != nil {
		return fmt.Errorf("cannot read what was written: %w", err)
	}
	if got != written || n != stored {
		return errMismatch
	}
	p.kept.size = stored
	decode := decoderOf(p.codec.ext)
	if p.settings.Filter == "" || decode == nil {
		return nil
	}
	got, n, _, err = p.archiver.read(p.tmp, decode)
	if err != nil || got != p.content || n != p.kept.info.Size() {
		return fmt.Errorf("the output of %q is not the log, compressed: %w", p.settings.Filter, errors.Join(errMismatch, err))
	}
	return nil
}

// read returns the hash of a file's content, after decode unless that is nil, its length, and how long the file is.
func (a *Archiver) read(path string, decode func(io.Reader) (io.ReadCloser, error)) (hash uint64, n, stored int64, err error) {
	f, err := a.disk.Open(path)
	if err != nil {
		return 0, 0, 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, 0, 0, err
	}
	var r io.Reader = bufio.NewReaderSize(f, 64<<10)
	if decode != nil {
		d, err := decode(r)
		if err != nil {
			return 0, 0, 0, err
		}
		defer d.Close()
		r = d
	}
	h := xxhash.New()
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	n, err = io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{r}, *buf)
	return h.Sum64(), n, info.Size(), err
}

// same reports whether a file in the archive has the content of the log.
func (p *parcel) same(path string, held fs.FileInfo) (bool, error) {
	if !held.Mode().IsRegular() {
		return false, nil
	}
	if p.archiver.disk.Same(p.kept.info, held) {
		return true, nil // it is the log itself
	}
	if !p.hashed {
		hash, _, _, err := p.archiver.read(p.kept.source, nil)
		if err != nil {
			return false, &flaw{err: err, gone: errors.Is(err, fs.ErrNotExist)}
		}
		p.content, p.hashed = hash, true
	}
	decode := decoderOf(path)
	if p.codec.plain {
		decode = nil // it was compressed before it came
	}
	hash, n, _, err := p.archiver.read(path, decode)
	// One that cannot be read is another: a name is free for this one.
	return err == nil && hash == p.content && n == p.kept.info.Size(), nil
}

// discard removes the temporary file.
func (p *parcel) discard() {
	if p.tmp == "" {
		return
	}
	if err := p.archiver.disk.Remove(p.tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		p.archiver.tidied.Store(nil) // it is looked for again
	}
	p.tmp = ""
}

// Temporary files are named after the archiver that makes them: only its own are removed by the next one.
const tempSuffix = ".tmp"

func (a *Archiver) tempPrefix() string { return ".zeekrec-" + a.id + "-" }

func (a *Archiver) isTemp(name string) bool {
	return strings.HasPrefix(name, a.tempPrefix()) && strings.HasSuffix(name, tempSuffix)
}
