//go:build linux

package process

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRotateOutput(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stderr")
	if did, err := RotateOutput(path, 100, 3); did || err != nil {
		t.Fatalf("a file that is not there: %t, %v", did, err)
	}
	// As a process has it open.
	out, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	for _, c := range []string{"a", "b", "c", "d", "e"} {
		if _, err := out.WriteString(strings.Repeat(c, 101)); err != nil {
			t.Fatal(err)
		}
		if did, err := RotateOutput(path, 100, 3); !did || err != nil {
			t.Fatalf("%s: %t, %v", c, did, err)
		}
		if did, err := RotateOutput(path, 100, 3); did || err != nil {
			t.Fatalf("%s, again: %t, %v", c, did, err)
		}
	}
	for name, want := range map[string]string{path: "", path + ".1": "e", path + ".2": "d", path + ".3": "c"} {
		b, err := os.ReadFile(name)
		if err != nil || string(b) != strings.Repeat(want, 101*min(1, len(want))) {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	left, _ := filepath.Glob(path + "*")
	if len(left) != 4 {
		t.Errorf("files %q", left)
	}
	// What goes on writing does so at the beginning.
	if _, err := out.WriteString("more"); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(path); string(b) != "more" {
		t.Errorf("after rotation %q", b)
	}
}

func TestRotateOutputKeepsTheEndOfAHugeFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stderr")
	if err := os.WriteFile(path, append(bytes.Repeat([]byte{'x'}, 1000), "the end"...), 0o640); err != nil {
		t.Fatal(err)
	}
	if did, err := RotateOutput(path, 100, 3); !did || err != nil {
		t.Fatal(did, err)
	}
	b, err := os.ReadFile(path + ".1")
	if err != nil || len(b) > 300 || !bytes.HasSuffix(b, []byte("the end")) || !bytes.HasPrefix(b, []byte("# zeekrec: 807 bytes dropped here\n")) {
		t.Errorf("%d bytes, %v: %.60q", len(b), err, b)
	}
}

func TestAppendLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stderr")
	for _, l := range []string{"one", "two"} {
		if err := AppendLine(path, l); err != nil {
			t.Fatal(err)
		}
	}
	if b, _ := os.ReadFile(path); string(b) != "one\ntwo\n" {
		t.Errorf("%q", b)
	}
	if err := AppendLine(filepath.Dir(path), "x"); err == nil {
		t.Error("no error for a folder")
	}
}
