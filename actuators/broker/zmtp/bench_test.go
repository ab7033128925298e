package zmtp

import (
	"bytes"
	"fmt"
	"testing"

	"golang.org/x/crypto/nacl/secretbox"
)

var benchSizes = []int{30, 100, 500, 4096, 1 << 20}

func BenchmarkSeal(b *testing.B) {
	for _, n := range benchSizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := newSealer(&[KeySize]byte{1}, true, 0)
			body, dst := make([]byte, n), make([]byte, 0, SealedSize(n))
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for b.Loop() {
				dst = s.AppendMessage(dst[:0], FlagMore, body)
			}
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	for _, n := range benchSizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := newSealer(&[KeySize]byte{1}, true, 0)
			o := newOpener(&[KeySize]byte{1}, false, 0)
			frame := s.AppendMessage(nil, 0, make([]byte, n))[headerOf(n):]
			work := make([]byte, len(frame))
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for b.Loop() {
				copy(work, frame) // opening changes it
				o.last = 0
				if _, _, err := o.Open(work); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkSecretbox is what nacl/secretbox takes for the same, for comparison.
func BenchmarkSecretbox(b *testing.B) {
	for _, n := range benchSizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			body, dst := make([]byte, n+1), make([]byte, 0, n+64)
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for b.Loop() {
				dst = secretbox.Seal(dst[:0], body, &[24]byte{}, &[KeySize]byte{1})
			}
		})
	}
}

func headerOf(n int) int { return HeaderSize(n + SealedOverhead) }

// BenchmarkParseHeader reads the headers of one of Zeek's messages: four short frames, the last one a long one.
func BenchmarkParseHeader(b *testing.B) {
	var in []byte
	for _, n := range []int{30, 60, 13} {
		in = append(AppendHeader(in, FlagMore, n), make([]byte, n)...)
	}
	in = append(AppendHeader(in, 0, 500), make([]byte, 500)...)
	b.ReportAllocs()
	for b.Loop() {
		for rest := in; len(rest) > 0; {
			_, size, n, err := ParseHeader(rest)
			if err != nil {
				b.Fatal(err)
			}
			rest = rest[n+size:]
		}
	}
}

// BenchmarkServerHandshake is what a client costs the server that it shakes hands with.
func BenchmarkServerHandshake(b *testing.B) {
	for _, curve := range []bool{false, true} {
		b.Run(map[bool]string{false: Null, true: Curve}[curve], func(b *testing.B) {
			said, server := transcript(b, curve), serverOf(b)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := ServerHandshake(&script{in: bytes.NewReader(said)}, server.again()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
