package logs

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/zeekrec/zeekrec/actuators/broker/zeekbus"
)

// every has a field of each type.
var every = Stream{
	ID: "Every::LOG", Path: "every",
	Fields: []string{"b", "i", "c", "d", "t", "v", "s", "e", "p", "a", "a6", "n", "ss", "vc", "u", "us"},
	Types: []string{"bool", "int", "count", "double", "time", "interval", "string", "enum", "port", "addr", "addr", "subnet",
		"set[string]", "vector[count]", "string", "set[addr]"},
}

var everyLine = []string{"T", "-3", "7", "0.25", "1795255829.344443", "0.010000", "(empty)", "Sample::X", "53", "10.0.0.1", "2001:db8::1", "10.0.0.0/8",
	"a,b", "(empty)", "-", "-"}

func TestLinesGoToALogger(t *testing.T) {
	w, err := every.ToLogWrite([][]string{everyLine, everyLine})
	if err != nil {
		t.Fatal(err)
	}
	payload, err := zeekbus.AppendLogWrite(nil, w)
	if err != nil {
		t.Fatal(err)
	}
	if w, err = zeekbus.ParseLogWrite(payload); err != nil {
		t.Fatal(err)
	}
	if got := w.Records[0][8].Data; got != (zeekbus.Port{Number: 53}) {
		t.Errorf("port: %v", got)
	}
	if got := w.Records[0][11].Data; got != netip.MustParsePrefix("10.0.0.0/8") {
		t.Errorf("subnet: %v", got)
	}
	if got := w.Records[0][14].Data; got != nil {
		t.Errorf("unset: %v", got)
	}
	s, lines, err := FromLogWrite(w)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(every, s); diff != "" {
		t.Errorf("stream, -want +got:\n%s", diff)
	}
	if diff := cmp.Diff([][]string{everyLine, everyLine}, lines); diff != "" {
		t.Errorf("lines, -want +got:\n%s", diff)
	}
}

func TestJSONOfEveryType(t *testing.T) {
	got, err := every.line(everyLine, true)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"b":true,"i":-3,"c":7,"d":0.25,"t":1795255829.344443,"v":0.010000,"s":"","e":"Sample::X","p":53,"a":"10.0.0.1","a6":"2001:db8::1",` +
		`"n":"10.0.0.0/8","ss":["a","b"],"vc":[]}` + "\n"
	if got != want {
		t.Errorf("got %s", got)
	}
}

func TestValuesThatAreNone(t *testing.T) {
	for i, typ := range every.Types {
		if typ == "bool" || typ == "string" || typ == "enum" || typ == "set[string]" {
			continue
		}
		line := append([]string(nil), everyLine...)
		line[i] = "x"
		if _, err := every.ToLogWrite([][]string{line}); err == nil || !strings.Contains(err.Error(), every.Fields[i]) {
			t.Errorf("%s: %v", typ, err)
		}
	}
	if _, err := every.ToLogWrite([][]string{{"T"}}); err == nil {
		t.Error("a line that is too short")
	}
}

// No string ends a field or a line, or looks like what stands for none.
func TestStringsStayInTheirField(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", "-", "(empty)", "a\tb\nc", "a,b"})).Draw(t, "text")
		w := zeekbus.LogWrite{Path: "x", Fields: []zeekbus.LogField{{Name: "s", Type: zeekbus.TypeString}, {Name: "ss", Type: zeekbus.TypeSet, Subtype: zeekbus.TypeString}},
			Records: [][]zeekbus.LogValue{{{Type: zeekbus.TypeString, Data: text},
				{Type: zeekbus.TypeSet, Subtype: zeekbus.TypeString, Data: []zeekbus.LogValue{{Type: zeekbus.TypeString, Data: text}, {Type: zeekbus.TypeString, Data: "z"}}}}}}
		s, lines, err := FromLogWrite(w)
		if err != nil {
			t.Fatal(err)
		}
		line, err := s.line(lines[0], false)
		if err != nil {
			t.Fatal(err)
		}
		fields := strings.Split(line, "\t")
		if strings.Count(line, "\n") != 1 || len(fields) != 2 || len(elements(strings.TrimSuffix(fields[1], "\n"))) != 2 {
			t.Fatalf("%q", line)
		}
		if (fields[0] == Empty) != (text == "") || fields[0] == Unset {
			t.Fatalf("%q became %q", text, fields[0])
		}
	})
}

func TestLineThatDoesNotFit(t *testing.T) {
	s := &Set{Dir: t.TempDir()}
	if err := s.Write(ten, Cluster, "1.0", "a", "b"); err != nil {
		t.Fatal(err)
	}
	other := Stream{ID: "Cluster::LOG", Path: "cluster", Fields: []string{"ts"}, Types: []string{"time"}}
	err := s.Write(ten, other, "1.0")
	refused, ok := errors.AsType[*FieldsError](err)
	if !ok || refused.Error() != "Remote write failed: Local filter 'default' of stream 'Cluster::LOG' has '3' fields, got 1" {
		t.Errorf("error %v", err)
	}
}
