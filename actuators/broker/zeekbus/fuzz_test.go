package zeekbus

import (
	"bytes"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzBin: whatever the bytes, reading ends; what could be read is written again with the same bytes, and in
// the other format says the same.
func FuzzBin(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := ParseBin(b)
		if err != nil {
			checkFormatError(t, err, b)
			return
		}
		again, err := AppendBin(nil, v)
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%v: %v\nread    %x\nwritten %x", v, err, b, again)
		}
		j, err := AppendJSON(nil, v)
		if err != nil {
			if !infinite(v) {
				t.Fatalf("%v: %v", v, err)
			}
			return
		}
		other, err := ParseJSON(j)
		if err != nil || !cmp.Equal(v, other, compareValues) {
			t.Fatalf("%v became %v by %q: %v", v, other, j, err)
		}
		_, _ = ParseEvent(FormatBin, b)
	})
}

// FuzzJSON: whatever the bytes, reading ends; what could be read is the same once written and read again, in
// both formats.
func FuzzJSON(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := ParseJSON(b)
		if err != nil {
			checkFormatError(t, err, b)
			return
		}
		for format, f := range formats {
			again, err := f.append(nil, v)
			if err != nil {
				// What is infinite Zeek writes, but does not read.
				if format == FormatJSON && infinite(v) {
					continue
				}
				t.Fatalf("%v in %s: %v", v, format, err)
			}
			other, err := f.parse(again)
			if err != nil || !cmp.Equal(v, other, compareValues) {
				t.Fatalf("%v became %v by %q: %v", v, other, again, err)
			}
		}
		_, _ = ParseEvent(FormatJSON, b)
	})
}

// FuzzLogWrite: whatever the bytes, reading ends; what could be read is written again with the same bytes.
func FuzzLogWrite(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		w, err := ParseLogWrite(b)
		if err != nil {
			checkFormatError(t, err, b)
			return
		}
		again, err := AppendLogWrite(nil, w)
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%+v: %v\nread    %x\nwritten %x", w, err, b, again)
		}
	})
}

// FuzzNodeID: an id that could be taken apart is that of its parts, and is taken apart to the same with the
// name that was found; so it is with topics.
func FuzzNodeID(f *testing.F) {
	f.Fuzz(func(t *testing.T, id, name string) {
		n, err := ParseNodeID(id, name)
		if err != nil {
			if n != (NodeID{}) {
				t.Fatalf("%q of %q: %+v beside %v", id, name, n, err)
			}
		} else {
			if n.String() != id || name != "" && n.Name != name || n.Name == "" || n.Host == "" || n.PID < 1 || n.Unique == "" {
				t.Fatalf("%q of %q: %+v", id, name, n)
			}
			if again, err := ParseNodeID(id, n.Name); err != nil || again != n {
				t.Fatalf("%q of %q: %+v, then %+v, %v", id, name, n, again, err)
			}
		}
		if class, rest := Classify([]byte(NodeIDTopic(id))); class != ClassNodeID || string(rest) != id {
			t.Fatalf("%q: %s %q", id, class, rest)
		}
		class, rest := Classify([]byte(id))
		if class >= NumClasses || rest != nil && (len(rest) == 0 || !strings.Contains(id, string(rest))) {
			t.Fatalf("%q: %s %q", id, class, rest)
		}
	})
}

func checkFormatError(t *testing.T, err error, b []byte) {
	t.Helper()
	var f *FormatError
	if !errors.As(err, &f) || f.Offset < 0 || f.Offset > len(b) || len(f.Error()) > 600 || strings.ContainsAny(f.Error(), "\n\x00") {
		t.Fatalf("of %d bytes: %#v", len(b), err)
	}
}

func infinite(v Value) bool {
	switch v := v.(type) {
	case Real:
		return math.IsInf(float64(v), 0)
	case Vector:
		return slices.ContainsFunc(v, infinite)
	case Set:
		return slices.ContainsFunc(v, infinite)
	case Table:
		for _, e := range v {
			if infinite(e.Key) || infinite(e.Value) {
				return true
			}
		}
	}
	return false
}

// TestSeeds makes sure that the seeds are there, and writes them with -update: what a real Zeek said, and
// what is hard to read.
func TestSeeds(t *testing.T) {
	seeds := map[string]string{}
	add := func(target, name string, args ...string) {
		s := "go test fuzz v1\n"
		for _, a := range args {
			s += a + "\n"
		}
		seeds[filepath.Join("testdata/fuzz", target, name)] = s
	}
	quote := func(b []byte) string { return "[]byte(" + strconv.Quote(string(b)) + ")" }
	n := 0
	captured(t, func(file, socket string, frames [][]byte) {
		n++
		name := strings.TrimSuffix(file, ".txt") + "-" + strconv.Itoa(n)
		switch {
		case socket == "pull":
			add("FuzzLogWrite", name, quote(frames[3]))
		case socket == "xsub" && strings.Contains(file, "bin"):
			add("FuzzBin", name, quote(frames[3]))
		case socket == "xsub":
			add("FuzzJSON", name, quote(frames[3]))
		}
	})
	for i, tt := range goldenEvents {
		add("FuzzBin", "event-"+strconv.Itoa(i), quote(unhex(t, tt.hex)))
	}
	for i, tt := range goldenValues {
		if tt.json != "" {
			add("FuzzBin", "value-"+strconv.Itoa(i), quote(unhex(t, tt.hex)))
			add("FuzzJSON", "value-"+strconv.Itoa(i), quote([]byte(tt.json)))
		}
	}
	add("FuzzJSON", "type-last", quote([]byte(`{"data":[{"data":5,"@data-type":"count"},{"data":{},"@data-type":"none"}],"@data-type":"vector"}`)))
	add("FuzzJSON", "escapes", quote([]byte(`{"@data-type":"string","data":"\u00e9\ud83d\ude00\u0000\v\/"}`)))
	add("FuzzJSON", "reals", quote([]byte(`{"@data-type":"vector","data":[{"@data-type":"real","data":-inf},{"@data-type":"real","data":1.5E+3}]}`)))
	add("FuzzBin", "long", quote([]byte("\x0e\x80\x80\x80\x80\x08")))
	add("FuzzBin", "infinite", quote(unhex(t, "0e02 04fff0000000000000 047ff0000000000000")))
	add("FuzzLogWrite", "conn", quote(unhex(t, connHex)))
	for i, tt := range nodeIDTests {
		add("FuzzNodeID", "id-"+strconv.Itoa(i), "string("+strconv.Quote(tt.id)+")", "string("+strconv.Quote(tt.name)+")")
	}
	for i, tt := range topicTests {
		add("FuzzNodeID", "topic-"+strconv.Itoa(i), "string("+strconv.Quote(tt.topic)+")", `string("")`)
	}
	for path, want := range seeds {
		if *update {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("%s is not what it should be, run with -update: %v", path, err)
		}
	}
}
