package identity

import (
	"crypto/ecdsa"
	"errors"
	"fmt"
	"maps"
	"time"
)

// Bounds of tokens.
const (
	maxTokens     = 1000
	maxTokenValid = 30 * 24 * time.Hour
	// remembered is how long a token is known after it has expired, so that who comes late is told why.
	remembered = 7 * 24 * time.Hour
)

// NewToken makes a token that lets one agent join while it is valid, at most 30 days. With a name it approves that name, and is good for no
// other; without one it is good for any name, and the agent is pending until it is approved. The result is the token in print: a
// secret, which is not kept.
func (a *Authority) NewToken(name string, valid time.Duration, by string) (string, error) {
	if name != "" {
		if err := CheckName(name); err != nil {
			return "", fmt.Errorf("cannot make a token for %.210q: %w", name, err)
		}
	}
	if valid <= 0 || valid > maxTokenValid {
		return "", fmt.Errorf("cannot make a token that is valid for %v: choose more than 0 and at most %v", valid, maxTokenValid)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	next, live := map[string]token{}, 0
	for h, t := range a.tokens {
		_, spent := a.agents.Spent[h]
		switch {
		case spent, now.Sub(t.Expires) > remembered:
			continue
		case now.Before(t.Expires):
			live++
		}
		next[h] = t
	}
	if live >= maxTokens {
		return "", fmt.Errorf("cannot make a token: %d are waiting to be used; wait until some of them have expired", live)
	}
	t := newToken(a.Fingerprint())
	next[hashOf(t.Secret())] = token{Name: name, Expires: now.Add(valid).UTC(), By: by}
	dropExpired(next, now)
	if err := writeJSON(a.path(tokensFile), next); err != nil {
		return "", fmt.Errorf("cannot make a token: %w", err)
	}
	a.tokens = next
	return t.Reveal(), nil
}

// dropExpired forgets those that have expired where there are more tokens than a controller keeps.
func dropExpired(tokens map[string]token, now time.Time) {
	if len(tokens) > 2*maxTokens {
		maps.DeleteFunc(tokens, func(_ string, t token) bool { return !now.Before(t.Expires) })
	}
}

// Enrolled is the answer to an agent that joins.
type Enrolled struct {
	CA          []byte `json:"ca"`                    // certificate of the controller's authority, in PEM
	Certificate []byte `json:"certificate,omitempty"` // the agent's, in PEM; none while it is pending
	Pending     bool   `json:"pending,omitempty"`     // ask again, with the same secret and request
}

// Enrol lets an agent in that shows the secret of a token and a request for a certificate in that name, in PEM. What the controller does
// not do is a Refused; any other error is its own trouble, and the agent may ask again. When it returns without an error, the token
// is spent for good, and the same agent (the same secret, name and key) may ask again and is answered the same, also when the token has
// expired since. So it is how a pending agent asks whether it was approved.
func (a *Authority) Enrol(secret, name string, csrPEM []byte) (Enrolled, error) {
	if err := CheckName(name); err != nil {
		return Enrolled{}, &Refused{Why: BadName, Err: err}
	}
	h := hashOf(secret)
	a.mu.Lock()
	defer a.mu.Unlock()
	have, known := a.agents.Agents[name]
	t, made := a.tokens[h]
	_, spent := a.agents.Spent[h]
	repeated := known && have.Token == h
	if !made && !spent && !repeated { // before anything that costs more: this is for everybody to call
		return Enrolled{}, refuse(TokenUnknown, name)
	}
	asked, public, err := parseRequest(csrPEM)
	if err == nil && asked != name {
		err = errors.New("it is for another name")
	}
	if err != nil {
		return Enrolled{}, &Refused{Why: BadRequest, Name: name, Err: fmt.Errorf("cannot use the request for a certificate: %w", err)}
	}
	key, err := keyFingerprint(public)
	if err != nil {
		return Enrolled{}, err
	}
	now := a.now()
	if repeated && have.Key == key {
		return a.again(name, have, public, now)
	}
	switch {
	case spent || repeated:
		return Enrolled{}, refuse(TokenUsed, name)
	case !now.Before(t.Expires):
		return Enrolled{}, refuse(TokenExpired, name)
	case t.Name != "" && t.Name != name:
		return Enrolled{}, refuse(TokenForAnother, name)
	case t.Name == "" && known && have.State != Revoked && have.Key != key:
		return Enrolled{}, refuse(NameTaken, name)
	case !known && len(a.agents.Agents) >= maxAgents:
		return Enrolled{}, refuse(TooMany, name)
	}
	next := agent{State: Pending, Since: now.UTC(), By: t.By, Key: key, Token: h}
	switch {
	case t.Name != "":
		next.State = Approved
	case known && have.State == Approved: // with the key that it has
		next.State, next.Since, next.By = Approved, have.Since, have.By
	}
	if next.State == Approved {
		if next, err = a.certify(name, next, public, now); err != nil {
			return Enrolled{}, err
		}
	}
	return a.answer(name, next, a.spend(h, t, now))
}

// again answers an agent that repeats itself.
func (a *Authority) again(name string, g agent, public *ecdsa.PublicKey, now time.Time) (Enrolled, error) {
	if g.State == Revoked {
		return Enrolled{}, refuse(WasRevoked, name)
	}
	cert := g.cert()
	if g.State == Approved && cert == nil {
		g, err := a.certify(name, g, public, now)
		if err != nil {
			return Enrolled{}, err
		}
		return a.answer(name, g, a.agents)
	}
	if cert != nil && !validAt(cert, now) {
		return Enrolled{}, refuse(CertificateExpired, name)
	}
	return a.enrolled(g), nil
}

// spend is the registry with a token marked as used, and without those marks that are of no use: the token has long expired, and is not
// kept any more either, so not even a clock that is set back makes it good again.
func (a *Authority) spend(h string, t token, now time.Time) registry {
	r := registry{a.agents.Agents, map[string]time.Time{h: t.Expires}}
	for other, expires := range a.agents.Spent {
		if _, kept := a.tokens[other]; kept || now.Sub(expires) <= remembered {
			r.Spent[other] = expires
		}
	}
	return r
}

// answer keeps an entry, and then tells the agent.
func (a *Authority) answer(name string, g agent, r registry) (Enrolled, error) {
	if err := a.keep(r.with(name, g)); err != nil {
		return Enrolled{}, fmt.Errorf("cannot enrol %s: %w", name, err)
	}
	return a.enrolled(g), nil
}

func (a *Authority) enrolled(g agent) Enrolled {
	e := Enrolled{CA: certPEM(a.ca.cert), Pending: g.State == Pending}
	if g.Certificate != "" {
		e.Certificate = []byte(g.Certificate)
	}
	return e
}
