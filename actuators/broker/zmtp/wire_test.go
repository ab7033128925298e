package zmtp

import (
	"bytes"
	"errors"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Bytes as the RFCs lay them out.

func TestHeaderBytes(t *testing.T) {
	tests := []struct {
		flags byte
		size  int
		want  string
	}{
		{0, 0, "\x00\x00"},
		{FlagMore, 1, "\x01\x01"},
		{FlagCommand, 255, "\x04\xff"},
		{FlagLong, 255, "\x00\xff"}, // the size decides
		{0, 256, "\x02\x00\x00\x00\x00\x00\x00\x01\x00"},
		{FlagMore, 1 << 20, "\x03\x00\x00\x00\x00\x00\x10\x00\x00"},
		{FlagCommand, 300, "\x06\x00\x00\x00\x00\x00\x00\x01\x2c"},
		{0, 100 << 20, "\x02\x00\x00\x00\x00\x06\x40\x00\x00"},
	}
	for _, test := range tests {
		got := AppendHeader([]byte("x"), test.flags, test.size)
		if string(got) != "x"+test.want {
			t.Errorf("flags %d, size %d: %x", test.flags, test.size, got)
		}
		if HeaderSize(test.size) != len(test.want) {
			t.Errorf("size %d: HeaderSize %d", test.size, HeaderSize(test.size))
		}
		for n := range len(test.want) {
			if _, _, m, err := ParseHeader([]byte(test.want)[:n]); m != 0 || err != nil {
				t.Errorf("%x: %d, %v", test.want[:n], m, err)
			}
		}
		flags, size, n, err := ParseHeader([]byte(test.want + "body"))
		if flags != test.flags&^FlagLong || size != test.size || n != len(test.want) || err != nil {
			t.Errorf("%x: flags %d, size %d, n %d, %v", test.want, flags, size, n, err)
		}
	}
}

func TestHeadersThatAreNone(t *testing.T) {
	for flags := range 256 {
		good := map[byte]bool{0: true, 1: true, 2: true, 3: true, 4: true, 6: true}[byte(flags)]
		for _, in := range [][]byte{{byte(flags)}, {byte(flags), 1}, {byte(flags), 0, 0, 0, 0, 0, 0, 0, 1}} {
			if _, _, _, err := ParseHeader(in); (err == nil) != good || err != nil && !errors.Is(err, ErrFlags) {
				t.Errorf("%x: %v", in, err)
			}
		}
	}
	for in, want := range map[string]error{
		"\x02\xff\xff\xff\xff\xff\xff\xff\xff": ErrSize,
		"\x02\x80\x00\x00\x00\x00\x00\x00\x00": ErrSize,
		"\x02\x7f\xff\xff\xff\xff\xff\xff\xff": ErrSize, // with a header there would be an overflow
		"\x02\x3f\xff\xff\xff\xff\xff\xff\xff": nil,
		"\x02\x00\x00\x00\x00\x00\x00\x00\x07": nil, // a long size of a short frame
	} {
		_, size, n, err := ParseHeader([]byte(in))
		if !errors.Is(err, want) || err == nil && (n != MaxHeader || size < 0 || size > math.MaxInt-MaxHeader) {
			t.Errorf("%x: size %d, n %d, %v", in, size, n, err)
		}
	}
}

func TestCommandBytes(t *testing.T) {
	long := bytes.Repeat([]byte("t"), 300)
	tests := []struct {
		name string
		got  []byte
		want string
	}{
		{"SUBSCRIBE", AppendSubscribe(nil, []byte("A")), "\x04\x0b\x09SUBSCRIBEA"},
		{"SUBSCRIBE to everything", AppendSubscribe(nil, nil), "\x04\x0a\x09SUBSCRIBE"},
		{"SUBSCRIBE to something long", AppendSubscribe(nil, long), "\x06\x00\x00\x00\x00\x00\x00\x01\x36\x09SUBSCRIBE" + string(long)},
		{"CANCEL", AppendCancel([]byte("x"), []byte("A")), "x\x04\x08\x06CANCELA"},
		{"of 3.0", AppendLegacySubscription(nil, true, []byte("A")), "\x00\x02\x01A"},
		{"of 3.0, its end", AppendLegacySubscription(nil, false, []byte("A")), "\x00\x02\x00A"},
		{"PING", AppendPing(nil, time.Second, []byte("ab")), "\x04\x09\x04PING\x00\x0aab"},
		{"PING without a limit", AppendPing(nil, 0, nil), "\x04\x07\x04PING\x00\x00"},
		{"PING of a negative one", AppendPing(nil, -time.Second, nil), "\x04\x07\x04PING\x00\x00"},
		{"PING of a short one", AppendPing(nil, time.Millisecond, nil), "\x04\x07\x04PING\x00\x01"},
		{"PING of 250 ms", AppendPing(nil, 250*time.Millisecond, nil), "\x04\x07\x04PING\x00\x03"},
		{"PING of a year", AppendPing(nil, 365*24*time.Hour, nil), "\x04\x07\x04PING\xff\xff"},
		{"PING of all time", AppendPing(nil, math.MaxInt64, nil), "\x04\x07\x04PING\xff\xff"},
		{"PING with too much", AppendPing(nil, 0, []byte("0123456789abcdefg")), "\x04\x17\x04PING\x00\x000123456789abcdef"},
		{"PONG", AppendPong(nil, []byte("ab")), "\x04\x07\x04PONGab"},
	}
	for _, test := range tests {
		if string(test.got) != test.want {
			t.Errorf("%s: %x, want %x", test.name, test.got, test.want)
		}
	}
}

func TestParseCommand(t *testing.T) {
	tests := []struct {
		in, name, data string
		err            error
	}{
		{"\x04PING\x00\x0aab", "PING", "\x00\x0aab", nil},
		{"\x04PONG", "PONG", "", nil},
		{"\x01x", "x", "", nil},
		{"", "", "", ErrCommand},
		{"\x00", "", "", ErrCommand},
		{"\x00abc", "", "", ErrCommand},
		{"\x01", "", "", ErrCommand},
		{"\xffPING", "", "", ErrCommand},
	}
	for _, test := range tests {
		name, data, err := ParseCommand([]byte(test.in))
		if string(name) != test.name || string(data) != test.data || !errors.Is(err, test.err) {
			t.Errorf("%q: %q, %q, %v", test.in, name, data, err)
		}
	}
	for in, want := range map[string]error{
		"\x00": ErrPing, "": ErrPing, "\x00\x01": nil, "\x00\x010123456789abcdef": nil, "\x00\x010123456789abcdefg": ErrPing,
	} {
		if _, _, err := ParsePing([]byte(in)); !errors.Is(err, want) {
			t.Errorf("PING of %q: %v", in, err)
		}
	}
	if ttl, context, err := ParsePing([]byte("\x00\x17ab")); ttl != 2300*time.Millisecond || string(context) != "ab" || err != nil {
		t.Errorf("%v, %q, %v", ttl, context, err)
	}
}

func TestFramingAllocatesNothing(t *testing.T) {
	buf := make([]byte, 0, 64)
	topic := []byte("topic")
	if n := testing.AllocsPerRun(100, func() {
		buf = AppendHeader(AppendHeader(buf[:0], FlagMore, 300), 0, 3)
		if _, _, n, err := ParseHeader(buf); n == 0 || err != nil {
			t.Fatal(n, err)
		}
		buf = AppendPong(AppendPing(AppendSubscribe(buf[:0], topic), time.Second, topic), topic)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// The example of RFC 32, and libzmq's keys of its own tests (zmq_curve_keypair, man page).
func TestZ85(t *testing.T) {
	if got := EncodeZ85([]byte{0x86, 0x4f, 0xd2, 0x6f, 0xb5, 0x59, 0xf7, 0x5b}); got != "HelloWorld" {
		t.Error(got)
	}
	if got, err := DecodeZ85("HelloWorld"); err != nil || !bytes.Equal(got, []byte{0x86, 0x4f, 0xd2, 0x6f, 0xb5, 0x59, 0xf7, 0x5b}) {
		t.Errorf("%x, %v", got, err)
	}
	if got, err := DecodeZ85("%nSc0"); err != nil || !bytes.Equal(got, []byte{0xff, 0xff, 0xff, 0xff}) {
		t.Errorf("%x, %v", got, err)
	}
	for _, bad := range []string{"Hell", "HelloW", "%nSc1", "#####", "Hell~", "Hell\xff", "Hell\""} {
		if got, err := DecodeZ85(bad); err == nil {
			t.Errorf("%q is %x", bad, got)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOfN(rapid.Byte(), 0, 64).Draw(t, "b")
		b = b[:len(b)/4*4]
		if got, err := DecodeZ85(EncodeZ85(b)); err != nil || !bytes.Equal(got, b) {
			t.Errorf("%x becomes %x: %v", b, got, err)
		}
	})
}

// The keys of the example in RFC 26's implementation, libzmq: zmq_curve(7).
func TestKeys(t *testing.T) {
	const public, secret = "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID", "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs"
	s, err := ParseKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Public().Z85(); got != public {
		t.Errorf("the public key is %s", got)
	}
	for _, bad := range []string{"", secret[1:], secret + "0", " " + secret[1:], "#####" + secret[5:], secret[:39] + "\n"} {
		if _, err := ParseKey(bad); err == nil {
			t.Errorf("%q is a key", bad)
		} else if len(bad) > 5 && bytes.Contains([]byte(err.Error()), []byte(bad[5:20])) {
			t.Errorf("the error shows the key: %v", err)
		}
	}
	if _, err := GenerateKeyPair(bytes.NewReader(make([]byte, KeySize-1))); err == nil {
		t.Error("a key pair out of too little")
	}
	a, err := GenerateKeyPair(nil)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := GenerateKeyPair(nil); err != nil || a == b || a.Secret.Public() != a.Public {
		t.Errorf("%v: two key pairs are one, or do not fit", err)
	}
}
