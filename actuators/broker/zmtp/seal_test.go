package zmtp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"golang.org/x/crypto/nacl/box"
	"pgregory.net/rapid"
)

// sealedByNacl is a MESSAGE as RFC 26 defines it, put together with nacl/box.
func sealedByNacl(prefix string, counter uint64, flags byte, data []byte, shared *[KeySize]byte) []byte {
	var nonce [24]byte
	copy(nonce[:], prefix)
	binary.BigEndian.PutUint64(nonce[16:], counter)
	body := binary.BigEndian.AppendUint64([]byte("\x07MESSAGE"), counter)
	return box.SealAfterPrecomputation(body, append([]byte{flags}, data...), &nonce, shared)
}

// interestingSizes are those around which a piece of the stream ends, and any.
func interestingSizes() *rapid.Generator[int] {
	return rapid.Custom(func(t *rapid.T) int {
		if rapid.Bool().Draw(t, "any") {
			return rapid.IntRange(0, 3000).Draw(t, "size")
		}
		edge := rapid.SampledFrom([]int{0, 31, 95, 223, 256 + 223, 512 + 223, piece + 223, 2*piece + 223, 255 - 33, 3 * piece}).Draw(t, "edge")
		return max(0, edge+rapid.IntRange(-2*block-3, 2*block+3).Draw(t, "off"))
	})
}

func TestSealIsNaclBox(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		shared := (*[KeySize]byte)(rapid.SliceOfN(rapid.Byte(), KeySize, KeySize).Draw(t, "key"))
		server := rapid.Bool().Draw(t, "server")
		prefix := fromClient
		if server {
			prefix = fromServer
		}
		last := rapid.Uint64Range(0, 1<<63).Draw(t, "last")
		s, o := newSealer(shared, server, last), newOpener(shared, !server, last)
		for range rapid.IntRange(1, 4).Draw(t, "messages") {
			last++
			data := make([]byte, interestingSizes().Draw(t, "n"))
			for i := range data {
				data[i] = byte(i*7) ^ byte(last)
			}
			flags := rapid.SampledFrom([]byte{0, FlagMore, FlagCommand}).Draw(t, "flags")
			inner := map[byte]byte{0: 0, FlagMore: 1, FlagCommand: 2}[flags]
			want := sealedByNacl(prefix, last, inner, data, shared)

			before := bytes.Repeat([]byte{0xee}, rapid.IntRange(0, 3).Draw(t, "before"))
			frame := s.AppendMessage(bytes.Clone(before), flags, data)
			if !bytes.HasPrefix(frame, before) {
				t.Fatal("what was there before is gone")
			}
			frame = frame[len(before):]
			if len(frame) != SealedSize(len(data)) {
				t.Fatalf("a frame of %d bytes, SealedSize says %d", len(frame), SealedSize(len(data)))
			}
			outer, size, n, err := ParseHeader(frame)
			if err != nil || outer != 0 || n+size != len(frame) {
				t.Fatalf("header: flags %d, %d+%d of %d bytes: %v", outer, n, size, len(frame), err)
			}
			body := frame[n:]
			if !bytes.Equal(body, want) {
				t.Fatalf("%d bytes of data are sealed in another way than nacl/box does", len(data))
			}
			gotFlags, got, err := o.Open(body)
			if err != nil || gotFlags != flags || !bytes.Equal(got, data) {
				t.Fatalf("opened: flags %d, %d of %d bytes: %v", gotFlags, len(got), len(data), err)
			}
			if len(got) > 0 && &got[0] != &body[SealedOverhead] {
				t.Fatal("it was not opened where it lies")
			}
		}
	})
}

func TestOpenRefuses(t *testing.T) {
	shared := &[KeySize]byte{9}
	for _, n := range []int{0, 1, 30, 223, 224, 500, piece + 300} {
		good := sealedByNacl(fromClient, 7, 0, make([]byte, n), shared)
		changed := func(at int) []byte {
			b := bytes.Clone(good)
			b[at] ^= 0x10
			return b
		}
		tests := []struct {
			name string
			body []byte
			last uint64
			want error
		}{
			{"as it is", good, 6, nil},
			{"nothing", nil, 6, ErrNotSealed},
			{"only a name", []byte("\x07MESSAGE"), 6, ErrNotSealed},
			{"no room for flags", good[:SealedOverhead-1], 6, ErrNotSealed},
			{"another name", changed(3), 6, ErrNotSealed},
			{"the same counter again", good, 7, ErrReplayed},
			{"an earlier counter", good, 8, ErrReplayed},
			{"another counter", changed(15), 6, ErrForged},
			{"another tag", changed(beforeBox), 6, ErrForged},
			{"other flags", changed(beforeFlags), 6, ErrForged},
			{"another last byte", changed(len(good) - 1), 6, ErrForged},
			{"a byte more", append(bytes.Clone(good), 0), 6, ErrForged},
			{"the other direction", sealedByNacl(fromServer, 7, 0, make([]byte, n), shared), 6, ErrForged},
			{"another key", sealedByNacl(fromClient, 7, 0, make([]byte, n), &[KeySize]byte{8}), 6, ErrForged},
			{"both flags", sealedByNacl(fromClient, 7, sealedMore|sealedCommand, make([]byte, n), shared), 6, ErrFlags},
		}
		for _, test := range tests {
			t.Run(fmt.Sprint(n, " ", test.name), func(t *testing.T) {
				o := newOpener(shared, true, test.last)
				if _, _, err := o.Open(bytes.Clone(test.body)); !errors.Is(err, test.want) {
					t.Fatalf("got %v, want %v", err, test.want)
				}
				// A frame that was refused uses up no counter: the true one can still come.
				if errors.Is(test.want, ErrForged) {
					if _, _, err := o.Open(bytes.Clone(good)); err != nil {
						t.Fatalf("the true frame after it: %v", err)
					}
				}
			})
		}
	}
}

func TestSealingAllocatesNothing(t *testing.T) {
	shared := &[KeySize]byte{3}
	for _, n := range []int{30, 100, 500, 4096, 3 * piece} {
		s, o := newSealer(shared, true, 0), newOpener(shared, false, 0)
		data, frame := make([]byte, n), make([]byte, 0, SealedSize(n))
		if allocs := testing.AllocsPerRun(50, func() {
			frame = s.AppendMessage(frame[:0], 0, data)
			if _, _, err := o.Open(frame[headerOf(n):]); err != nil {
				t.Fatal(err)
			}
		}); allocs != 0 {
			t.Errorf("%d bytes: %v allocations", n, allocs)
		}
	}
}

func TestCiphersHideTheirKeys(t *testing.T) {
	shared := &[KeySize]byte{}
	for i := range shared {
		shared[i] = 0xa5
	}
	p := &Peer{ClientKey: Key(*shared), Seal: newSealer(shared, true, 0), Open: newOpener(shared, true, 0)}
	p.Seal.key, p.Open.key = *shared, *shared
	var out strings.Builder
	for _, v := range []any{p.Seal, p.Open, p.ClientKey, KeyPair{Secret: p.ClientKey}, &ClientKeys{Server: p.ClientKey}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d", "%q"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
	}
	slog.New(slog.NewJSONHandler(&out, nil)).Info("json", "peer", p, "key", p.ClientKey, "seal", p.Seal)
	slog.New(slog.NewTextHandler(&out, nil)).Info("text", "peer", p, "key", p.ClientKey, "open", p.Open)
	for _, secret := range []string{"a5a5", "A5A5", "165", "0xa5", `\xa5`, p.ClientKey.Z85()} {
		if strings.Contains(out.String(), secret) {
			t.Errorf("a key shows itself as %q in:\n%s", secret, out.String())
		}
	}
}
