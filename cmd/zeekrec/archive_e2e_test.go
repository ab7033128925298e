package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestE2EArchive: what a real Zeek logs is archived while settings change, a logger is killed, and the cluster is stopped: of
// [zeekrec.archive] only the interval touches the loggers, and nothing else; in the end every line is in the archive once.
func TestE2EArchive(t *testing.T) {
	if os.Getenv("ZEEKREC_E2E") == "" {
		t.Skip("takes a minute: make e2e")
	}
	w := newWorks(t)
	archive := func(lines string) string {
		w.sections["zeekrec.archive"] = "interval = 3s\ndir = " + w.path("archive") + "\n" + lines
		return w.String()
	}
	archive("")
	w.begin()
	w.archived(".log.gz")

	for _, c := range []struct{ name, lines, seen string }{
		{"another compression, and what is kept", "compress = zstd\nkeep = 30d\nmin_free = 1%\n", ".log.zst"},
		{"no compression, bounds", "compress = none\nparallel = 1\nrate = 100M\n", ".log"},
		{"another folder", "dir = " + w.path("archive", "other") + "\n", ".log.gz"},
	} {
		text := archive(c.lines)
		if strings.Contains(c.lines, "dir = ") {
			text = strings.Replace(text, "dir = "+w.path("archive")+"\n", "", 1)
			w.sections["zeekrec.archive"] = "interval = 3s\n" + c.lines
		}
		w.change(c.name, "", text)
		w.archived(c.seen)
	}
	w.sections["zeekrec.archive"] = "interval = 4s\ndir = " + w.path("archive") + "\n"
	w.change("another interval", "logger-1", w.String())
	w.archived(".log.gz")
	w.asOne(time.Now())
	if ls := w.complaints(); len(ls) > 0 {
		t.Errorf("%q", ls)
	}
	w.end()
	if left, _ := filepath.Glob(w.path("state", "clusters", "dmz", "queue", "*.log")); len(left) > 0 {
		t.Errorf("the queue has %q", left)
	}
	if left, _ := filepath.Glob(w.path("state", "clusters", "dmz", "nodes", "logger-*", "work", "*.log")); len(left) > 0 {
		t.Errorf("loggers have left %q", left)
	}
	w.everyLineOnce()
}

// archived waits until a log that is rotated from now on is in the archive, under a name with this ending.
func (w *works) archived(ending string) {
	w.t.Helper()
	since := time.Now()
	w.eventually("a log is archived as "+ending, waitLong, func() error {
		found := 0
		for _, f := range w.archives() {
			name := filepath.Base(f)
			if i, err := os.Stat(f); strings.HasPrefix(name, "works.") && name[strings.Index(name, ".log"):] == ending && err == nil && i.ModTime().After(since) {
				found++
			}
		}
		if found == 0 {
			return fmt.Errorf("none of %d", len(w.archives()))
		}
		return nil
	})
}

// archives are the files of what is archived.
func (w *works) archives() (files []string) {
	_ = filepath.WalkDir(w.path("archive"), func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !strings.HasPrefix(d.Name(), ".") {
			files = append(files, p)
		}
		return nil // there may be none yet
	})
	return files
}
