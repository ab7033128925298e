package identity

import (
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// State is what the registry says of an agent.
type State string

// The states.
const (
	Pending  State = "pending"  // it asked to be let in, with a token for anybody
	Approved State = "approved" // its certificate is good
	Revoked  State = "revoked"  // nothing of it is good
)

// maxAgents bounds the registry.
const maxAgents = 10000

// Member is an agent as people see it.
type Member struct {
	Name  string    `json:"name"`
	State State     `json:"state"`
	Since time.Time `json:"since"` // of the state
	By    string    `json:"by"`    // who brought it into that state; for a pending one, who made its token
	Key   string    `json:"key"`   // fingerprint of its public key: SHA-256 in hex
	// Expires is when its newest certificate does; zero where it has none yet.
	Expires time.Time `json:"expires,omitzero"`
}

// ErrNoAgent says that the registry has no agent of a name.
var ErrNoAgent = errors.New("there is no agent of that name")

// Agents of the registry, by name.
func (a *Authority) Agents() []Member {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make([]Member, 0, len(a.agents.Agents))
	for _, name := range slices.Sorted(maps.Keys(a.agents.Agents)) {
		g := a.agents.Agents[name]
		m := Member{Name: name, State: g.State, Since: g.Since, By: g.By, Key: g.Key}
		if cert := g.cert(); cert != nil {
			m.Expires = cert.NotAfter
		}
		out = append(out, m)
	}
	return out
}

// cert is the newest certificate of an entry, or nil.
func (g agent) cert() *x509.Certificate {
	cert, err := parseCert([]byte(g.Certificate))
	if err != nil { // none: what is in the file was looked at when it was read
		return nil
	}
	return cert
}

// Approve lets a pending agent in; it gets its certificate when it asks again. One that is approved stays as it is. One that was revoked
// has to enrol again. Who says so is kept in by.
func (a *Authority) Approve(name, by string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	g, ok := a.agents.Agents[name]
	switch {
	case !ok:
		return fmt.Errorf("cannot approve %q: %w", name, ErrNoAgent)
	case g.State == Approved:
		return nil
	case g.State == Revoked:
		return fmt.Errorf("cannot approve %s: it was revoked; make a token for it and let it enrol again", name)
	}
	g.State, g.Since, g.By = Approved, a.now().UTC(), by
	if err := a.keep(a.agents.with(name, g)); err != nil {
		return fmt.Errorf("cannot approve %s: %w", name, err)
	}
	return nil
}

// Revoke shuts an agent out, pending or approved: Check refuses it from now on. Connections that it has are the caller's to close. Where
// that cannot be written down, the agent is shut out all the same, until the controller starts anew, and there is an error.
func (a *Authority) Revoke(name, by string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	g, ok := a.agents.Agents[name]
	switch {
	case !ok:
		return fmt.Errorf("cannot revoke %q: %w", name, ErrNoAgent)
	case g.State == Revoked:
		// It may be known to this process alone, so it is written again.
	default:
		g.State, g.Since, g.By = Revoked, a.now().UTC(), by
	}
	next := a.agents.with(name, g)
	if err := a.keep(next); err != nil {
		a.agents = next
		return fmt.Errorf("cannot write down that %s is revoked: %w; it is shut out until the controller starts again, so repeat this when the cause is gone", name, err)
	}
	return nil
}

// Check says whose certificate it is that a connection has shown. It is a Refused unless the registry has its name as approved, with the
// certificate's key, and it is valid now. The proof that the other end has the key is TLS's.
func (a *Authority) Check(cert *x509.Certificate) (name string, err error) {
	if cert == nil || checkAgent(cert, a.ca.cert) != nil {
		return "", refuse(CertificateForeign, "")
	}
	name = cert.Subject.CommonName
	key, err := keyFingerprint(cert.PublicKey)
	if err != nil {
		return "", refuse(CertificateForeign, name)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, err := a.approved(name, key); err != nil {
		return "", err
	}
	if !validAt(cert, a.now()) {
		return "", refuse(CertificateExpired, name)
	}
	return name, nil
}

// approved is the entry of an agent that is approved with a key.
func (a *Authority) approved(name, key string) (agent, error) {
	g, ok := a.agents.Agents[name]
	switch {
	case !ok:
		return agent{}, refuse(NotKnown, name)
	case g.State == Revoked:
		return agent{}, refuse(WasRevoked, name)
	case g.Key != key:
		return agent{}, refuse(OtherKey, name)
	case g.State != Approved:
		return agent{}, refuse(NotApproved, name)
	}
	return g, nil
}

// Renew makes a new certificate for an approved agent, for the key that it has. The name is what Check said of the connection that the
// request came by, and the request has to be for that name. An agent whose newest certificate has more than half of its life left gets
// that one: an answer may have been lost, and nobody fills the disk by asking.
func (a *Authority) Renew(name string, csrPEM []byte) (cert []byte, err error) {
	asked, public, err := parseRequest(csrPEM)
	if err == nil && asked != name {
		err = errors.New("it is for another name")
	}
	if err != nil {
		return nil, &Refused{Why: BadRequest, Name: name, Err: fmt.Errorf("cannot use the request for a certificate: %w", err)}
	}
	key, err := keyFingerprint(public)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	g, err := a.approved(name, key)
	if err != nil {
		return nil, err
	}
	now := a.now()
	if have := g.cert(); have != nil && validAt(have, now) && !lessLeft(have, 2, now) {
		return []byte(g.Certificate), nil
	}
	if g, err = a.certify(name, g, public, now); err != nil {
		return nil, err
	}
	if err := a.keep(a.agents.with(name, g)); err != nil {
		return nil, fmt.Errorf("cannot renew the certificate of %s: %w", name, err)
	}
	return []byte(g.Certificate), nil
}

// certify gives an entry a new certificate.
func (a *Authority) certify(name string, g agent, public any, now time.Time) (agent, error) {
	cert, err := a.ca.signAgent(name, public, now)
	if err != nil {
		return g, err
	}
	g.Certificate = string(certPEM(cert))
	return g, nil
}

// with is the registry with another entry under a name. The one before is as it was.
func (r registry) with(name string, g agent) registry {
	r.Agents = maps.Clone(r.Agents)
	r.Agents[name] = g
	return r
}

// keep makes a registry the one that counts: on disk first, so that nobody acts on what a crash takes back.
func (a *Authority) keep(next registry) error {
	if err := writeJSON(a.path(agentsFile), next); err != nil {
		return err
	}
	a.agents = next
	return nil
}
