package identity_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/cmd/internal/identity"
)

func TestCheckName(t *testing.T) {
	for name, want := range map[string]string{
		"a": "", "sensor-1.example_x": "", "_x": "", "7": "", strings.Repeat("a", 200): "",
		"": "the name of an agent cannot be empty", strings.Repeat("a", 201): "the name of an agent has at most 200 bytes",
		".a": "the name of an agent cannot begin with '.' or '-'", "-a": "the name of an agent cannot begin with '.' or '-'",
		"a b": "the name of an agent has only letters, digits, '.', '_' and '-'", "a/b": "the name of an agent has only letters, digits, '.', '_' and '-'",
		"ä": "the name of an agent has only letters, digits, '.', '_' and '-'", "a\x00": "the name of an agent has only letters, digits, '.', '_' and '-'",
		"a\xff": "the name of an agent has only letters, digits, '.', '_' and '-'", "a*": "the name of an agent has only letters, digits, '.', '_' and '-'", "a>": "the name of an agent has only letters, digits, '.', '_' and '-'",
	} {
		err := identity.CheckName(name)
		if got := fmt.Sprint(err); err == nil && want != "" || err != nil && got != want {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestTokensThatCannotBeMade(t *testing.T) {
	a, _, dir := fresh(t)
	before := tree(t, dir)["tokens.json"]
	for _, c := range []struct {
		name  string
		valid time.Duration
		want  string
	}{
		{"a b", time.Hour, `cannot make a token for "a b": the name of an agent has only letters, digits, '.', '_' and '-'`},
		{"a", 0, "cannot make a token that is valid for 0s: choose more than 0 and at most 720h0m0s"},
		{"a", -time.Second, "cannot make a token that is valid for -1s: choose more than 0 and at most 720h0m0s"},
		{"a", maxValid + 1, "cannot make a token that is valid for 720h0m0.000000001s: choose more than 0 and at most 720h0m0s"},
	} {
		if text, err := a.NewToken(c.name, c.valid, "anna"); err == nil || err.Error() != c.want || text != "" {
			t.Errorf("got  %v\nwant %s", err, c.want)
		}
	}
	if tree(t, dir)["tokens.json"] != before {
		t.Error("something was kept")
	}
}

func TestNumberOfTokensIsBounded(t *testing.T) {
	_, clock, dir := fresh(t)
	file := filepath.Join(dir, "tokens.json")
	many := map[string]any{}
	for i := range 1000 {
		many[fmt.Sprintf("%064x", i)] = map[string]any{"name": "", "expires": clock.now().Add(time.Hour), "by": "anna"}
	}
	text, err := json.Marshal(many)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, file, text)
	a := open(t, dir, clock.now)
	if _, err := a.NewToken("", time.Hour, "anna"); err == nil || err.Error() != "cannot make a token: 1000 are waiting to be used; wait until some of them have expired" {
		t.Errorf("one more: %v", err)
	}
	count := func() int {
		t.Helper()
		var m map[string]any
		if err := json.Unmarshal(readFile(t, file), &m); err != nil {
			t.Fatal(err)
		}
		return len(m)
	}
	clock.add(time.Hour)
	tokenFor(t, a, "") // those that expired are remembered for a week
	if n := count(); n != 1001 {
		t.Errorf("%d tokens", n)
	}
	clock.add(7*day + time.Second)
	tokenFor(t, a, "")
	if n := count(); n != 2 {
		t.Errorf("after a week %d tokens", n)
	}

	// Many that live shortly are not remembered without bound.
	for i := range 2001 {
		many[fmt.Sprintf("%064x", i)] = map[string]any{"name": "", "expires": clock.now().Add(-time.Hour), "by": "anna"}
	}
	if text, err = json.Marshal(many); err != nil {
		t.Fatal(err)
	}
	writeFile(t, file, text)
	a = open(t, dir, clock.now)
	tokenFor(t, a, "")
	if n := count(); n != 1 {
		t.Errorf("of too many %d tokens are kept", n)
	}
}

func TestRefusedTokens(t *testing.T) {
	a, clock, dir := fresh(t)
	csr := request(t, t.TempDir(), "sensor1")
	named, late, used := tokenFor(t, a, "other"), tokenFor(t, a, "sensor1"), tokenFor(t, a, "sensor2")
	if _, err := a.Enrol(used.Secret(), "sensor2", request(t, t.TempDir(), "sensor2")); err != nil {
		t.Fatal(err)
	}
	before := tree(t, dir)
	stranger, _, _ := fresh(t)
	try := func(secret string, why identity.Why, text string) {
		t.Helper()
		_, err := a.Enrol(secret, "sensor1", csr)
		refused(t, err, why, "the controller refuses sensor1: "+text)
	}
	try("", identity.TokenUnknown, "it does not know the token; make a new token on the controller")
	try(strings.ToUpper(late.Secret()), identity.TokenUnknown, "it does not know the token; make a new token on the controller")
	try(late.Reveal(), identity.TokenUnknown, "it does not know the token; make a new token on the controller")
	try(tokenFor(t, stranger, "sensor1").Secret(), identity.TokenUnknown, "it does not know the token; make a new token on the controller")
	try(named.Secret(), identity.TokenForAnother, "the token is for an agent of another name; use that name, or make a new token on the controller")
	try(used.Secret(), identity.TokenUsed, "the token was used already; make a new token on the controller")
	// With the used token and its name, but another key.
	_, err := a.Enrol(used.Secret(), "sensor2", request(t, t.TempDir(), "sensor2"))
	refused(t, err, identity.TokenUsed, "the controller refuses sensor2: the token was used already; make a new token on the controller")
	clock.add(time.Hour - time.Second)
	if _, err := a.Enrol(named.Secret(), "other", request(t, t.TempDir(), "other")); err != nil {
		t.Errorf("in the last second: %v", err)
	}
	clock.add(time.Second)
	try(late.Secret(), identity.TokenExpired, "the token has expired; make a new token on the controller")
	clock.add(20 * day)
	tokenFor(t, a, "x") // when those are forgotten
	try(late.Secret(), identity.TokenUnknown, "it does not know the token; make a new token on the controller")
	clock.add(-20*day - time.Hour)
	try(used.Secret(), identity.TokenUsed, "the token was used already; make a new token on the controller")
	if before["tokens.json"] == tree(t, dir)["tokens.json"] {
		t.Error("expired tokens are kept")
	}
}

// TestSpentStaysSpent: not even a clock that goes astray makes a used token good again.
func TestSpentStaysSpent(t *testing.T) {
	a, clock, dir := fresh(t)
	used := tokenFor(t, a, "")
	if _, err := a.Enrol(used.Secret(), "sensor1", request(t, t.TempDir(), "sensor1")); err != nil {
		t.Fatal(err)
	}
	for _, makeTokens := range []bool{false, true} {
		clock.add(100 * day)
		if err := a.Revoke("sensor1", "anna"); err != nil {
			t.Fatal(err)
		}
		if makeTokens {
			if _, err := a.Enrol(tokenFor(t, a, "").Secret(), "sensor1", request(t, t.TempDir(), "sensor1")); err != nil {
				t.Fatal(err)
			}
		}
		clock.add(-100 * day)
		a = open(t, dir, clock.now)
		_, err := a.Enrol(used.Secret(), "sensor5", request(t, t.TempDir(), "sensor5"))
		if r, ok := errors.AsType[*identity.Refused](err); !ok || r.Why != identity.TokenUsed && r.Why != identity.TokenUnknown {
			t.Errorf("got %v", err)
		}
	}
}

// TestSpentOutlivesItsToken: the mark that a token was used stays for as long as the token itself is kept.
func TestSpentOutlivesItsToken(t *testing.T) {
	a, clock, _ := fresh(t)
	text, err := a.NewToken("", maxValid, "anna")
	if err != nil {
		t.Fatal(err)
	}
	long, err := identity.ParseToken(text)
	if err != nil {
		t.Fatal(err)
	}
	short := tokenFor(t, a, "")
	if _, err := a.Enrol(short.Secret(), "sensor1", request(t, t.TempDir(), "sensor1")); err != nil {
		t.Fatal(err)
	}
	clock.add(10 * day)
	if _, err := a.Enrol(long.Secret(), "sensor2", request(t, t.TempDir(), "sensor2")); err != nil {
		t.Fatal(err)
	}
	clock.add(-10 * day)
	_, err = a.Enrol(short.Secret(), "sensor3", request(t, t.TempDir(), "sensor3"))
	refused(t, err, identity.TokenUsed, "the controller refuses sensor3: the token was used already; make a new token on the controller")
}

// TestLostAnswer: the same agent is answered the same; also by a controller that was started again, and after the token's end.
func TestLostAnswer(t *testing.T) {
	a, clock, controllerDir := fresh(t)
	for _, name := range []string{"sensor1", ""} {
		tok, dir := tokenFor(t, a, name), t.TempDir()
		first, err := a.Enrol(tok.Secret(), "sensor1", request(t, dir, "sensor1"))
		if err != nil {
			t.Fatal(err)
		}
		clock.add(2 * time.Hour)
		a = open(t, controllerDir, clock.now)
		before := tree(t, controllerDir)["agents.json"]
		again, err := a.Enrol(tok.Secret(), "sensor1", request(t, dir, "sensor1")) // another request for the same key
		if err != nil || !bytes.Equal(again.Certificate, first.Certificate) || !bytes.Equal(again.CA, first.CA) || again.Pending != first.Pending || again.Pending != (name == "") {
			t.Errorf("again: %v", err)
		}
		if tree(t, controllerDir)["agents.json"] != before {
			t.Error("the registry is another")
		}
		if err := a.Revoke("sensor1", "anna"); err != nil {
			t.Fatal(err)
		}
	}
	tok, dir := tokenFor(t, a, "sensor1"), t.TempDir()
	if _, err := a.Enrol(tok.Secret(), "sensor1", request(t, dir, "sensor1")); err != nil {
		t.Fatal(err)
	}
	clock.add(91 * day)
	_, err := a.Enrol(tok.Secret(), "sensor1", request(t, dir, "sensor1"))
	refused(t, err, identity.CertificateExpired, "the controller refuses sensor1: its certificate is not valid at this time; look at the clocks of both hosts, or make a new token on the controller and enrol again")
}

// TestOneTokenManyAgents: of those that come at once with one token, one is let in.
func TestOneTokenManyAgents(t *testing.T) {
	a, _, _ := fresh(t)
	tok := tokenFor(t, a, "")
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		name := fmt.Sprintf("sensor%d", i)
		csr := request(t, t.TempDir(), name)
		wg.Go(func() { _, errs[i] = a.Enrol(tok.Secret(), name, csr) })
		wg.Go(func() { a.Agents() })
		wg.Go(func() { _, _ = a.NewToken("", time.Hour, "anna") })
	}
	wg.Wait()
	in := 0
	for _, err := range errs {
		if r, ok := errors.AsType[*identity.Refused](err); err == nil {
			in++
		} else if !ok || r.Why != identity.TokenUsed {
			t.Errorf("got %v", err)
		}
	}
	if all := a.Agents(); in != 1 || len(all) != 1 {
		t.Errorf("%d are in, and the registry has %v", in, all)
	}
}

// csrFor makes a request for a certificate with a key and a name of a test's choice.
func csrFor(t testing.TB, key any, name string) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return encode("CERTIFICATE REQUEST", der)
}

func TestBadRequests(t *testing.T) {
	a, _, dir := fresh(t)
	tok := tokenFor(t, a, "sensor1")
	good := request(t, t.TempDir(), "sensor1")
	_, ed, err1 := ed25519.GenerateKey(rand.Reader)
	p384, err2 := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	forged, _ := pem.Decode(good)
	forged.Bytes[len(forged.Bytes)-1] ^= 1
	before := tree(t, dir)
	const prefix = "the controller refuses the request: cannot use the request for a certificate: "
	for what, c := range map[string]struct {
		csr  []byte
		want string
	}{
		"nothing":        {nil, "it is not one CERTIFICATE REQUEST in PEM"},
		"a certificate":  {readFile(t, filepath.Join(dir, "ca.pem")), "it is not one CERTIFICATE REQUEST in PEM"},
		"two":            {append(bytes.Clone(good), good...), "it is not one CERTIFICATE REQUEST in PEM"},
		"text before":    {append([]byte("x\n"), good...), "it is not one CERTIFICATE REQUEST in PEM"},
		"too large":      {bytes.Repeat([]byte("\n"), 9000), "it is too large"},
		"no request":     {encode("CERTIFICATE REQUEST", []byte("x")), "it is no request for a certificate"},
		"forged":         {pem.EncodeToMemory(forged), "its signature is wrong"},
		"ed25519":        {csrFor(t, ed, "sensor1"), "its key is not ECDSA on P-256"},
		"P-384":          {csrFor(t, p384, "sensor1"), "its key is not ECDSA on P-256"},
		"another's name": {request(t, t.TempDir(), "sensor2"), "it is for another name"},
	} {
		_, err := a.Enrol(tok.Secret(), "sensor1", c.csr)
		t.Log(what)
		refused(t, err, identity.BadRequest, prefix+c.want)
		_, err = a.Renew("sensor1", c.csr)
		refused(t, err, identity.BadRequest, prefix+c.want)
		if _, err := identity.RequestFingerprint(c.csr); what != "another's name" && (err == nil || err.Error() != "cannot use the request for a certificate: "+c.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err := a.Enrol(tok.Secret(), "../sensor1", good)
	refused(t, err, identity.BadName, "the controller refuses the request: the name of an agent cannot begin with '.' or '-'")
	_, err = a.Renew("sensor1", good)
	refused(t, err, identity.NotKnown, "the controller refuses sensor1: it has no agent of that name; make a new token on the controller and enrol")
	for name, content := range tree(t, dir) {
		if before[name] != content {
			t.Errorf("%s has changed", name)
		}
	}
	if _, err := a.Enrol(tok.Secret(), "sensor1", good); err != nil {
		t.Errorf("the token is spent: %v", err)
	}
}

func TestRenewIsNotForOthers(t *testing.T) {
	a, clock, _ := fresh(t)
	_, dir := enrol(t, a, "sensor1")
	have := readFile(t, filepath.Join(dir, "cert.pem"))
	_, err := a.Renew("sensor1", request(t, t.TempDir(), "sensor1"))
	refused(t, err, identity.OtherKey, "the controller refuses sensor1: the agent of that name has another key by now; make a new token on the controller and enrol again")
	clock.add(44 * day)
	if got, err := a.Renew("sensor1", request(t, dir, "sensor1")); err != nil || !bytes.Equal(got, have) {
		t.Errorf("long before it is time: %v", err)
	}
	clock.add(2 * day)
	first, err := a.Renew("sensor1", request(t, dir, "sensor1"))
	if err != nil || bytes.Equal(first, have) {
		t.Errorf("past half of its life: %v", err)
	}
	if got, err := a.Renew("sensor1", request(t, dir, "sensor1")); err != nil || !bytes.Equal(got, first) {
		t.Errorf("after a lost answer: %v", err)
	}
}

// full is an authority with as many agents as it takes: agent0 is approved and has a certificate, the others are pending.
func full(t testing.TB) (a *identity.Authority, cert *x509.Certificate) {
	t.Helper()
	dir := t.TempDir()
	a, err := identity.Open(dir, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	text, err1 := a.NewToken("agent0", time.Hour, "anna")
	tok, err2 := identity.ParseToken(text)
	csr, err3 := identity.NewRequest(t.TempDir(), "agent0")
	e, err4 := a.Enrol(tok.Secret(), "agent0", csr)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(e.Certificate)
	if cert, err = x509.ParseCertificate(block.Bytes); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "agents.json")
	text2, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Agents map[string]map[string]any `json:"agents"`
		Spent  map[string]time.Time      `json:"spent"`
	}
	if err := json.Unmarshal(text2, &file); err != nil {
		t.Fatal(err)
	}
	for i := 1; i < 10000; i++ {
		file.Agents[fmt.Sprintf("agent%d", i)] = map[string]any{
			"state": "pending", "since": time.Now(), "by": "anna", "key": fmt.Sprintf("%064x", i), "token": fmt.Sprintf("%064x", i),
		}
	}
	if text2, err = json.Marshal(file); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text2, 0o600); err != nil {
		t.Fatal(err)
	}
	if a, err = identity.Open(dir, time.Now); err != nil {
		t.Fatal(err)
	}
	return a, cert
}

func TestNumberOfAgentsIsBounded(t *testing.T) {
	a, cert := full(t)
	tok := tokenFor(t, a, "")
	_, err := a.Enrol(tok.Secret(), "sensor1", request(t, t.TempDir(), "sensor1"))
	refused(t, err, identity.TooMany, "the controller refuses sensor1: it has 10000 agents already; forget those that are gone")
	if err := a.Forget("agent9"); err == nil || err.Error() != "cannot forget agent9: it is pending; revoke it first" {
		t.Errorf("forgetting one that is pending: %v", err)
	}
	if err := a.Forget("nobody"); !errors.Is(err, identity.ErrNoAgent) || err.Error() != `cannot forget "nobody": there is no agent of that name` {
		t.Errorf("forgetting nobody: %v", err)
	}
	if err := a.Revoke("agent0", "anna"); err != nil {
		t.Fatal(err)
	}
	if err := a.Forget("agent0"); err != nil {
		t.Fatal(err)
	}
	_, err = a.Check(cert)
	refused(t, err, identity.NotKnown, "the controller refuses agent0: it has no agent of that name; make a new token on the controller and enrol")
	if _, err := a.Enrol(tok.Secret(), "sensor1", request(t, t.TempDir(), "sensor1")); err != nil {
		t.Errorf("in its place: %v", err)
	}
}

func BenchmarkCheckAmong10000(b *testing.B) {
	a, cert := full(b)
	for b.Loop() {
		if _, err := a.Check(cert); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkApproveAmong10000(b *testing.B) {
	a, _ := full(b)
	i := 0
	for b.Loop() {
		if i++; i == 10000 {
			b.Skip("all are approved")
		}
		if err := a.Approve(fmt.Sprintf("agent%d", i), "anna"); err != nil {
			b.Fatal(err)
		}
	}
}

// FuzzEnrol: whatever is sent, nobody gets a certificate but who made a request in that name, and nothing breaks.
func FuzzEnrol(f *testing.F) {
	dir := f.TempDir()
	a, err := identity.Open(dir, time.Now)
	if err != nil {
		f.Fatal(err)
	}
	text, err1 := a.NewToken("", maxValid, "anna")
	tok, err2 := identity.ParseToken(text)
	key, err3 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err := errors.Join(err1, err2, err3); err != nil {
		f.Fatal(err)
	}
	good := csrFor(f, key, "sensor1")
	if _, err := a.Enrol(tok.Secret(), "sensor1", good); err != nil {
		f.Fatal(err)
	}
	want, err := identity.RequestFingerprint(good)
	if err != nil {
		f.Fatal(err)
	}
	b, _ := pem.Decode(good)
	f.Add("sensor1", b.Bytes)
	f.Add("sensor2", b.Bytes)
	f.Add("", []byte{})
	f.Add("sensor1", b.Bytes[:len(b.Bytes)-2])
	f.Fuzz(func(t *testing.T, name string, der []byte) {
		for _, csr := range [][]byte{der, encode("CERTIFICATE REQUEST", der)} {
			e, err := a.Enrol(tok.Secret(), name, csr)
			if err == nil {
				if got, err := identity.RequestFingerprint(csr); err != nil || got != want || name != "sensor1" || !e.Pending {
					t.Errorf("%q is let in", name)
				}
				continue
			}
			if r, ok := errors.AsType[*identity.Refused](err); !ok || len(r.Name) > 200 || len(err.Error()) > 500 {
				t.Errorf("%v", err)
			}
		}
		if n := len(a.Agents()); n != 1 {
			t.Errorf("%d agents", n)
		}
	})
}
