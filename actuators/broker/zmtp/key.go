package zmtp

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"golang.org/x/crypto/curve25519"
)

// KeySize of a curve25519 key, in bytes; as text (Z85) it has 40 characters.
const KeySize = 32

// Key is a public or a secret key. Only Z85 shows it.
type Key [KeySize]byte

// String does not show the key.
func (Key) String() string { return "key" }

// GoString does not show the key.
func (Key) GoString() string { return "zmtp.Key{…}" }

// LogValue does not show the key.
func (Key) LogValue() slog.Value { return slog.StringValue("key") }

// Format does not show the key, whatever the verb.
func (Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "key") }

// MarshalText does not show the key, in JSON or elsewhere.
func (Key) MarshalText() ([]byte, error) { return []byte("key"), nil }

// Z85 is the key as text, as Zeek's settings have it.
func (k Key) Z85() string { return EncodeZ85(k[:]) }

// Public is the public key that belongs to a secret one.
func (k Key) Public() Key {
	var p Key
	curve25519.ScalarBaseMult((*[KeySize]byte)(&p), (*[KeySize]byte)(&k))
	return p
}

// ParseKey reads the 40 characters of a key. The error does not show them.
func ParseKey(text string) (Key, error) {
	var k Key
	if len(text) != KeySize/4*5 {
		return k, fmt.Errorf("cannot read a key: it has %d characters, not %d", len(text), KeySize/4*5)
	}
	b, err := DecodeZ85(text)
	if err != nil {
		return k, errors.New("cannot read a key: a character in it is not one of Z85")
	}
	copy(k[:], b)
	return k, nil
}

// KeyPair is a secret key and its public one.
type KeyPair struct{ Public, Secret Key }

// GenerateKeyPair makes a new pair. A nil source is crypto/rand.
func GenerateKeyPair(source io.Reader) (KeyPair, error) {
	if source == nil {
		source = rand.Reader
	}
	var p KeyPair
	if _, err := io.ReadFull(source, p.Secret[:]); err != nil {
		return KeyPair{}, fmt.Errorf("cannot make a key: %w", err)
	}
	p.Public = p.Secret.Public()
	return p, nil
}

// z85 is the alphabet of RFC 32.
const z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"

// EncodeZ85 writes bytes as text, 5 characters for every 4. It panics where their number is no multiple of 4.
func EncodeZ85(b []byte) string {
	if len(b)%4 != 0 {
		panic("zmtp: Z85 takes a multiple of 4 bytes")
	}
	out := make([]byte, 0, len(b)/4*5)
	for ; len(b) > 0; b = b[4:] {
		v := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
		for div := uint32(85 * 85 * 85 * 85); div > 0; div /= 85 {
			out = append(out, z85[v/div%85])
		}
	}
	return string(out)
}

// DecodeZ85 reads what EncodeZ85 writes.
func DecodeZ85(text string) ([]byte, error) {
	if len(text)%5 != 0 {
		return nil, fmt.Errorf("cannot read Z85: %d characters are no multiple of 5", len(text))
	}
	out := make([]byte, 0, len(text)/5*4)
	for ; len(text) > 0; text = text[5:] {
		var v uint64
		for i := range 5 {
			d := digitZ85(text[i])
			if d < 0 {
				return nil, fmt.Errorf("cannot read Z85: %q is not in its alphabet", text[i])
			}
			v = v*85 + uint64(d)
		}
		if v > 1<<32-1 {
			return nil, errors.New("cannot read Z85: five characters stand for more than 32 bits")
		}
		out = append(out, byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
	}
	return out, nil
}

func digitZ85(c byte) int {
	for i := range len(z85) {
		if z85[i] == c {
			return i
		}
	}
	return -1
}
