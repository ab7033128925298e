package zeekbus

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseJSON(t *testing.T) {
	of := func(kind, data string) string { return `{"@data-type":"` + kind + `","data":` + data + `}` }
	utc := func(s string) Timestamp {
		m, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			t.Fatal(err)
		}
		return TimestampOf(m)
	}
	for in, want := range map[string]Value{
		" { \"@data-type\" : \"vector\" ,\r\n\t\"data\" : [ " + of("none", "{}") + " , " + of("none", " { } ") + " ] } ": Vector{None{}, None{}},
		`{"data":[{"data":5,"@data-type":"count"},{"data":{"a":[1,"x\"]"]},"@data-type":"none"}],"@data-type":"vector"}`: nil, // what none has is {}
		`{"data":[{"data":5,"@data-type":"count"},{"data":{},"@data-type":"none"}],"@data-type":"vector"}`:               Vector{Count(5), None{}},
		of("none", "null"):                               None{},
		of("none", "nil"):                                nil,
		of("none", "5"):                                  nil,
		of("boolean", "1"):                               nil,
		of("count", "-1"):                                nil,
		of("count", "+1"):                                nil,
		of("count", "01"):                                nil,
		of("count", "1.0"):                               nil,
		of("count", "1e3"):                               nil,
		of("count", `"1"`):                               nil,
		of("count", "18446744073709551616"):              nil,
		of("integer", "-0"):                              Integer(0),
		of("integer", "--1"):                             nil,
		of("integer", "9223372036854775808"):             nil,
		of("real", "1"):                                  nil,
		of("real", "1."):                                 Real(1),
		of("real", "1e3"):                                Real(1000),
		of("real", "-1.5E+3"):                            Real(-1500),
		of("real", ".5"):                                 nil,
		of("real", "00.5"):                               nil,
		of("real", "0x1p2"):                              nil,
		of("real", "0x1.p2"):                             nil,
		of("real", "1e999"):                              nil,
		of("real", "infinity"):                           nil,
		of("real", "inf"):                                Real(math.Inf(1)),
		of("real", "-inf"):                               Real(math.Inf(-1)),
		of("real", "-nan"):                               Real(math.NaN()),
		of("string", "5"):                                nil,
		of("string", "\"raw \x00\x01\xff\n\""):           String("raw \x00\x01\xff\n"),
		of("string", `"\u00e9\u20ac\ud83d\ude00\/"`):     String("é€😀/"),
		of("string", `"\ud83d"`):                         nil,
		of("string", `"\ud83d\u0041"`):                   nil,
		of("string", `"\ude00"`):                         nil,
		of("string", `"\u12"`):                           nil,
		of("string", `"\u+123"`):                         nil,
		of("string", `"\x41"`):                           nil,
		of("string", `"open`):                            nil,
		`{"@data-type":"string","data":"open\`:           nil,
		of("address", `"1.2.3"`):                         nil,
		of("address", `"fe80::1%eth0"`):                  nil,
		of("address", `"::ffff:1.2.3.4"`):                address("1.2.3.4"),
		of("subnet", `"1.2.3.4"`):                        nil,
		of("subnet", `"1.2.3.4/33"`):                     nil,
		of("subnet", `"::ffff:1.2.3.4/120"`):             nil,
		of("port", `"80"`):                               nil,
		of("port", `"80/sctp"`):                          nil,
		of("port", `"080/tcp"`):                          nil,
		of("port", `"65536/tcp"`):                        nil,
		of("port", `"65535/icmp"`):                       Port{65535, ICMP},
		of("timestamp", `"2023-11-14T22:13:20"`):         utc("2023-11-14T22:13:20Z"),
		of("timestamp", `"2023-11-14T22:13:20.5Z"`):      utc("2023-11-14T22:13:20.5Z"),
		of("timestamp", `"2023-11-14T22:13:20.5+01:00"`): utc("2023-11-14T21:13:20.5Z"),
		of("timestamp", `"2023-11-14T22:13:20,5"`):       nil,
		of("timestamp", `"2023-11-14 22:13:20"`):         nil,
		of("timestamp", `"2300-01-01T00:00:00"`):         nil,
		of("timestamp", `"2023-02-30T00:00:00"`):         nil,
		of("timestamp", `"2023-11-14T22:13:20.0000000000000000000000"`): nil,
		of("timespan", `"5min"`):                                 Timespan(5 * time.Minute),
		of("timespan", `"-2h"`):                                  Timespan(-2 * time.Hour),
		of("timespan", `"5"`):                                    nil,
		of("timespan", `"s"`):                                    nil,
		of("timespan", `"1.5s"`):                                 nil,
		of("timespan", `"9223372036854775807s"`):                 nil,
		of("set", `[`+of("count", "1")+`,`+of("count", "1")+`]`): nil,
		of("set", `[`+of("set", "["+of("count", "1")+"]")+`,`+of("set", "[]")+`]`):                                                           Set{Set{Count(1)}, Set{}},
		of("table", `[{"key":`+of("count", "1")+`,"value":`+of("none", "{}")+`},{"key":`+of("count", "1")+`,"value":`+of("none", "{}")+`}]`): nil,
		of("table", `[{"value":`+of("none", "{}")+`}]`):                                                                                      nil,
		of("vector", "[,]"):                         nil,
		of("vector", "[{}]"):                        nil,
		of("vector", "{}"):                          nil,
		of("vector", "["):                           nil,
		of("vectors", "[]"):                         nil,
		of("none", "{}") + "x":                      nil,
		`{"@data-type":"none","data":{},"more":1}`:  nil,
		`{"@data-type":"none","@data-type":"none"}`: nil,
		`{"data":{},"data":{}}`:                     nil,
		`{"data":{"a" 1},"@data-type":"none"}`:      nil,
		`{"data":}`:                                 nil,
		`{"@data-type":5,"data":{}}`:                nil,
		`[]`:                                        nil,
		``:                                          nil,
		"{\x00":                                     nil,
	} {
		v, err := ParseJSON([]byte(in))
		if want == nil {
			var f *FormatError
			if !errors.As(err, &f) || f.Format != FormatJSON || f.Offset < 0 || f.Offset > len(in) {
				t.Errorf("%s is %v, %v", in, v, err)
			}
			continue
		}
		if err != nil || !cmp.Equal(v, want, compareValues) {
			t.Errorf("%s is %v, %v, not %v", in, v, err, want)
		}
	}
}

func TestParseJSONIsBounded(t *testing.T) {
	deep := strings.Repeat(`{"@data-type":"vector","data":[`, MaxDepth) + `{"@data-type":"none","data":{}}` + strings.Repeat("]}", MaxDepth)
	if _, err := ParseJSON([]byte(deep)); err == nil || !strings.Contains(err.Error(), "nested deeper than 40") {
		t.Errorf("deep: %v", err)
	}
	if _, err := ParseJSON([]byte(deep[len(`{"@data-type":"vector","data":[`) : len(deep)-2])); err != nil {
		t.Errorf("as deep as is allowed: %v", err)
	}
	// The type behind the data, on all levels; and values where there should be a type.
	back := strings.Repeat(`{"data":[`, MaxDepth-1) + `{"data":{},"@data-type":"none"}` + strings.Repeat(`],"@data-type":"vector"}`, MaxDepth-1)
	if _, err := ParseJSON([]byte(back)); err != nil {
		t.Errorf("type last: %v", err)
	}
	large := strings.Replace(back, `{},"@data-type":"none"`, `"`+strings.Repeat("x", MaxPayload/20)+`","@data-type":"string"`, 1)
	if _, err := ParseJSON([]byte(large)); err == nil || !strings.Contains(err.Error(), "too much data in front of its types") {
		t.Errorf("type last, large: %v", err)
	}
	if _, err := ParseJSON([]byte(`{"data":` + strings.Repeat("[", 1<<20))); err == nil || !strings.Contains(err.Error(), "nested deeper") {
		t.Errorf("brackets: %v", err)
	}
	many := `{"@data-type":"vector","data":[` + strings.Repeat(`{"data":{},"@data-type":"none"},`, MaxPayload/32)
	if _, err := ParseJSON([]byte(many[:MaxPayload])); err == nil {
		t.Error("many: no error")
	}
	if _, err := ParseJSON(make([]byte, MaxPayload+1)); err == nil || !strings.Contains(err.Error(), "more than 16777216") {
		t.Errorf("large: %v", err)
	}
}
