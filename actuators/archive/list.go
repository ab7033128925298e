package archive

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
)

// The folder of each day has a list of what was archived there, so that nothing else is ever deleted. It is a text to be
// added to: "<size> <name>" in each line. A log is listed before it leaves the queue. What was torn by a loss of power
// counts for nothing: its log was not unlinked.
const listName = ".zeekrec"

// listLimit is how long a list is read at most.
const listLimit = 64 << 20

// list adds logs to the list of their day, and has it on disk.
func (a *Archiver) list(dir string, ks []kept) (err error) {
	path := filepath.Join(dir, listName)
	f, err := a.disk.Append(path)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}()
	var b strings.Builder
	if info, err := f.Stat(); err != nil {
		return err
	} else if info.Size() > 0 {
		b.WriteByte('\n') // whatever the last line was torn to
	}
	for i, k := range ks {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "%d %s", k.size, k.name)
	}
	if _, err := io.WriteString(f, b.String()); err != nil {
		return err
	}
	return f.Sync()
}

// listed are the sizes of what was archived in a folder, by name; none where there is no list.
func (a *Archiver) listed(dir string) (map[string][]int64, error) {
	f, err := a.disk.Open(filepath.Join(dir, listName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, listLimit))
	if err != nil {
		return nil, err
	}
	return parseList(string(text)), nil
}

// parseList reads a list; lines that are none are left out. A name may have had several sizes.
func parseList(text string) map[string][]int64 {
	out := map[string][]int64{}
	for line := range strings.SplitSeq(text, "\n") {
		size, name, ok := strings.Cut(line, " ")
		n, err := strconv.ParseInt(size, 10, 64)
		if ok && err == nil && n >= 0 && name != "" {
			out[name] = append(out[name], n)
		}
	}
	return out
}
