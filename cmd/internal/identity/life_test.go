package identity_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/cmd/internal/identity"
)

const maxValid = 30 * day

// TestWholeLife is an agent from its token to its revocation, over real connections.
func TestWholeLife(t *testing.T) {
	a, clock, controllerDir := fresh(t)
	server := serverTLS(t, a)
	dir := filepath.Join(t.TempDir(), "agent")
	if _, err := identity.Load(dir); err == nil || err.Error() != "this agent is not enrolled: there is no certificate in "+dir+"; make a token on the controller, and join with it" {
		t.Errorf("before: %v", err)
	}

	tok := tokenFor(t, a, "sensor1")
	csr := request(t, dir, "sensor1")
	if seen, _ := connected(t, server, identity.JoinTLS(tok.Fingerprint)); len(seen.PeerCertificates) != 0 {
		t.Error("a joining agent has shown a certificate")
	}
	e, err := a.Enrol(tok.Secret(), "sensor1", csr)
	if err != nil || e.Pending {
		t.Fatalf("enrolled: %+v, %v", e, err)
	}
	if _, err := identity.Load(dir); err == nil {
		t.Error("enrolled before the answer was taken")
	}
	id := accept(t, dir, e)
	if id.Name() != "sensor1" || !slices.Equal(id.Addresses(), []string{"controller.example:4222"}) || !id.Expires().Equal(clock.now().Add(90*day)) {
		t.Errorf("%s, %v, %v", id.Name(), id.Addresses(), id.Expires())
	}

	dial := id.TLS()
	dial.Time = clock.now
	check := func() (string, error) {
		t.Helper()
		seen, _ := connected(t, server, dial)
		return a.Check(seen.PeerCertificates[0])
	}
	if name, err := check(); name != "sensor1" || err != nil {
		t.Errorf("checked: %q, %v", name, err)
	}
	key, err := identity.RequestFingerprint(csr)
	if err != nil {
		t.Fatal(err)
	}
	want := identity.Member{Name: "sensor1", State: identity.Approved, Since: clock.now().UTC(), By: "anna", Key: key, Expires: id.Expires()}
	if got := a.Agents(); len(got) != 1 || got[0] != want {
		t.Errorf("the registry: %+v, want %+v", got, want)
	}

	// Renewal: not before two thirds of the life are over; then without a new configuration.
	clock.add(60*day - time.Hour)
	if id.NeedsRenewal(clock.now()) {
		t.Error("renewal too early")
	}
	_, before := connected(t, server, dial)
	clock.add(time.Hour)
	if !id.NeedsRenewal(clock.now()) {
		t.Error("no renewal when it is time")
	}
	text, err := a.Renew("sensor1", request(t, dir, "sensor1"))
	if err != nil {
		t.Fatal(err)
	}
	if err := id.Renewed(text); err != nil {
		t.Fatal(err)
	}
	if id.NeedsRenewal(clock.now()) || !id.Expires().Equal(clock.now().Add(90*day)) || !load(t, dir).Expires().Equal(id.Expires()) {
		t.Errorf("renewed until %v", id.Expires())
	}
	seen, after := connected(t, server, dial)
	if !seen.PeerCertificates[0].Equal(agentCert(t, text)) {
		t.Error("the old certificate is still shown")
	}
	if name, err := a.Check(seen.PeerCertificates[0]); name != "sensor1" || err != nil {
		t.Errorf("checked with the new one: %q, %v", name, err)
	}
	if before.PeerCertificates[0].Equal(after.PeerCertificates[0]) || !after.PeerCertificates[0].NotAfter.Equal(clock.now().Add(90*day)) {
		t.Error("the controller has not renewed its own certificate")
	}

	// Past the old certificates' life the new ones are good, also after a restart of both.
	clock.add(59 * day)
	a = open(t, controllerDir, clock.now)
	server, id = serverTLS(t, a), load(t, dir)
	dial = id.TLS()
	dial.Time = clock.now
	if name, err := check(); name != "sensor1" || err != nil {
		t.Errorf("after a restart: %q, %v", name, err)
	}

	if err := a.Revoke("sensor1", "bert"); err != nil {
		t.Fatal(err)
	}
	const revoked = "the controller refuses sensor1: it was revoked; make a new token on the controller and enrol again to let it in"
	_, err = check()
	refused(t, err, identity.WasRevoked, revoked)
	_, err = a.Renew("sensor1", csr)
	refused(t, err, identity.WasRevoked, revoked)
	_, err = a.Enrol(tok.Secret(), "sensor1", csr)
	refused(t, err, identity.WasRevoked, revoked)
	a = open(t, controllerDir, clock.now)
	_, err = check()
	refused(t, err, identity.WasRevoked, revoked)
	if err := a.Approve("sensor1", "bert"); err == nil || err.Error() != "cannot approve sensor1: it was revoked; make a token for it and let it enrol again" {
		t.Errorf("approving a revoked one: %v", err)
	}

	// A new token lets it in again, with the key that it has.
	e, err = a.Enrol(tokenFor(t, a, "sensor1").Secret(), "sensor1", request(t, dir, "sensor1"))
	if err != nil {
		t.Fatal(err)
	}
	dial = accept(t, dir, e).TLS()
	dial.Time = clock.now
	if name, err := check(); name != "sensor1" || err != nil {
		t.Errorf("let in again: %q, %v", name, err)
	}
}

func TestExpiredAgentIsRefused(t *testing.T) {
	a, clock, _ := fresh(t)
	server := serverTLS(t, a)
	id, dir := enrol(t, a, "sensor1")
	dial := id.TLS()
	dial.Time = clock.now
	clock.add(90*day + time.Second)
	if _, _, err, _ := connect(t, server, dial); err == nil || !strings.Contains(err.Error(), "certificate has expired") {
		t.Errorf("the server: %v", err)
	}
	_, err := a.Check(certOf(t, dir))
	refused(t, err, identity.CertificateExpired, "the controller refuses sensor1: its certificate is not valid at this time; look at the clocks of both hosts, or make a new token on the controller and enrol again")
	// The way out that it tells.
	e, err := a.Enrol(tokenFor(t, a, "sensor1").Secret(), "sensor1", request(t, dir, "sensor1"))
	if err != nil {
		t.Fatal(err)
	}
	if name, err := a.Check(agentCert(t, e.Certificate)); name != "sensor1" || err != nil {
		t.Errorf("enrolled again: %q, %v", name, err)
	}
}

func TestPending(t *testing.T) {
	a, clock, controllerDir := fresh(t)
	tok, dir := tokenFor(t, a, ""), filepath.Join(t.TempDir(), "agent")
	csr := request(t, dir, "sensor2")
	ask := func() identity.Enrolled {
		t.Helper()
		e, err := a.Enrol(tok.Secret(), "sensor2", csr)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	e := ask()
	if !e.Pending || len(e.Certificate) != 0 || len(e.CA) == 0 {
		t.Fatalf("at first: %+v", e)
	}
	if err := identity.Accept(dir, e, []string{"x:1"}); err == nil || err.Error() != "cannot enrol: the agent was not approved on the controller yet" {
		t.Errorf("accepting what is pending: %v", err)
	}
	// Nobody else takes the name meanwhile.
	other := request(t, t.TempDir(), "sensor2")
	_, err := a.Enrol(tokenFor(t, a, "").Secret(), "sensor2", other)
	refused(t, err, identity.NameTaken, "the controller refuses sensor2: there is an agent of that name with another key; if this is its host, built anew, make a token for that name on the controller, else choose another name")
	joined := clock.now().UTC()
	clock.add(5 * day) // the token has long expired
	a = open(t, controllerDir, clock.now)
	if again := ask(); !again.Pending || !bytes.Equal(again.CA, e.CA) {
		t.Errorf("asked again: %+v", again)
	}
	if got := a.Agents(); len(got) != 1 || got[0].State != identity.Pending || got[0].Since != joined || got[0].By != "anna" || !got[0].Expires.IsZero() {
		t.Errorf("the registry: %+v", got)
	}
	_, err = a.Renew("sensor2", csr)
	refused(t, err, identity.NotApproved, "the controller refuses sensor2: it was not approved yet")
	if err := a.Approve("sensor2", "bert"); err != nil {
		t.Fatal(err)
	}
	e = ask()
	if e.Pending {
		t.Error("pending after the approval")
	}
	accept(t, dir, e)
	if name, err := a.Check(certOf(t, dir)); name != "sensor2" || err != nil {
		t.Errorf("checked: %q, %v", name, err)
	}
	approved := clock.now().UTC()
	clock.add(time.Hour)
	if err := a.Approve("sensor2", "carl"); err != nil {
		t.Errorf("approving once more: %v", err)
	}
	if got := a.Agents(); len(got) != 1 || got[0].State != identity.Approved || got[0].Since != approved || got[0].By != "bert" || !got[0].Expires.Equal(approved.Add(90*day)) {
		t.Errorf("the registry: %+v", got)
	}
	if again := ask(); !bytes.Equal(again.Certificate, e.Certificate) {
		t.Error("another certificate for the same question")
	}
	// Its token is spent for everybody else.
	_, err = a.Enrol(tok.Secret(), "sensor3", request(t, t.TempDir(), "sensor3"))
	refused(t, err, identity.TokenUsed, "the controller refuses sensor3: the token was used already; make a new token on the controller")
}

func TestNobodyToApproveOrRevoke(t *testing.T) {
	a, _, _ := fresh(t)
	for what, err := range map[string]error{"approve": a.Approve("x", "anna"), "revoke": a.Revoke("x", "anna")} {
		if !errors.Is(err, identity.ErrNoAgent) || err.Error() != "cannot "+what+" \"x\": there is no agent of that name" {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestRebuiltHost: a token in its name lets a host with a new key in, and the old key out.
func TestRebuiltHost(t *testing.T) {
	a, _, _ := fresh(t)
	_, oldDir := enrol(t, a, "sensor1")
	newDir := filepath.Join(t.TempDir(), "agent")
	csr := request(t, newDir, "sensor1")
	anybody := tokenFor(t, a, "")
	_, err := a.Enrol(anybody.Secret(), "sensor1", csr)
	refused(t, err, identity.NameTaken, "the controller refuses sensor1: there is an agent of that name with another key; if this is its host, built anew, make a token for that name on the controller, else choose another name")
	if name, err := a.Check(certOf(t, oldDir)); name != "sensor1" || err != nil {
		t.Errorf("the old one: %q, %v", name, err)
	}
	e, err := a.Enrol(tokenFor(t, a, "sensor1").Secret(), "sensor1", csr)
	if err != nil {
		t.Fatal(err)
	}
	accept(t, newDir, e)
	if name, err := a.Check(certOf(t, newDir)); name != "sensor1" || err != nil {
		t.Errorf("the new one: %q, %v", name, err)
	}
	_, err = a.Check(certOf(t, oldDir))
	refused(t, err, identity.OtherKey, "the controller refuses sensor1: the agent of that name has another key by now; make a new token on the controller and enrol again")
	_, err = a.Renew("sensor1", request(t, oldDir, "sensor1"))
	refused(t, err, identity.OtherKey, "the controller refuses sensor1: the agent of that name has another key by now; make a new token on the controller and enrol again")

	// A refusal has not spent the token for anybody; with it a revoked name may ask, with whatever key.
	if err := a.Revoke("sensor1", "anna"); err != nil {
		t.Fatal(err)
	}
	if e, err := a.Enrol(anybody.Secret(), "sensor1", request(t, oldDir, "sensor1")); err != nil || !e.Pending {
		t.Errorf("a revoked name with a token for anybody: %+v, %v", e, err)
	}
	_, err = a.Check(certOf(t, oldDir))
	refused(t, err, identity.NotApproved, "the controller refuses sensor1: it was not approved yet")
	_, err = a.Check(certOf(t, newDir))
	refused(t, err, identity.OtherKey, "the controller refuses sensor1: the agent of that name has another key by now; make a new token on the controller and enrol again")
}

// TestSameKeyStaysApproved: an agent that lost its certificate, not its key, needs no second approval.
func TestSameKeyStaysApproved(t *testing.T) {
	a, _, _ := fresh(t)
	_, dir := enrol(t, a, "sensor1")
	e, err := a.Enrol(tokenFor(t, a, "").Secret(), "sensor1", request(t, dir, "sensor1"))
	if err != nil || e.Pending {
		t.Errorf("got %+v, %v", e, err)
	}
}

func TestForeignCertificates(t *testing.T) {
	a, _, dir := fresh(t)
	other, _, _ := fresh(t)
	_, otherDir := enrol(t, other, "sensor1")
	_, ownDir := enrol(t, a, "sensor1")
	own := certOf(t, ownDir)
	const text = "the controller refuses the agent: its certificate is not one that this controller has made for an agent"
	asServer := takeCA(t, dir).leaf(t, func(c *x509.Certificate) { c.Subject.CommonName = "sensor1" })
	forBoth := takeCA(t, dir).leaf(t, func(c *x509.Certificate) {
		c.Subject.CommonName = "sensor1"
		c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
	})
	for what, c := range map[string]*x509.Certificate{
		"none": nil, "of another controller": certOf(t, otherDir), "a server's": parse(t, asServer), "for both ends": parse(t, forBoth), "the authority's own": takeCA(t, dir).cert,
	} {
		_, err := a.Check(c)
		t.Log(what)
		refused(t, err, identity.CertificateForeign, text)
	}
	unknown := takeCA(t, dir).leaf(t, func(c *x509.Certificate) {
		c.Subject.CommonName, c.ExtKeyUsage = "sensor9", []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	})
	_, err := a.Check(parse(t, unknown))
	refused(t, err, identity.NotKnown, "the controller refuses sensor9: it has no agent of that name; make a new token on the controller and enrol")
	if name, err := a.Check(own); name != "sensor1" || err != nil {
		t.Errorf("its own: %q, %v", name, err)
	}

	// The handshake refuses another controller's agent before anything is asked.
	dial := load(t, ownDir).TLS()
	foreign := load(t, otherDir).TLS()
	dial.GetClientCertificate = foreign.GetClientCertificate
	if _, _, err, _ := connect(t, serverTLS(t, a), dial); err == nil || !strings.Contains(err.Error(), "certificate signed by unknown authority") {
		t.Errorf("the handshake: %v", err)
	}
	// And an agent does not take another controller for its own.
	if _, _, _, err := connect(t, serverTLS(t, other), load(t, ownDir).TLS()); err == nil || !strings.Contains(err.Error(), "certificate signed by unknown authority") {
		t.Errorf("another controller: %v", err)
	}
	// TLS 1.2 is over.
	dial = load(t, ownDir).TLS()
	dial.MinVersion, dial.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if _, _, err, _ := connect(t, serverTLS(t, a), dial); err == nil {
		t.Error("TLS 1.2 works")
	}
}

func parse(t *testing.T, c tls.Certificate) *x509.Certificate {
	t.Helper()
	cert, err := x509.ParseCertificate(c.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestPermissions(t *testing.T) {
	controllerDir := t.TempDir()
	if err := os.Chmod(controllerDir, 0o755); err != nil { //nolint:gosec // it is what Open has to mend
		t.Fatal(err)
	}
	a := open(t, controllerDir, time.Now)
	serverTLS(t, a)
	_, agentDir := enrol(t, a, "sensor1")
	for dir, files := range map[string][]string{
		controllerDir: {"agents.json", "ca.pem", "server.pem", "tokens.json"}, agentDir: {"ca.pem", "cert.pem", "controller.json", "key.pem"},
	} {
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", dir, info.Mode(), err)
		}
		es, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, e := range es {
			names = append(names, e.Name())
			if info, err := e.Info(); err != nil || info.Mode() != 0o600 {
				t.Errorf("%s: %v, %v", e.Name(), info.Mode(), err)
			}
		}
		if !slices.Equal(names, files) {
			t.Errorf("files: %v", names)
		}
	}
}

// TestForgotten: what is forgotten is not let in again by the token that it came with.
func TestForgotten(t *testing.T) {
	a, clock, controllerDir := fresh(t)
	tok, dir := tokenFor(t, a, "sensor1"), t.TempDir()
	csr := request(t, dir, "sensor1")
	e, err := a.Enrol(tok.Secret(), "sensor1", csr)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Forget("sensor1"); err == nil || err.Error() != "cannot forget sensor1: it is approved; revoke it first" {
		t.Errorf("forgetting one that is approved: %v", err)
	}
	if err := errors.Join(a.Revoke("sensor1", "anna"), a.Forget("sensor1")); err != nil {
		t.Fatal(err)
	}
	a = open(t, controllerDir, clock.now)
	_, err = a.Enrol(tok.Secret(), "sensor1", csr)
	refused(t, err, identity.TokenUsed, "the controller refuses sensor1: the token was used already; make a new token on the controller")
	_, err = a.Check(agentCert(t, e.Certificate))
	refused(t, err, identity.NotKnown, "the controller refuses sensor1: it has no agent of that name; make a new token on the controller and enrol")
	if len(a.Agents()) != 0 {
		t.Errorf("the registry: %v", a.Agents())
	}
}
