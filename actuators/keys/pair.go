package keys

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Pair is one generation of a cluster's keys: two key pairs, in Z85.
type Pair struct {
	// ID is made from the public keys: 12 hex digits.
	ID      string
	Created time.Time

	ServerPublic string
	ServerSecret Secret
	ClientPublic string
	ClientSecret Secret
}

// Secret is a secret key. Whatever prints it, formats it, logs it or encodes it gets "(hidden)".
type Secret struct {
	// A pointer, so that it does not even show as part of something that is printed by reflection.
	text *string
}

const hidden = "(hidden)"

// secretOf wraps a key's text.
func secretOf(text string) Secret { return Secret{&text} }

// Reveal returns the key itself, 40 characters of Z85. It belongs into the environment of a process, and nowhere
// else.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// String hides it.
func (Secret) String() string { return hidden }

// GoString hides it.
func (Secret) GoString() string { return hidden }

// Format hides it from every verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(hidden)) }

// LogValue hides it from logs.
func (Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalText hides it from every encoding.
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// KeyPair is a single key pair, in Z85.
type KeyPair struct {
	Public string
	Secret Secret
}

// idOf a generation.
func idOf(serverPublic, clientPublic string) string {
	sum := sha256.Sum256([]byte(serverPublic + clientPublic))
	return hex.EncodeToString(sum[:6])
}

// NewPair makes a generation from fresh random numbers.
func NewPair(now time.Time) (Pair, error) {
	server, err := Generate()
	if err != nil {
		return Pair{}, err
	}
	client, err := Generate()
	if err != nil {
		return Pair{}, err
	}
	return Pair{
		ID: idOf(server.Public, client.Public), Created: now.UTC().Truncate(time.Second),
		ServerPublic: server.Public, ServerSecret: server.Secret, ClientPublic: client.Public, ClientSecret: client.Secret,
	}, nil
}

// check says why a generation does not hold together. No key is in what it says.
func (p *Pair) check() error {
	if err := fits(p.ServerPublic, p.ServerSecret); err != nil {
		return fmt.Errorf("the server's keys: %w", err)
	}
	if err := fits(p.ClientPublic, p.ClientSecret); err != nil {
		return fmt.Errorf("the clients' keys: %w", err)
	}
	if want := idOf(p.ServerPublic, p.ClientPublic); p.ID != want {
		return fmt.Errorf("the id is %q, and should be %q", p.ID, want)
	}
	if p.Created.IsZero() {
		return errors.New("the time of creation is missing")
	}
	return nil
}
