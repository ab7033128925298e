package zeekbus

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math"
	"net/netip"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// unhex reads hex with blanks, and texts between quotes.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	var b []byte
	for i, part := range strings.Split(s, `"`) {
		if i%2 == 1 {
			b = append(b, part...)
			continue
		}
		h, err := hex.DecodeString(strings.Join(strings.Fields(part), ""))
		if err != nil {
			t.Fatal(err)
		}
		b = append(b, h...)
	}
	return b
}

const head = "0e03 02 0000000000000001 02 0000000000000001 "

// goldenEvents are events byte by byte.
var goldenEvents = []struct {
	name  string
	event Event
	hex   string
	size  int
}{
	{"id_value_request", Request{"worker-1", AskIDValue, "Cluster::node"}.Event(),
		head + `0e02 05 19 "Control::id_value_request" 0e01 05 0d "Cluster::node"`, 66},
	{"net_stats_request", Request{"worker-1", AskNetStats, ""}.Event(), head + `0e02 05 1a "Control::net_stats_request" 0e00`, 52},
	{"peer_status_request", Request{Node: "worker-1", Kind: AskPeerStatus}.Event(), head + `0e02 05 1c "Control::peer_status_request" 0e00`, 54},
	{"hello", Hello{"w", "zeromq_w_h_1_N"}.ClusterEvent(), head + `0e02 05 0e "Cluster::hello" 0e02 05 01 "w" 05 0e "zeromq_w_h_1_N"`, 59},
	{"metadata", Event{Name: "x", Meta: []Meta{{NetworkTimestamp, Timestamp(1)}, {200, Enum("E")}}},
		head + `0e03 05 01 "x" 0e00 0e02 0e02 02 0000000000000001 09 0000000000000001 0e02 02 00000000000000c8 0b 01 "E"`, 63},
	{"no metadata", Event{Name: "x", Meta: []Meta{}}, head + `0e03 05 01 "x" 0e00 0e00`, 29},
}

func TestGoldenEvents(t *testing.T) {
	for _, tt := range goldenEvents {
		t.Run(tt.name, func(t *testing.T) {
			want := unhex(t, tt.hex)
			got, err := AppendEvent([]byte("before"), FormatBin, tt.event)
			if err != nil || !bytes.Equal(got, append([]byte("before"), want...)) {
				t.Errorf("%v\ngot  %x\nwant %x", err, got, want)
			}
			if len(want) != tt.size {
				t.Errorf("%d bytes, not %d", len(want), tt.size)
			}
			for _, format := range []Format{FormatBin, FormatJSON} {
				b, err := AppendEvent(nil, format, tt.event)
				if err != nil {
					t.Fatal(err)
				}
				e, err := ParseEvent(format, b)
				if err != nil {
					t.Fatal(err)
				}
				want := tt.event
				if want.Args == nil {
					want.Args = []Value{}
				}
				if d := cmp.Diff(want, e); d != "" {
					t.Errorf("%s (-want +got):\n%s", format, d)
				}
			}
		})
	}
}

// goldenValues are values in both formats.
var goldenValues = []struct {
	value     Value
	hex, json string
}{
	{None{}, "00", `{"@data-type":"none","data":{}}`},
	{Boolean(true), "0101", `{"@data-type":"boolean","data":true}`},
	{Boolean(false), "0100", `{"@data-type":"boolean","data":false}`},
	{Count(math.MaxUint64), "02 ffffffffffffffff", `{"@data-type":"count","data":18446744073709551615}`},
	{Integer(-2), "03 fffffffffffffffe", `{"@data-type":"integer","data":-2}`},
	{Real(1), "04 3ff0000000000000", `{"@data-type":"real","data":1.000000}`},
	{Real(1e-9), "04 3e112e0be826d695", `{"@data-type":"real","data":1e-09}`},
	{Real(0.1234567), "04 3fbf9adbb8f8da72", `{"@data-type":"real","data":1.234567e-01}`},
	{Real(-2.5e300), "04 fe4ddd4baa009303", `{"@data-type":"real","data":-2.5e+300}`},
	{Real(math.NaN()), "04 ffffffffffffffff", `{"@data-type":"real","data":nan}`},
	{String(""), "0500", `{"@data-type":"string","data":""}`},
	{String("a\"\\/\b\f\n\r\t\v\x00\x01\xff"), `0512 61225c2f080c0a0d090b0001ff`, ``},
	{String(strings.Repeat("x", 300)), `05 ac02 "` + strings.Repeat("x", 300) + `"`, `{"@data-type":"string","data":"` + strings.Repeat("x", 300) + `"}`},
	{address("1.2.3.4"), "06 00000000000000000000ffff01020304", `{"@data-type":"address","data":"1.2.3.4"}`},
	{address("2001:db8::1"), "06 20010db8000000000000000000000001", `{"@data-type":"address","data":"2001:db8::1"}`},
	{subnet("10.0.0.0/8"), "07 00000000000000000000ffff0a000000 68", `{"@data-type":"subnet","data":"10.0.0.0/8"}`},
	{subnet("::/0"), "07 00000000000000000000000000000000 00", `{"@data-type":"subnet","data":"::/0"}`},
	{Port{443, TCP}, "08 01bb 01", `{"@data-type":"port","data":"443/tcp"}`},
	{Port{0, UnknownProtocol}, "08 0000 00", `{"@data-type":"port","data":"0/?"}`},
	{Timestamp(1e9), "09 000000003b9aca00", `{"@data-type":"timestamp","data":"1970-01-01T00:00:01.000"}`},
	{Timestamp(-1), "09 ffffffffffffffff", `{"@data-type":"timestamp","data":"1969-12-31T23:59:59.999999999"}`},
	{Timestamp(math.MinInt64), "09 8000000000000000", `{"@data-type":"timestamp","data":"1677-09-21T00:12:43.145224192"}`},
	{Timespan(1500), "0a 00000000000005dc", `{"@data-type":"timespan","data":"1500ns"}`},
	{Timespan(math.MinInt64), "0a 8000000000000000", `{"@data-type":"timespan","data":"-9223372036854775808ns"}`},
	{Timespan(7200e9), "0a 0000068c61714000", `{"@data-type":"timespan","data":"7200s"}`},
	{Timespan(0), "0a 0000000000000000", `{"@data-type":"timespan","data":"0s"}`},
	{Enum("A::B"), `0b04 "A::B"`, `{"@data-type":"enum-value","data":"A::B"}`},
	{Set{Boolean(true), None{}}, "0c02 0101 00", `{"@data-type":"set","data":[{"@data-type":"boolean","data":true},{"@data-type":"none","data":{}}]}`},
	{Table{{None{}, Boolean(true)}}, "0d01 00 0101", `{"@data-type":"table","data":[{"key":{"@data-type":"none","data":{}},"value":{"@data-type":"boolean","data":true}}]}`},
	{Vector{Vector{}, Set{}, Table{}}, "0e03 0e00 0c00 0d00", `{"@data-type":"vector","data":[{"@data-type":"vector","data":[]},{"@data-type":"set","data":[]},{"@data-type":"table","data":[]}]}`},
}

func TestGoldenValues(t *testing.T) {
	for _, tt := range goldenValues {
		if s, ok := tt.value.(String); ok && tt.json == "" {
			tt.hex, tt.json = "05 0d"+hex.EncodeToString([]byte(s)), `{"@data-type":"string","data":"a\"\\/\b\f\n\r\t\v\u0000`+"\x01\xff"+`"}`
		}
		want := unhex(t, tt.hex)
		if b, err := AppendBin(nil, tt.value); err != nil || !bytes.Equal(b, want) {
			t.Errorf("%v in binary: %v\ngot  %x\nwant %x", tt.value, err, b, want)
		}
		if v, err := ParseBin(want); err != nil || !cmp.Equal(v, tt.value, compareValues) {
			t.Errorf("%x is %v, %v, not %v", want, v, err, tt.value)
		}
		if b, err := AppendJSON(nil, tt.value); err != nil || string(b) != tt.json {
			t.Errorf("%v in JSON: %v\ngot  %s\nwant %s", tt.value, err, b, tt.json)
		}
		if v, err := ParseJSON([]byte(tt.json)); err != nil || !cmp.Equal(v, tt.value, compareValues) {
			t.Errorf("%s is %v, %v, not %v", tt.json, v, err, tt.value)
		}
	}
	// Broker's infinities are the reverse of IEEE 754.
	for f, want := range map[Real]string{Real(math.Inf(1)): "04 fff0000000000000", Real(math.Inf(-1)): "04 7ff0000000000000"} {
		b, err := AppendBin(nil, f)
		if err != nil || !bytes.Equal(b, unhex(t, want)) {
			t.Errorf("%v is %x, %v", f, b, err)
		}
		if v, err := ParseBin(b); err != nil || v != Value(f) {
			t.Errorf("%x is %v, %v", b, v, err)
		}
	}
}

func TestParseBinRefuses(t *testing.T) {
	deep := strings.Repeat("0e01", MaxDepth)
	for hexed, why := range map[string]string{
		"":                                       "1 bytes needed, 0 left, at byte 0",
		"0f":                                     "unknown tag 15, at byte 0",
		"0000":                                   "1 bytes behind the value, at byte 1",
		"0102":                                   "a boolean of 2, at byte 1",
		"01":                                     "1 bytes needed",
		"02 00000000000000":                      "8 bytes needed, 7 left, at byte 1",
		"04 7ff0000000000001":                    "no number",
		"04 fff8000000000000":                    "no number",
		"05":                                     "1 bytes needed",
		"0501":                                   "a length of 1, where 0 bytes are left, at byte 1",
		"05 ffffffff0f":                          "a length of 4294967295, where 0 bytes are left",
		"05 ffffffff1f":                          "more than 32 bits, at byte 1",
		"05 ffffffffff01":                        "more than 32 bits",
		"05 8000":                                "more bytes than it needs, at byte 1",
		"05 80":                                  "1 bytes needed",
		"06 00":                                  "16 bytes needed, 1 left",
		"07 00000000000000000000000000000000 81": "prefix of 129 bits, at byte 17",
		"07 00000000000000000000ffff0a000000 5f": "prefix of 95 bits",
		"08 0000 04":                             "unknown protocol 4, at byte 3",
		"0c02 0101 0101":                         "a set has an element twice",
		"0d02 00 0101 00 0100":                   "a table has a key twice",
		"0d02 00 01 01":                          "a length of 2, where 3 bytes are left",
		"0e 80808008":                            "a length of 16777216, where 0 bytes are left",
		deep + "00":                              "nested deeper than 40, at byte 80",
	} {
		b := unhex(t, hexed)
		v, err := ParseBin(b)
		var f *FormatError
		if !errors.As(err, &f) || f.Format != FormatBin || !strings.Contains(err.Error(), why) || !strings.HasPrefix(err.Error(), "cannot parse broker-bin-v1: ") {
			t.Errorf("%.60s is %v, %v; want %q", hexed, v, err, why)
		}
	}
	if _, err := ParseBin(unhex(t, deep[4:]+"00")); err != nil {
		t.Errorf("as deep as is allowed: %v", err)
	}
	if _, err := ParseBin(make([]byte, MaxPayload+1)); err == nil || !strings.Contains(err.Error(), "more than 16777216") {
		t.Errorf("too large: %v", err)
	}
}

// TestParseBoundsMemory: what a payload claims to have costs nothing, in whichever format.
func TestParseBoundsMemory(t *testing.T) {
	const size = 1 << 20
	nested := func(open string, fill byte) []byte {
		b := []byte(strings.Repeat(open, MaxDepth-2))
		return append(b, bytes.Repeat([]byte{fill}, size)...)
	}
	tooMany := append(appendVarbyte([]byte{byte(KindVector)}, MaxValues), make([]byte, MaxValues)...)
	logs := binary.BigEndian.AppendUint32(make([]byte, 16), 1<<31)
	records := append(append(make([]byte, 16), 0, 0, 0, 1), make([]byte, minLogField)...)
	records = append(binary.BigEndian.AppendUint32(records, 1<<31), make([]byte, size)...)
	for name, parse := range map[string]func() error{
		// Each level claims as many elements as there are bytes behind it.
		"vectors": func() error { _, err := ParseBin(nested("\x0e\xff\xff\x3f", 0xff)); return err },
		"sets":    func() error { _, err := ParseBin(nested("\x0c\xff\xff\x3f", 0xff)); return err },
		"string": func() error {
			_, err := ParseBin(append([]byte{5, 0xff, 0xff, 0xff, 0xff, 0x0f}, make([]byte, size)...))
			return err
		},
		"values":  func() error { _, err := ParseBin(tooMany); return err },
		"fields":  func() error { _, err := ParseLogWrite(append(logs, make([]byte, size)...)); return err },
		"records": func() error { _, err := ParseLogWrite(records); return err },
		"arrays":  func() error { _, err := ParseJSON(append([]byte(`{"data":`), nested("[", '[')...)); return err },
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := parse()
		runtime.ReadMemStats(&after)
		if err == nil {
			t.Errorf("%s: no error", name)
		}
		most := uint64(8 * size)
		if name == "values" {
			most = 120 * size // there really is one for each byte; all growing together
		}
		if got := after.TotalAlloc - before.TotalAlloc; got > most {
			t.Errorf("%s: %d bytes allocated", name, got)
		}
	}
}

func TestAppendRefuses(t *testing.T) {
	deep := Value(None{})
	for range MaxDepth {
		deep = Vector{deep}
	}
	for why, v := range map[string]Value{
		"nil Value":                   Vector{nil},
		"an address is not set":       Address{},
		"has a zone":                  address("fe80::1%eth0"),
		"a subnet is not set":         Subnet{},
		"neither of IPv4 nor of IPv6": Subnet{netip.PrefixFrom(netip.MustParseAddr("::ffff:1.2.3.4"), 90)},
		"unknown protocol 4":          Port{1, 4},
		"a set has an element twice":  Set{Count(1), Count(2), Count(1)},
		"a table has a key twice":     Table{{Count(1), None{}}, {Count(1), Count(2)}},
		"nested deeper than 40":       deep,
		"a string of 16777217 bytes":  String(make([]byte, MaxPayload+1)),
		"more than 16777216 bytes":    Vector{String(make([]byte, MaxPayload))},
		"more than 1048576 values":    make(Vector, 0, MaxValues+1),
	} {
		if many, ok := v.(Vector); ok && cap(many) > MaxValues {
			for range MaxValues {
				many = append(many, None{})
			}
			v = many
		}
		for format, appendTo := range map[Format]func([]byte, Value) ([]byte, error){FormatBin: AppendBin, FormatJSON: AppendJSON} {
			b, err := appendTo([]byte("before"), v)
			if err == nil || !strings.Contains(err.Error(), why) || !strings.HasPrefix(err.Error(), "cannot write "+string(format)+": ") || string(b) != "before" {
				t.Errorf("%s: %q, %v", why, b[:min(len(b), 100)], err)
			}
		}
	}
	if _, err := AppendJSON(nil, Vector{Real(math.Inf(1))}); err == nil || !strings.Contains(err.Error(), "infinite") {
		t.Errorf("infinite: %v", err)
	}
}

// TestAppendPlain: mapped addresses are written as what they are.
func TestAppendPlain(t *testing.T) {
	for _, v := range [][2]Value{
		{address("::ffff:1.2.3.4"), address("1.2.3.4")},
		{Subnet{netip.PrefixFrom(netip.MustParseAddr("::ffff:10.0.0.0"), 104)}, subnet("10.0.0.0/8")},
	} {
		for format, f := range formats {
			b, err := f.append(nil, v[0])
			if err != nil {
				t.Fatal(err)
			}
			if got, err := f.parse(b); err != nil || got != v[1] {
				t.Errorf("%s: %v is %v, %v", format, v[0], got, err)
			}
		}
	}
}

var formats = map[Format]struct {
	append func([]byte, Value) ([]byte, error)
	parse  func([]byte) (Value, error)
}{FormatBin: {AppendBin, ParseBin}, FormatJSON: {AppendJSON, ParseJSON}}

func BenchmarkParseBin(b *testing.B) {
	for _, tt := range goldenEvents[:4] {
		payload := unhex(b, tt.hex)
		b.Run(tt.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(payload)))
			for b.Loop() {
				if _, err := ParseEvent(FormatBin, payload); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	large, err := AppendBin(nil, largeValue())
	if err != nil {
		b.Fatal(err)
	}
	b.Run("table of 1000 records", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(large)))
		for b.Loop() {
			if _, err := ParseBin(large); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func largeValue() Value {
	var t Table
	for i := range 1000 {
		t = append(t, Entry{Vector{Count(i), Port{uint16(i), TCP}}, Vector{String("some text of a record"), Timestamp(i), None{}, address("2001:db8::1")}})
	}
	return t
}

func BenchmarkAppendBin(b *testing.B) {
	e := goldenEvents[0].event
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if buf, err = AppendEvent(buf[:0], FormatBin, e); err != nil {
			b.Fatal(err)
		}
	}
}
