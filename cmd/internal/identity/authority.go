package identity

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// Names of the controller's files.
const (
	caFile     = "ca.pem"
	agentsFile = "agents.json"
	tokensFile = "tokens.json"
	serverFile = "server.pem"
)

// Authority is the controller's side. Its methods may be called from several goroutines.
type Authority struct {
	dir   string
	now   func() time.Time
	local func() ([]string, error) // names and addresses of this machine, for the server's certificate
	ca    pair

	mu     sync.Mutex // over all below, and the files that they are kept in
	agents registry
	tokens map[string]token // by hash
}

// registry is agents.json.
type registry struct {
	Agents map[string]agent `json:"agents"` // by name
	// Spent are the hashes of tokens that were used, and when they expire. They are kept with the agents, so that one write both
	// lets somebody in and spends the token.
	Spent map[string]time.Time `json:"spent"`
}

// agent is what the registry knows of a name.
type agent struct {
	State State     `json:"state"`
	Since time.Time `json:"since"`
	By    string    `json:"by"`
	Key   string    `json:"key"`   // fingerprint
	Token string    `json:"token"` // hash of the one it came with; who has both that and the key repeats itself
	// Certificate is the newest, in PEM; empty until the agent got one.
	Certificate string `json:"certificate,omitempty"`
}

// token is what is kept of a token.
type token struct {
	Name    string    `json:"name"` // empty: for anybody
	Expires time.Time `json:"expires"`
	By      string    `json:"by"`
}

// Open reads the state of a controller, and makes it where there is none at all. The clock is now's. A file that is missing while others
// are there, that cannot be understood, or that does not go with the others is a Damaged.
func Open(dir string, now func() time.Time) (*Authority, error) {
	a := &Authority{dir: dir, now: now, local: localNames}
	if err := ready(dir, caFile, agentsFile, tokensFile, serverFile); err != nil {
		return nil, fmt.Errorf("cannot keep the fleet's identities: %w", err)
	}
	text, err := read(a.path(caFile), maxPEM)
	if errors.Is(err, fs.ErrNotExist) {
		err = a.found()
	} else if err == nil {
		err = a.load(text)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open the fleet's identities: %w", err)
	}
	if t := now(); !validAt(a.ca.cert, t) {
		return nil, fmt.Errorf("cannot open the fleet's identities: the certificate authority is valid from %s to %s, and this machine's clock says %s; set the clock, or move %s away and enrol all agents again",
			a.ca.cert.NotBefore.Format(time.RFC3339), a.ca.cert.NotAfter.Format(time.RFC3339), t.UTC().Format(time.RFC3339), dir)
	}
	return a, nil
}

func (a *Authority) path(file string) string { return filepath.Join(a.dir, file) }

// found makes everything. The authority is written last: whatever is there without it was not in use yet.
func (a *Authority) found() error {
	a.agents, a.tokens = registry{map[string]agent{}, map[string]time.Time{}}, map[string]token{}
	var have registry
	if err := readJSON(a.path(agentsFile), &have); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	tokens := map[string]token{}
	if err := readJSON(a.path(tokensFile), &tokens); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	server, err := exists(a.path(serverFile))
	if err != nil {
		return err
	}
	if len(have.Agents) > 0 || len(have.Spent) > 0 || len(tokens) > 0 || server {
		return &Damaged{a.path(caFile), errors.New("it is missing, while other files of a fleet are there; restore it, or move them all away and enrol all agents again")}
	}
	if err := writeJSON(a.path(agentsFile), a.agents); err != nil {
		return err
	}
	if err := writeJSON(a.path(tokensFile), a.tokens); err != nil {
		return err
	}
	if a.ca, err = newCA(a.now()); err != nil {
		return err
	}
	text, err := a.ca.encode()
	if err != nil {
		return err
	}
	return write(a.path(caFile), text)
}

// load reads everything, and sees that it holds together.
func (a *Authority) load(ca []byte) (err error) {
	if a.ca, err = decodePair(ca); err == nil {
		err = checkCA(a.ca.cert)
	}
	if err != nil {
		return &Damaged{a.path(caFile), err}
	}
	for file, v := range map[string]any{agentsFile: &a.agents, tokensFile: &a.tokens} {
		err := readJSON(a.path(file), v)
		if errors.Is(err, fs.ErrNotExist) {
			return &Damaged{a.path(file), errors.New("it is missing; restore it, or move the whole folder away and enrol all agents again")}
		}
		if err != nil {
			return err
		}
	}
	if a.agents.Agents == nil || a.agents.Spent == nil {
		return &Damaged{a.path(agentsFile), errors.New("something is missing in it")}
	}
	if a.tokens == nil {
		return &Damaged{a.path(tokensFile), errors.New("something is missing in it")}
	}
	for name, g := range a.agents.Agents {
		if err := a.checkEntry(name, g); err != nil {
			return &Damaged{a.path(agentsFile), fmt.Errorf("the entry %.200q does not hold together: %w", name, err)}
		}
	}
	for h := range a.agents.Spent {
		if !isHash(h) {
			return &Damaged{a.path(agentsFile), errors.New("a spent token does not hold together")}
		}
	}
	for h, t := range a.tokens {
		if !isHash(h) || t.Name != "" && CheckName(t.Name) != nil || t.Expires.IsZero() {
			return &Damaged{a.path(tokensFile), errors.New("a token does not hold together")}
		}
	}
	return nil
}

// checkEntry says what is wrong with an entry of the registry.
func (a *Authority) checkEntry(name string, g agent) error {
	if err := CheckName(name); err != nil {
		return err
	}
	if !slices.Contains([]State{Pending, Approved, Revoked}, g.State) {
		return fmt.Errorf("there is no state %.40q", g.State)
	}
	if !isHash(g.Key) || !isHash(g.Token) || g.Since.IsZero() {
		return errors.New("something is missing in it")
	}
	if g.Certificate == "" {
		return nil
	}
	if g.State == Pending {
		return errors.New("it is pending, and has a certificate")
	}
	cert, err := parseCert([]byte(g.Certificate))
	if err != nil {
		return fmt.Errorf("its certificate: %w", err)
	}
	if err := checkAgent(cert, a.ca.cert); err != nil {
		return err
	}
	if key, err := keyFingerprint(cert.PublicKey); err != nil || key != g.Key || cert.Subject.CommonName != name {
		return errors.New("its certificate is another's")
	}
	return nil
}

// isHash says whether a text may be what hashOf returns.
func isHash(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == sha256.Size
}

// Fingerprint is the SHA-256 of the authority's certificate, as tokens have it.
func (a *Authority) Fingerprint() [32]byte { return sha256.Sum256(a.ca.cert.Raw) }
