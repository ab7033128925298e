package zeekbus

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// conn is a log write with one of everything.
func conn() LogWrite {
	second := "second"
	record := func(ts float64) []LogValue {
		return []LogValue{
			{TypeTime, TypeVoid, ts},
			{TypeSet, TypeVoid, []LogValue{{TypeString, TypeVoid, "x"}, {TypeString, TypeVoid, nil}}},
			{TypeString, TypeError, nil},
		}
	}
	return LogWrite{
		Stream: "Conn::LOG", Writer: "Log::WRITER_ASCII", Filter: "default", Path: "conn",
		Fields:  []LogField{{"ts", nil, TypeTime, TypeError, false}, {"set", &second, TypeSet, TypeString, false}, {"o", nil, TypeString, TypeError, true}},
		Records: [][]LogValue{record(1), record(2)},
	}
}

const connHex = `00000009 "Conn::LOG" 00000011 "Log::WRITER_ASCII" 00000007 "default" 00000004 "conn" 00000003` +
	`00 00000002 "ts" 00000005 00000016 00` +
	`01 00000006 "second" 00000003 "set" 0000000e 00000007 00` +
	`00 00000001 "o" 00000007 00000016 01 00000002` +
	`00000005 00000000 01 3ff0000000000000` +
	`0000000e 00000000 01 0000000000000002 00000007 00000000 01 00000001 "x" 00000007 00000000 00` +
	`00000007 00000016 00` +
	`00000005 00000000 01 4000000000000000` +
	`0000000e 00000000 01 0000000000000002 00000007 00000000 01 00000001 "x" 00000007 00000000 00` +
	`00000007 00000016 00`

func TestLogWrite(t *testing.T) {
	m, err := NewLogWrite("zeromq_w_h_1_N", conn())
	if err != nil {
		t.Fatal(err)
	}
	if want := unhex(t, connHex); !bytes.Equal(m.Payload, want) || string(m.Topic) != "log-write" || string(m.Format) != "zeek-bin-serializer" || string(m.Sender) != "zeromq_w_h_1_N" {
		t.Errorf("got  %x\nwant %x", m.Payload, want)
	}
	w, err := m.LogWrite()
	if d := cmp.Diff(conn(), w); err != nil || d != "" {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	w = LogWrite{Path: "empty", Fields: []LogField{}, Records: [][]LogValue{}}
	b, err := AppendLogWrite([]byte("before"), w)
	if err != nil || string(b[:6]) != "before" {
		t.Fatal(err)
	}
	if got, err := ParseLogWrite(b[6:]); err != nil || !cmp.Equal(got, w) {
		t.Errorf("%+v, %v", got, err)
	}
	m.Topic = []byte("zeek.cluster.logger")
	if _, err := m.LogWrite(); err == nil {
		t.Error("another topic")
	}
	m.Topic, m.Format = []byte(TopicLogWrite), []byte(FormatBin)
	if _, err := m.LogWrite(); err == nil || !strings.Contains(err.Error(), "not the format of log writes") {
		t.Error(err)
	}
}

// logOf is a log write of one value.
func logOf(v LogValue) LogWrite {
	return LogWrite{Fields: []LogField{{Name: "f", Type: v.Type}}, Records: [][]LogValue{{v}}}
}

func TestLogValues(t *testing.T) {
	for hexed, v := range map[string]LogValue{
		"0000000000000001":                       {TypeBool, 0, true},
		"0000000000000000":                       {TypeBool, 0, false},
		"ffffffffffffffff":                       {TypeInt, 0, int64(-1)},
		"fffffffffffffffe":                       {TypeCount, 0, uint64(math.MaxUint64 - 1)},
		"7ff0000000000000":                       {TypeDouble, 0, math.Inf(1)},
		"4056800000000000":                       {TypeInterval, 0, 90.0},
		"00000000":                               {TypeString, 0, ""},
		"00000004 \"A::B\"":                      {TypeEnum, 0, "A::B"},
		"00000001 \"f\"":                         {TypeFile, 0, "f"},
		"00000002 \"fn\"":                        {TypeFunc, 0, "fn"},
		"0000000000000050 00000001":              {TypePort, 0, Port{80, TCP}},
		"04 01020304":                            {TypeAddr, 0, netip.MustParseAddr("1.2.3.4")},
		"06 20010db8000000000000000000000001":    {TypeAddr, 0, netip.MustParseAddr("2001:db8::1")},
		"70 04 01020000":                         {TypeSubnet, 0, netip.MustParsePrefix("1.2.0.0/16")},
		"80 06 20010db8000000000000000000000001": {TypeSubnet, 0, netip.MustParsePrefix("2001:db8::1/128")},
		" 0000000000000000":                      {TypeVector, 0, []LogValue{}},
	} {
		b, err := AppendLogWrite(nil, logOf(v))
		if err != nil || !bytes.HasSuffix(b, append([]byte{1}, unhex(t, hexed)...)) {
			t.Errorf("%+v: %x, %v", v, b, err)
		}
		if got, err := ParseLogWrite(b); err != nil || !cmp.Equal(got.Records[0][0], v, compareValues) {
			t.Errorf("%+v: %+v, %v", v, got, err)
		}
	}
	// Mapped addresses are what they are.
	b, err := AppendLogWrite(nil, logOf(LogValue{TypeAddr, 0, netip.MustParseAddr("::ffff:1.2.3.4")}))
	if err != nil || !bytes.HasSuffix(b, []byte{1, 4, 1, 2, 3, 4}) {
		t.Errorf("%x, %v", b, err)
	}
}

func TestAppendLogWriteRefuses(t *testing.T) {
	for why, w := range map[string]LogWrite{
		"a value of type 7 cannot be int":    logOf(LogValue{TypeString, 0, 5}),
		"a value of type 1 cannot be int64":  logOf(LogValue{TypeBool, 0, int64(1)}),
		"a value of type 8 cannot be string": logOf(LogValue{8, 0, "pattern"}),
		"a value of type 10 cannot be":       logOf(LogValue{TypePort, 0, Port{1, 4}}),
		"a value of type 14 cannot be":       logOf(LogValue{TypeVector, 0, []LogValue{{TypeSet, 0, []LogValue{}}}}),
		"an address is not set":              logOf(LogValue{TypeAddr, 0, netip.Addr{}}),
		"has a zone":                         logOf(LogValue{TypeAddr, 0, netip.MustParseAddr("fe80::1%eth0")}),
		"a subnet is not set":                logOf(LogValue{TypeSubnet, 0, netip.Prefix{}}),
		"record 0 has 2 values for 1 fields": {Fields: make([]LogField, 1), Records: [][]LogValue{make([]LogValue, 2)}},
		"records without fields":             {Records: make([][]LogValue, 1)},
		"more than 16777216":                 {Path: "x", Stream: strings.Repeat("x", MaxPayload+1)},
		"more than 16777216 bytes":           {Path: "x", Stream: strings.Repeat("x", MaxPayload)},
		"more than 1048576 values":           logOf(LogValue{TypeVector, 0, make([]LogValue, MaxValues)}),
		`field "f" of record 0`:              logOf(LogValue{TypeString, 0, 5}),
	} {
		b, err := AppendLogWrite([]byte("before"), w)
		if err == nil || !strings.Contains(err.Error(), why) || string(b) != "before" || !strings.HasPrefix(err.Error(), "cannot write to log ") {
			t.Errorf("%s: %v", why, err)
		}
	}
}

func TestParseLogWriteRefuses(t *testing.T) {
	whole := unhex(t, connHex)
	for i := range whole {
		if w, err := ParseLogWrite(whole[:i]); err == nil {
			t.Errorf("the first %d bytes are %+v", i, w)
		}
	}
	value := func(typ Tag, hexed string) []byte {
		b, err := AppendLogWrite(nil, logOf(LogValue{Type: typ}))
		if err != nil {
			t.Fatal(err)
		}
		b[len(b)-1] = 1
		return append(b, unhex(t, hexed)...)
	}
	text := func(s string) []byte { return append(binary.BigEndian.AppendUint32(nil, uint32(len(s))), s...) }
	for why, b := range map[string][]byte{
		"1 bytes behind the last record":   append(bytes.Clone(whole), 0),
		"a bool of 2":                      value(TypeBool, "0000000000000002"),
		"port 65536 with protocol 1":       value(TypePort, "0000000000010000 00000001"),
		"port 1 with protocol 4":           value(TypePort, "0000000000000001 00000004"),
		"an address of the family 5":       value(TypeAddr, "05 01020304"),
		"address ::ffff:1.2.3.4 as one of": value(TypeAddr, "06 00000000000000000000ffff01020304"),
		"a prefix of -1 bits":              value(TypeSubnet, "5f 04 01020304"),
		"a prefix of 129 bits":             value(TypeSubnet, "81 06 20010db8000000000000000000000001"),
		"a value of type 8":                value(8, ""),
		"a value of type 0":                value(TypeVoid, ""),
		"a set or vector in another":       value(TypeSet, "0000000000000001 00000013 00000000 01 0000000000000000"),
		"a length of 18446744073709551615": value(TypeSet, "ffffffffffffffff"),
		"a length of 2, where 9 bytes":     value(TypeSet, "0000000000000002 00000007 00000000 00"),
		"a boolean of 2":                   append(bytes.Clone(whole[:len(whole)-1]), 2),
		"1 records without fields":         joined(text("a"), text("b"), text("c"), text("d"), []byte{0, 0, 0, 0, 0, 0, 0, 1}),
		"a length of 4294967295, where 6":  {0xff, 0xff, 0xff, 0xff, 'a', 'b', 'c', 'd', 'e', 'f'},
		"a length of 4294967295, where 0":  joined(text("a"), text("b"), text("c"), text("d"), []byte{0xff, 0xff, 0xff, 0xff}),
		"more than 16777216":               make([]byte, MaxPayload+1),
	} {
		w, err := ParseLogWrite(b)
		var f *FormatError
		if !errors.As(err, &f) || f.Format != FormatLog || !strings.Contains(err.Error(), why) || f.Offset < 0 || f.Offset > len(b) {
			t.Errorf("%s: %+v, %v", why, w, err)
		}
	}
}

func joined(bs ...[]byte) []byte { return bytes.Join(bs, nil) }

func BenchmarkParseLogWrite(b *testing.B) {
	w := conn()
	for range 999 {
		w.Records = append(w.Records, w.Records[0])
	}
	payload, err := AppendLogWrite(nil, w)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.SetBytes(int64(len(payload)))
	for b.Loop() {
		if _, err := ParseLogWrite(payload); err != nil {
			b.Fatal(err)
		}
	}
}
