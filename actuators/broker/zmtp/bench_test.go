package zmtp

import (
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
