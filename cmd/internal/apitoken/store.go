package apitoken

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/zeekrec/zeekrec/cmd/internal/api"
	"github.com/zeekrec/zeekrec/cmd/internal/identity"
)

// Bounds of tokens.
const (
	maxTokens = 1000
	maxName   = 64
	// MaxValid is the longest that a token can be good for.
	MaxValid = 10 * 365 * 24 * time.Hour
	// writeEvery is how often the times of the last uses are written.
	writeEvery = time.Minute
)

// Why a token opens nothing. Their texts are for whoever shows it, and say nothing about others.
var (
	errUnknown = &api.Error{Text: "the token is not known: it was revoked, or is of another zeekrec; ask for a new one (zeekrec tokens new)", Code: api.CodeUnauthorized}
	errExpired = &api.Error{Text: "the token has expired; ask for a new one (zeekrec tokens new)", Code: api.CodeUnauthorized}
	errNone    = &api.Error{Text: identity.ErrNoAPIToken.Error(), Code: api.CodeUnauthorized}
)

// errNotServed is why no token is made where nobody could use it.
var errNotServed = errors.New("cannot make a token: this zeekrec serves nobody on other machines; start it with --serve HOST:PORT")

// Store is the tokens of one zeekrec; it is an api.Tokens.
type Store struct {
	path        string
	fingerprint *[32]byte
	now         func() time.Time

	damaged error

	writing sync.Mutex // over the file; taken before mu
	// A disk that is slow to take a change holds up nobody who is checked.
	mu     sync.Mutex
	tokens []*token // by name; the list is replaced, never changed
	used   bool     // some were used since the file was written
}

// token is what is kept of one.
type token struct {
	Name    string    `json:"name"`
	Role    api.Role  `json:"role"`
	Hash    string    `json:"hash"` // SHA-256 of the secret, in hex
	Since   time.Time `json:"since"`
	By      string    `json:"by"`
	Expires time.Time `json:"expires"`
	Used    time.Time `json:"last_used,omitzero"`

	revoked bool
	ended   chan struct{} // closed when it is revoked
}

// Open reads the tokens in a file; one that is missing has none. Where it cannot be used, that is what every method returns, and Err.
// Tokens that are made carry the fingerprint of the authority whose certificate the server shows; nil: none can be made.
func Open(path string, fingerprint *[32]byte, now func() time.Time) *Store {
	s := &Store{path: path, fingerprint: fingerprint, now: now}
	s.tokens, s.damaged = load(path)
	return s
}

// Err is why the file cannot be used.
func (s *Store) Err() error { return s.damaged }

// Run writes down when tokens were last used, until ctx ends, and once more then.
func (s *Store) Run(ctx context.Context, log *slog.Logger) error {
	tick := time.NewTicker(writeEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
		if err := s.flush(); err != nil {
			log.Warn("Cannot write down when tokens were last used", "error", err)
		}
	}
	return nil
}

func (s *Store) flush() error {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	used := s.used
	s.mu.Unlock()
	if !used {
		return nil
	}
	return s.keep(s.tokens)
}

// keep makes tokens those that count: on disk first. Whoever calls it holds writing.
func (s *Store) keep(tokens []*token) error {
	s.mu.Lock()
	b, err := encode(tokens)
	s.used = false
	s.mu.Unlock()
	if err == nil {
		err = save(s.path, b)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.used = true
		return err
	}
	s.tokens = tokens
	return nil
}

// List has all tokens that were made and not revoked, by name; those that have expired too.
func (s *Store) List() ([]api.Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]api.Token, 0, len(s.tokens))
	for _, t := range s.tokens {
		out = append(out, api.Token{Name: t.Name, Role: t.Role, Since: t.Since, By: t.By, Expires: t.Expires, Used: t.Used})
	}
	return out, s.damaged
}

// New makes a token under a name of its own, with a role, which is good for a time, and returns it in print: a secret, which is not kept.
// The name of one that has expired is free. Who asks for it is kept in by.
func (s *Store) New(name string, role api.Role, valid time.Duration, by string) (string, error) {
	if err := checkName(name); err != nil {
		return "", fmt.Errorf("cannot make a token: %w", err)
	}
	switch {
	case role != api.RoleView && role != api.RoleOperate:
		return "", fmt.Errorf("cannot make a token for the role %.40q: there are %s and %s", role, api.RoleView, api.RoleOperate)
	case valid <= 0 || valid > MaxValid:
		return "", fmt.Errorf("cannot make a token that is valid for %v: choose more than 0 and at most %d days", valid, MaxValid/(24*time.Hour))
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	now := s.now().UTC()
	i, there := s.find(name)
	switch {
	case s.damaged != nil:
		return "", s.damaged
	case s.fingerprint == nil:
		return "", errNotServed
	case there && !s.tokens[i].revoked && now.Before(s.tokens[i].Expires):
		return "", fmt.Errorf("cannot make a token: there is one of the name %s; choose another name, or revoke it first", name)
	case !there && len(s.tokens) >= maxTokens:
		return "", fmt.Errorf("cannot make a token: there are %d; revoke those that are not used any more", maxTokens)
	}
	made := identity.NewAPIToken(*s.fingerprint)
	t := &token{Name: name, Role: role, Hash: hashOf(made), Since: now, By: by, Expires: now.Add(valid), ended: make(chan struct{})}
	next := slices.Clone(s.tokens)
	if there {
		next[i] = t
	} else {
		next = slices.Insert(next, i, t)
	}
	if err := s.keep(next); err != nil {
		return "", fmt.Errorf("cannot make a token: %w", err)
	}
	return made.Reveal(), nil
}

// Revoke makes a token worthless, and ends what is under way with it. Where that cannot be written down, it is worthless all the same,
// until zeekrec starts anew, and there is an error.
func (s *Store) Revoke(name string) error {
	if s.damaged != nil {
		return s.damaged
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	i, there := s.find(name)
	if !there {
		return &api.Error{Text: fmt.Sprintf("cannot revoke %.80q: there is no token of that name", name), Code: api.CodeNotFound}
	}
	s.end(s.tokens[i]) // before it is on disk: who revokes should not have to wait for that
	if err := s.keep(slices.Delete(slices.Clone(s.tokens), i, i+1)); err != nil {
		return fmt.Errorf("cannot write down that %s is revoked: %w; it is worth nothing until zeekrec starts again, so repeat this when the cause is gone", name, err)
	}
	return nil
}

// end makes a token worthless. It may be called again.
func (s *Store) end(t *token) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t.revoked = true
	select {
	case <-t.ended:
	default:
		close(t.ended)
	}
}

// Check says whose a token in print is. Its errors are *api.Error where the token opens nothing, and then Caller has the name, if that is
// known; any other is the file's.
func (s *Store) Check(text string) (api.Caller, error) {
	shown, err := identity.ParseAPIToken(text)
	if err != nil {
		return api.Caller{}, errNone
	}
	hash := []byte(hashOf(shown))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.damaged != nil {
		return api.Caller{}, s.damaged
	}
	// All are compared, and in constant time, so that nothing can be learnt from how long it takes.
	var found *token
	for _, t := range s.tokens {
		if subtle.ConstantTimeCompare(hash, []byte(t.Hash)) == 1 {
			found = t
		}
	}
	if found == nil || found.revoked {
		return api.Caller{}, errUnknown
	}
	now := s.now().UTC()
	if !now.Before(found.Expires) {
		return api.Caller{Name: found.Name}, errExpired
	}
	found.Used, s.used = now, true
	return api.Caller{Name: found.Name, Role: found.Role, Expires: found.Expires, Ended: found.ended}, nil
}

// find is where a name is, or belongs.
func (s *Store) find(name string) (int, bool) {
	return slices.BinarySearchFunc(s.tokens, name, func(t *token, name string) int { return strings.Compare(t.Name, name) })
}

// hashOf is how a token is kept.
func hashOf(t identity.Token) string {
	h := sha256.Sum256([]byte(t.Secret()))
	return hex.EncodeToString(h[:])
}

// checkName says why a name is none for a token. It is shown in the history, so it is safe in a line of text.
func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("its name cannot be empty")
	case len(name) > maxName:
		return fmt.Errorf("its name has at most %d bytes", maxName)
	case name[0] == '-' || name[0] == '.':
		return errors.New("its name cannot begin with '-' or '.'")
	case strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("._-@", r)
	}):
		return errors.New("its name has only letters, digits, '.', '_', '-' and '@'")
	}
	return nil
}
