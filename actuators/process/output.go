package process

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// RotateOutput bounds an output file that a process goes on appending to: once larger than limit, it is
// copied to path.1 and truncated; path.1 becomes path.2 and so on, up to keep of them. Of a file that
// has outgrown the limit by far, only the end is kept. It reports whether it rotated.
//
// The file cannot be renamed away, because the process would follow it. What is written between the last
// read and the truncation is lost; that is microseconds.
func RotateOutput(path string, limit int64, keep int) (bool, error) {
	in, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("cannot rotate output: %w", err)
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return false, fmt.Errorf("cannot rotate output: %w", err)
	}
	if info.Size() <= limit || !info.Mode().IsRegular() {
		return false, nil
	}
	old := func(n int) string { return fmt.Sprintf("%s.%d", path, n) }
	for n := keep - 1; n >= 1; n-- {
		if err := os.Rename(old(n), old(n+1)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return false, fmt.Errorf("cannot rotate output: %w", err)
		}
	}
	if err := copyEnd(in, info, old(1), 2*limit); err != nil {
		return false, fmt.Errorf("cannot rotate output: %w", err)
	}
	if err := in.Truncate(0); err != nil {
		return false, fmt.Errorf("cannot rotate output: %w", err)
	}
	return true, nil
}

// copyEnd copies the last most bytes of in, and what is appended meanwhile, to the new file to.
func copyEnd(in *os.File, info os.FileInfo, to string, most int64) (err error) {
	out, err := os.OpenFile(to+".tmp", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, info.Mode().Perm())
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = out.Close()
			_ = os.Remove(out.Name())
		}
	}()
	if skip := info.Size() - most; skip > 0 {
		if _, err := fmt.Fprintf(out, "# zeekrec: %d bytes dropped here\n", skip); err != nil {
			return err
		}
		if _, err := in.Seek(skip, io.SeekStart); err != nil {
			return err
		}
	}
	// Bounded, should the process write faster than this copies.
	if _, err := io.Copy(out, io.LimitReader(in, 2*most)); err != nil {
		return err
	}
	if err := out.Close(); err != nil {
		return err
	}
	return os.Rename(out.Name(), to)
}

// AppendLine adds a line of zeekrec's own to an output file, in one write.
func AppendLine(path, line string) error {
	f, err := appendTo(path)
	if err != nil {
		return err
	}
	_, werr := f.WriteString(line + "\n")
	if err := errors.Join(werr, f.Close()); err != nil {
		return fmt.Errorf("cannot write to output file: %w", err)
	}
	return nil
}
