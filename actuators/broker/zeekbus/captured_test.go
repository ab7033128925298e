package zeekbus

import (
	"fmt"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// compareValues lets cmp look into addresses, and take what is no number for equal.
var compareValues = cmp.Options{cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}),
	cmp.Comparer(func(x, y Real) bool { return x == y || math.IsNaN(float64(x)) && math.IsNaN(float64(y)) })}

// captured calls each with the messages that a real Zeek sent to the broker or to a logger.
func captured(t testing.TB, each func(file, socket string, frames [][]byte)) {
	t.Helper()
	files, err := filepath.Glob("testdata/zeek-*.txt")
	if err != nil || len(files) != 4 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for l := range strings.Lines(string(b)) {
			if !strings.HasPrefix(l, "#") {
				socket, frames := frames(t, l)
				each(filepath.Base(file), socket, frames)
			}
		}
	}
}

// TestCaptured reads what a real Zeek wrote, and writes it again.
func TestCaptured(t *testing.T) {
	events, logs, metadata := 0, 0, 0
	captured(t, func(file, socket string, frames [][]byte) {
		switch socket {
		case "xsub":
			_, e := checkEvent(t, frames)
			events++
			if has := e.Meta != nil; has != strings.Contains(file, "metadata") {
				t.Errorf("%s: %s has metadata %v", file, e.Name, e.Meta)
			}
			if e.Meta != nil {
				metadata++
				if _, ok := e.Meta[0].Value.(Timestamp); len(e.Meta) != 1 || e.Meta[0].ID != NetworkTimestamp || !ok {
					t.Errorf("%s: %s has metadata %v", file, e.Name, e.Meta)
				}
			}
			want, ok := saidScalars[e.Name]
			if !ok {
				return
			}
			if strings.Contains(file, "json") && e.Name == "Sample::scalars" {
				// Zeek cuts moments at milliseconds there, and its double is a little less than the literal.
				want = append([]Value{}, want...)
				want[5] = Timestamp(1700000000122000000)
			}
			if d := cmp.Diff(want, e.Args, compareValues); d != "" {
				t.Errorf("%s: %s (-want +got):\n%s", file, e.Name, d)
			}
		case "pull":
			w := checkLogWrite(t, frames)
			logs++
			if w.Path == "sample" {
				checkSampleLog(t, w)
			}
		}
	})
	if events != 4*15 || logs != 4*2 || metadata != 2*15 {
		t.Errorf("%d events, %d log writes, %d metadata", events, logs, metadata)
	}
}

func address(s string) Address { return Address{netip.MustParseAddr(s)} }
func subnet(s string) Subnet   { return Subnet{netip.MustParsePrefix(s)} }

// saidScalars are arguments of events in testdata/sample.zeek.
var saidScalars = map[string][]Value{
	"Sample::scalars": {Boolean(true), Count(1<<64 - 1), Integer(-5), Real(0.1), String("hello"), Timestamp(1700000000122999808), Timespan(90e9), Enum("Sample::GREEN")},
	"Sample::net":     {address("1.2.3.4"), address("2001:db8::1"), subnet("10.0.0.0/8"), subnet("2001:db8::/32"), Port{80, TCP}, Port{53, UDP}, Port{8, ICMP}, Port{7, UnknownProtocol}},
	"Sample::boxes": {Set{Count(1), Count(2), Count(3)}, Set{Vector{String("a"), Port{53, UDP}}, Vector{String("b"), Port{80, TCP}}},
		Table{{String("a"), Count(2)}, {String("x"), Count(1)}},
		Table{{Vector{address("::1"), Count(2)}, Vector{Count(2), None{}, Vector{}}}, {Vector{address("1.2.3.4"), Count(1)}, Vector{Count(1), String("x"), Vector{}}}},
		Vector{String("b"), String("a")}, Vector{Set{subnet("10.0.0.0/8")}, Set{subnet("::/0"), subnet("0.0.0.0/0")}},
		Vector{Count(7), None{}, Vector{address("1.1.1.1")}}, Set{}, Table{}, Vector{}},
	"Sample::none": {},
}

func checkSampleLog(t *testing.T, w LogWrite) {
	t.Helper()
	if w.Stream != "Sample::LOG" || w.Writer != "Log::WRITER_ASCII" || w.Filter != "default" || len(w.Fields) != 22 {
		t.Errorf("%+v", w)
	}
	if f := w.Fields[18]; f.Name != "o" || !f.Optional || f.Type != TypeString || f.Subtype != TypeVoid && f.Subtype != TypeError || f.Secondary != nil {
		t.Errorf("field %+v", f)
	}
	if f := w.Fields[14]; f.Name != "ss" || f.Optional || f.Type != TypeSet || f.Subtype != TypeString {
		t.Errorf("field %+v", f)
	}
	var got []any
	for _, v := range w.Records[0][:14] {
		got = append(got, v.Data)
	}
	want := []any{1700000000.123456, true, int64(-5), uint64(1<<64 - 1), 0.1, 90.0, "a\x00b\xff", "Sample::RED", Port{80, TCP}, Port{7, UnknownProtocol},
		netip.MustParseAddr("1.2.3.4"), netip.MustParseAddr("2001:db8::1"), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")}
	if d := cmp.Diff(want, got, compareValues); d != "" {
		t.Errorf("record 0 (-want +got):\n%s", d)
	}
	list := func(v LogValue) string {
		s := fmt.Sprint(v.Type)
		for _, e := range v.Data.([]LogValue) {
			s += fmt.Sprintf(" %d:%v", e.Type, e.Data)
		}
		return s
	}
	if got := list(w.Records[0][15]) + list(w.Records[0][17]) + list(w.Records[1][14]) + list(w.Records[1][20]); got != "19 3:1 3:2 3:31414 7:19 7:x" {
		t.Errorf("lists %q", got)
	}
	if w.Records[0][18].Data != nil || w.Records[1][18].Data != "set" || w.Records[0][20].Type != TypeVector || w.Records[0][20].Data != nil {
		t.Errorf("unset values %+v", w.Records)
	}
}
