package archive

import (
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// errPower is what everything ends with when the power is gone.
var errPower = errors.New("power failed")

// memDisk is a file system in memory that keeps apart what programs see and what is on disk. At a loss of power, contents
// are what they were at their last Sync, or anything that was written since; names in folders are those of the last
// SyncDir, or any of the changes since then. It counts operations, and fails at the one that it is told to.
type memDisk struct {
	mu    sync.Mutex
	rng   *rand.Rand
	dirs  map[string]*memDir
	ops   int
	fail  func(op int, what, path string) error
	down  bool
	space int64 // bytes that there are; 0: no bound
	now   time.Time
}

type memDir struct {
	names  map[string]*inode
	synced map[string]*inode
}

type inode struct {
	data, synced []byte
	mod          time.Time
	id           int
}

func newMemDisk(seed uint64) *memDisk {
	return &memDisk{rng: rand.New(rand.NewPCG(seed, 5)), dirs: map[string]*memDir{"/": {names: map[string]*inode{}, synced: map[string]*inode{}}}, now: time.Unix(1767225600, 0)}
}

// do begins an operation.
func (m *memDisk) do(what, p string) error {
	if m.down {
		return errPower
	}
	m.ops++
	if m.fail != nil {
		if err := m.fail(m.ops, what, p); err != nil {
			if errors.Is(err, errPower) {
				m.down = true
			}
			return &fs.PathError{Op: what, Path: p, Err: err}
		}
	}
	return nil
}

// powerLoss leaves what is on disk, and what may be.
func (m *memDisk) powerLoss() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down, m.fail = false, nil
	for dir, d := range m.dirs {
		kept := map[string]*inode{}
		for n, i := range d.synced {
			if d.names[n] == i || m.rng.IntN(2) == 0 { // a removal or a rename may not have come to the disk
				kept[n] = i
			}
		}
		for n, i := range d.names {
			if d.synced[n] != i && m.rng.IntN(2) == 0 { // and a new name may have
				kept[n] = i
			}
		}
		for _, i := range kept {
			if len(i.data) > len(i.synced) {
				i.data = i.data[:len(i.synced)+m.rng.IntN(len(i.data)-len(i.synced)+1)]
			}
			i.synced = slices.Clone(i.data)
		}
		m.dirs[dir] = &memDir{names: kept, synced: cloneNames(kept)}
	}
}

func cloneNames(in map[string]*inode) map[string]*inode {
	out := map[string]*inode{}
	for k, v := range in {
		out[k] = v
	}
	return out
}

func (m *memDisk) mkdir(p string) {
	for ; p != "/"; p = path.Dir(p) {
		if m.dirs[p] == nil {
			m.dirs[p] = &memDir{names: map[string]*inode{}, synced: map[string]*inode{}}
		}
	}
}

// put a file on the disk for good.
func (m *memDisk) put(p, content string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mkdir(path.Dir(p))
	m.ops++
	i := &inode{data: []byte(content), synced: []byte(content), mod: m.now, id: m.ops}
	d := m.dirs[path.Dir(p)]
	d.names[path.Base(p)], d.synced[path.Base(p)] = i, i
}

// files below a folder, by path.
func (m *memDisk) files(under string) map[string]string {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := map[string]string{}
	for dir, d := range m.dirs {
		for n, i := range d.names {
			if p := path.Join(dir, n); strings.HasPrefix(p, under+"/") {
				out[p] = string(i.data)
			}
		}
	}
	return out
}

func (m *memDisk) used() (n int64) {
	for _, d := range m.dirs {
		for _, i := range d.names {
			n += int64(len(i.data))
		}
	}
	return n
}

func (m *memDisk) lookup(p string) (*memDir, *inode, error) {
	d := m.dirs[path.Dir(p)]
	if d == nil {
		return nil, nil, &fs.PathError{Op: "open", Path: p, Err: fs.ErrNotExist}
	}
	return d, d.names[path.Base(p)], nil
}

func (m *memDisk) ReadDir(dir string) ([]fs.DirEntry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.do("readdir", dir); err != nil {
		return nil, err
	}
	d := m.dirs[dir]
	if d == nil {
		return nil, &fs.PathError{Op: "readdir", Path: dir, Err: fs.ErrNotExist}
	}
	var out []fs.DirEntry
	for n, i := range d.names {
		out = append(out, fs.FileInfoToDirEntry(memInfo{n, int64(len(i.data)), i.mod, i.id, 0}))
	}
	for p := range m.dirs {
		if path.Dir(p) == dir && p != "/" {
			out = append(out, fs.FileInfoToDirEntry(memInfo{path.Base(p), 0, m.now, 0, fs.ModeDir}))
		}
	}
	slices.SortFunc(out, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return out, nil
}

func (m *memDisk) Lstat(p string) (fs.FileInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.do("lstat", p); err != nil {
		return nil, err
	}
	if m.dirs[p] != nil {
		return memInfo{path.Base(p), 0, m.now, 0, fs.ModeDir}, nil
	}
	_, i, err := m.lookup(p)
	if err != nil {
		return nil, err
	}
	if i == nil {
		return nil, &fs.PathError{Op: "lstat", Path: p, Err: fs.ErrNotExist}
	}
	return memInfo{path.Base(p), int64(len(i.data)), i.mod, i.id, 0}, nil
}

func (m *memDisk) Open(p string) (File, error) { return m.open("open", p, false, false) }

func (m *memDisk) Create(p string) (File, error) { return m.open("create", p, true, true) }

func (m *memDisk) Append(p string) (File, error) { return m.open("append", p, true, false) }

func (m *memDisk) open(what, p string, create, exclusive bool) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.do(what, p); err != nil {
		return nil, err
	}
	d, i, err := m.lookup(p)
	switch {
	case err != nil:
		return nil, err
	case i != nil && exclusive:
		return nil, &fs.PathError{Op: what, Path: p, Err: fs.ErrExist}
	case i == nil && !create:
		return nil, &fs.PathError{Op: what, Path: p, Err: fs.ErrNotExist}
	case i == nil:
		i = &inode{mod: m.now, id: m.ops}
		d.names[path.Base(p)] = i
	}
	return &memFile{m: m, i: i, name: p}, nil
}

func (m *memDisk) Mkdir(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.do("mkdir", dir); err != nil {
		return err
	}
	if m.dirs[dir] != nil {
		return &fs.PathError{Op: "mkdir", Path: dir, Err: fs.ErrExist}
	}
	m.mkdir(dir)
	return nil
}

func (m *memDisk) Publish(from, to string) error { return m.link("rename", from, to, true) }

func (m *memDisk) Link(from, to string) error { return m.link("link", from, to, false) }

func (m *memDisk) link(what, from, to string, move bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.do(what, from); err != nil {
		return err
	}
	src, i, err := m.lookup(from)
	if err != nil {
		return err
	}
	dst, there, err := m.lookup(to)
	switch {
	case err != nil:
		return err
	case i == nil:
		return &fs.PathError{Op: what, Path: from, Err: fs.ErrNotExist}
	case there != nil:
		return &fs.PathError{Op: what, Path: to, Err: fs.ErrExist}
	}
	dst.names[path.Base(to)] = i
	if move {
		delete(src.names, path.Base(from))
	}
	return nil
}

func (m *memDisk) Remove(p string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.do("remove", p); err != nil {
		return err
	}
	if d := m.dirs[p]; d != nil {
		if len(d.names) > 0 {
			return &fs.PathError{Op: "remove", Path: p, Err: syscall.ENOTEMPTY}
		}
		delete(m.dirs, p)
		return nil
	}
	d, i, err := m.lookup(p)
	if err != nil {
		return err
	}
	if i == nil {
		return &fs.PathError{Op: "remove", Path: p, Err: fs.ErrNotExist}
	}
	delete(d.names, path.Base(p))
	return nil
}

func (m *memDisk) SetTime(p string, at time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, i, err := m.lookup(p); err == nil && i != nil {
		i.mod = at
	}
	return nil
}

func (m *memDisk) SyncDir(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.do("syncdir", dir); err != nil {
		return err
	}
	if d := m.dirs[dir]; d != nil {
		d.synced = cloneNames(d.names)
	}
	return nil
}

func (m *memDisk) Space(string) (Space, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.space == 0 {
		return Space{Free: 1 << 40, Total: 1 << 41}, nil
	}
	return Space{Free: m.space - m.used(), Total: m.space}, nil
}

func (m *memDisk) Lock(string) (io.Closer, error) { return io.NopCloser(nil), nil }

func (m *memDisk) Same(a, b fs.FileInfo) bool {
	x, y := a.(memInfo), b.(memInfo)
	return x.id == y.id && x.size == y.size && x.mod.Equal(y.mod)
}

type memFile struct {
	m    *memDisk
	i    *inode
	name string
	at   int
}

func (f *memFile) Read(p []byte) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.m.do("read", f.name); err != nil {
		return 0, err
	}
	if f.at >= len(f.i.data) {
		return 0, io.EOF
	}
	n := copy(p, f.i.data[f.at:])
	f.at += n
	return n, nil
}

func (f *memFile) Write(p []byte) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.m.do("write", f.name); err != nil {
		return 0, err
	}
	if f.m.space > 0 && f.m.used()+int64(len(p)) > f.m.space {
		n := max(0, f.m.space-f.m.used())
		f.i.data = append(f.i.data, p[:n]...)
		return int(n), &fs.PathError{Op: "write", Path: f.name, Err: syscall.ENOSPC}
	}
	f.i.data = append(f.i.data, p...)
	return len(p), nil
}

func (f *memFile) Sync() error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.m.do("sync", f.name); err != nil {
		return err
	}
	f.i.synced = slices.Clone(f.i.data)
	return nil
}

func (f *memFile) Close() error { return nil }

func (f *memFile) Stat() (fs.FileInfo, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.m.do("stat", f.name); err != nil {
		return nil, err
	}
	return memInfo{path.Base(f.name), int64(len(f.i.data)), f.i.mod, f.i.id, 0}, nil
}

type memInfo struct {
	name string
	size int64
	mod  time.Time
	id   int
	mode fs.FileMode
}

func (i memInfo) Name() string       { return i.name }
func (i memInfo) Size() int64        { return i.size }
func (i memInfo) Mode() fs.FileMode  { return i.mode }
func (i memInfo) ModTime() time.Time { return i.mod }
func (i memInfo) IsDir() bool        { return i.mode.IsDir() }
func (i memInfo) Sys() any           { return nil }
