package mgmt

import (
	"bufio"
	"encoding/json"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/zeekrec/zeekrec/desired"
)

// examples are requests and answers of the framework, each of which zeek-client's own decoder reads.
func examples(t testing.TB) []string {
	t.Helper()
	f, err := os.Open("testdata/examples.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out []string
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		out = append(out, s.Text())
	}
	if len(out) < 15 || s.Err() != nil {
		t.Fatalf("%d examples, %v", len(out), s.Err())
	}
	return out
}

// TestExamples: what is read and written again is what it was.
func TestExamples(t *testing.T) {
	for _, line := range examples(t) {
		e, err := ParseEvent([]byte(line))
		if err != nil {
			t.Errorf("%v\n%s", err, line)
			continue
		}
		b, err := e.Message()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(anything(t, line), anything(t, string(b))); diff != "" {
			t.Errorf("%s (-read, +written):\n%s", e.Name, diff)
		}
	}
}

func anything(t testing.TB, s string) any {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(s), &v); err != nil {
		t.Fatalf("%v\n%s", err, s)
	}
	return v
}

// TestRecords: the records of all examples are understood, and written as they were.
func TestRecords(t *testing.T) {
	results, configurations := 0, 0
	for _, line := range examples(t) {
		e, err := ParseEvent([]byte(line))
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(e.Name, apiPrefix)
		switch {
		case name == "stage_configuration_request":
			configurations++
			c, err := configurationOf(e.Args[1])
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(e.Args[1], c.Value(), cmp.Comparer(func(a, b Address) bool { return a == b })); diff != "" {
				t.Errorf("the configuration (-read, +written):\n%s", diff)
			}
		case strings.HasSuffix(name, "_response"):
			var rs []Result
			if r, err := resultOf(e.Args[1]); err == nil {
				rs = []Result{r}
			} else if rs, err = resultsOf(e.Args[1]); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			results += len(rs)
		}
	}
	if results < 12 || configurations != 1 {
		t.Errorf("%d results and %d configurations were tried", results, configurations)
	}
}

func TestBadValues(t *testing.T) {
	for text, want := range map[string]string{
		`{}`:                                       "is missing",
		`{"@data-type":"string"}`:                  "is missing",
		`{"@data-type":"count","data":-1}`:         "not a count",
		`{"@data-type":"boolean","data":null}`:     "not a boolean",
		`{"@data-type":"port","data":"1"}`:         "not a port",
		`{"@data-type":"port","data":"70000/tcp"}`: "not a port",
		`{"@data-type":"address","data":"host"}`:   "not an address",
		`{"@data-type":"vector","data":{}}`:        "not a vector",
		`{"@data-type":"table","data":[{}]}`:       "not a value",
		`{"@data-type":"thing","data":"1"}`:        "no data type",
		`[1,2]`:                                    "not a value",
		strings.Repeat(`{"@data-type":"vector","data":[`, 20) + strings.Repeat(`]}`, 20): "nested deeper",
	} {
		if _, err := ParseValue([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: %v, want %q", text, err, want)
		}
	}
	if v, err := ParseValue([]byte(`{"@data-type":"none","data":null}`)); err != nil || v != (None{}) {
		t.Errorf("none with null: %v, %v", v, err)
	}
}

// TestValuesRoundTrip: every value is read as it was written.
func TestValuesRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := anyValue(3).Draw(t, "value")
		b, err := Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseValue(b)
		if err != nil {
			t.Fatalf("%v\n%s", err, b)
		}
		again, err := Marshal(got)
		if err != nil || string(again) != string(b) {
			t.Fatalf("%s became %s, %v", b, again, err)
		}
	})
}

func anyValue(depth int) *rapid.Generator[Value] {
	text := rapid.StringMatching(`[a-zA-Z0-9 :/"\\é%=\[\]-]{0,8}`)
	as := func(f func(t *rapid.T) Value) *rapid.Generator[Value] { return rapid.Custom(f) }
	choices := []*rapid.Generator[Value]{
		rapid.Just(Value(None{})),
		as(func(t *rapid.T) Value { return Bool(rapid.Bool().Draw(t, "b")) }),
		as(func(t *rapid.T) Value { return Count(rapid.Uint64().Draw(t, "c")) }),
		as(func(t *rapid.T) Value { return Integer(rapid.Int64().Draw(t, "i")) }),
		as(func(t *rapid.T) Value { return String(text.Draw(t, "s")) }),
		as(func(t *rapid.T) Value { return Enum(text.Draw(t, "e")) }),
		as(func(t *rapid.T) Value { return Port{rapid.IntRange(0, 65535).Draw(t, "p"), "tcp"} }),
		as(func(t *rapid.T) Value {
			return Address(netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "a"))))
		}),
	}
	if depth > 0 {
		inner := anyValue(depth - 1)
		choices = append(choices,
			as(func(t *rapid.T) Value { return Vector(rapid.SliceOfN(inner, 0, 4).Draw(t, "v")) }),
			as(func(t *rapid.T) Value { return Set(rapid.SliceOfN(inner, 0, 4).Draw(t, "v")) }),
			as(func(t *rapid.T) Value {
				var out Table
				for range rapid.IntRange(0, 3).Draw(t, "n") {
					out = append(out, Entry{inner.Draw(t, "k"), inner.Draw(t, "v")})
				}
				return out
			}))
	}
	return rapid.OneOf(choices...)
}

// FuzzMessage: no message makes the reader panic, and what it takes for an event it writes as one.
func FuzzMessage(f *testing.F) {
	for _, line := range examples(f) {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = parseHandshake(b)
		e, err := ParseEvent(b)
		if err != nil {
			return
		}
		m, err := e.Message()
		if err != nil {
			return // a real number that JSON does not have
		}
		if _, err := ParseEvent(m); err != nil {
			t.Fatalf("%v\n%s", err, m)
		}
		if len(e.Args) > 1 {
			if c, err := configurationOf(e.Args[1]); err == nil {
				_ = c.Value()
				_ = c.cluster("x")
			}
			_, _ = resultsOf(e.Args[1])
			_, _ = nodeStatusOf(e.Args[1])
		}
	})
}

func TestNodeHasElevenFields(t *testing.T) {
	v := nodeValue(&desired.Node{Name: "n", Role: desired.RoleWorker})
	if got := len(v.(Vector)); got != 11 {
		t.Errorf("%d fields, and zeek-client counts on 11", got)
	}
	if got := len(refusal("no").Value("r").(Vector)); got != 6 {
		t.Errorf("%d fields of a result, and zeek-client counts on 6", got)
	}
	if got := len(NodeStatus{}.Value().(Vector)); got != 7 {
		t.Errorf("%d fields of a status, and zeek-client counts on 7", got)
	}
}
