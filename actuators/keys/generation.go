package keys

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// generation is a Pair as it is in the file, the one place where secrets are written.
type generation struct {
	ID           string    `json:"id"`
	Created      time.Time `json:"created"`
	ServerPublic string    `json:"server_public"`
	ServerSecret string    `json:"server_secret"`
	ClientPublic string    `json:"client_public"`
	ClientSecret string    `json:"client_secret"`
}

// Encode makes a file's content of generations, which is also how they travel to who needs them: it has the secrets.
func Encode(pairs []Pair) ([]byte, error) {
	gs := make([]generation, 0, len(pairs))
	for _, p := range pairs {
		gs = append(gs, generation{p.ID, p.Created, p.ServerPublic, p.ServerSecret.Reveal(), p.ClientPublic, p.ClientSecret.Reveal()})
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // Z85 has < > &, and a person is to read the keys as they are
	e.SetIndent("", "  ")
	if err := e.Encode(gs); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// Decode reads what Encode made. It is good as a whole, or not at all. What it says about a bad one holds
// nothing of its content.
func Decode(b []byte) ([]Pair, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	var gs []generation
	if err := d.Decode(&gs); err != nil {
		return nil, fmt.Errorf("it cannot be understood (damaged at byte %d)", damagedAt(d, err))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the list of keys")
	}
	if len(gs) == 0 {
		return nil, errors.New("no keys are in it")
	}
	seen := map[string]bool{}
	pairs := make([]Pair, 0, len(gs))
	for i, g := range gs {
		p := Pair{
			ID: g.ID, Created: g.Created, ServerPublic: g.ServerPublic, ServerSecret: secretOf(g.ServerSecret),
			ClientPublic: g.ClientPublic, ClientSecret: secretOf(g.ClientSecret),
		}
		if err := p.check(); err != nil {
			return nil, fmt.Errorf("entry %d does not hold together: %w", i+1, err)
		}
		if seen[p.ID] {
			return nil, fmt.Errorf("entry %d is there twice", i+1)
		}
		seen[p.ID] = true
		pairs = append(pairs, p)
	}
	return pairs, nil
}

// damagedAt is where a JSON text ends to make sense. The decoder's own words may quote the text.
func damagedAt(d *json.Decoder, err error) int64 {
	if s, ok := errors.AsType[*json.SyntaxError](err); ok {
		return s.Offset
	}
	return d.InputOffset()
}
