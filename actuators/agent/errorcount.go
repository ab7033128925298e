package agent

import (
	"bytes"
	"io"
	"os"
	"strings"
)

// errorsAtOnce bounds what is read of stderr at a time; of more, the end.
const errorsAtOnce = 256 << 10

// latelyWidth is how many bytes of a line are shown.
const latelyWidth = 120

// reporterIn returns what a line says of an error, or of another word of Zeek's Reporter, in the forms in which that tells stderr:
// "error in FILE, line 8: …", "1795259608.941967 expression error in …" (the time is there once packets have come), "fatal error: …". Empty: it
// does not.
func reporterIn(line, word string) string {
	if at, rest, ok := strings.Cut(line, " "); ok && strings.Trim(at, "0123456789.") == "" {
		line = rest
	}
	kind, _, ok := strings.Cut(line, word)
	switch kind {
	case "", "fatal ", "internal ", "expression ", "runtime ", "analyzer ":
	default:
		return ""
	}
	if rest := strings.TrimPrefix(line, kind+word); ok && (strings.HasPrefix(rest, " in ") || strings.HasPrefix(rest, ":")) {
		return line
	}
	return ""
}

func errorIn(line string) string { return reporterIn(line, "error") }

// errorCount counts the errors on a process's stderr, for where its telemetry does not.
type errorCount struct {
	began  bool
	offset int64
	n      uint64
}

// look counts what was added since, and returns how many errors there were since the first look; what was there before is not
// counted.
func (c *errorCount) look(path string) uint64 {
	f, err := os.Open(path)
	if err != nil {
		return c.n
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return c.n
	}
	size := info.Size()
	if !c.began {
		c.began, c.offset = true, size
		return c.n
	}
	if size < c.offset {
		c.offset = 0 // it was rotated
	}
	from := max(c.offset, size-errorsAtOnce)
	b, err := io.ReadAll(io.NewSectionReader(f, from, size-from))
	if err != nil {
		return c.n
	}
	if i := bytes.IndexByte(b, '\n'); from > c.offset && i >= 0 {
		from, b = from+int64(i)+1, b[i+1:] // the first line was cut
	}
	whole := bytes.LastIndexByte(b, '\n') + 1 // the last one may still be written
	for line := range bytes.Lines(b[:whole]) {
		if errorIn(string(line)) != "" {
			c.n++
		}
	}
	c.offset = from + int64(whole)
	return c.n
}

// lastReported is the last error among lines, without its time, and not too long; empty for none.
func lastReported(lines []string) string {
	for i := len(lines) - 1; i >= 0; i-- {
		text := errorIn(lines[i])
		if text == "" {
			continue
		}
		if len(text) > latelyWidth {
			text = strings.ToValidUTF8(text[:latelyWidth], "") + "…"
		}
		return text
	}
	return ""
}
