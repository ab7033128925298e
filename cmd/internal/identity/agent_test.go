package identity_test

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/cmd/internal/identity"
)

func TestRequestKeepsItsKey(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "agent")
	first, err1 := identity.RequestFingerprint(request(t, dir, "sensor1"))
	second, err2 := identity.RequestFingerprint(request(t, dir, "sensor2"))
	if err := errors.Join(err1, err2); err != nil || first != second || len(first) != 64 {
		t.Errorf("%s, %s, %v", first, second, err)
	}
	if _, err := identity.NewRequest(dir, "a b"); err == nil || err.Error() != `cannot request a certificate for "a b": the name of an agent has only letters, digits, '.', '_' and '-'` {
		t.Errorf("a bad name: %v", err)
	}
	path := filepath.Join(dir, "key.pem")
	writeFile(t, path, []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"))
	if _, err := identity.NewRequest(dir, "sensor1"); err == nil || err.Error() != "cannot request a certificate: cannot use "+path+": it is no key for ECDSA on P-256" {
		t.Errorf("a damaged key: %v", err)
	}
	if !strings.Contains(string(readFile(t, path)), "AAAA") {
		t.Error("a damaged key was replaced")
	}
}

func TestWhatIsNotAccepted(t *testing.T) {
	a, _, _ := fresh(t)
	b, _, _ := fresh(t)
	dir := filepath.Join(t.TempDir(), "agent")
	csr := request(t, dir, "sensor1")
	get := func(a *identity.Authority, csr []byte) identity.Enrolled {
		t.Helper()
		e, err := a.Enrol(tokenFor(t, a, "sensor1").Secret(), "sensor1", csr)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	good, ofB, othersKey := get(a, csr), get(b, csr), get(a, request(t, t.TempDir(), "sensor1"))
	at := []string{"x:1"}
	before := tree(t, dir)
	for _, c := range []struct {
		what string
		e    identity.Enrolled
		at   []string
		want string
	}{
		{"pending", identity.Enrolled{CA: good.CA, Pending: true}, at, "the agent was not approved on the controller yet"},
		{"no certificate", identity.Enrolled{CA: good.CA}, at, "the agent was not approved on the controller yet"},
		{"no address", good, nil, "an address of the controller is missing"},
		{"an empty address", good, []string{"x:1", ""}, "an address of the controller is missing"},
		{"no authority", identity.Enrolled{Certificate: good.Certificate}, at, "the controller's certificate authority: it is not one CERTIFICATE in PEM"},
		{"no authority but itself", identity.Enrolled{CA: good.Certificate, Certificate: good.Certificate}, at, "the controller's certificate authority: the certificate is not that of a certificate authority"},
		{"another authority", identity.Enrolled{CA: good.CA, Certificate: ofB.Certificate}, at, "what the controller sent: the certificate was not made by this controller"},
		{"another's", othersKey, at, "what the controller sent: the certificate is not for the key of this agent"},
		{"two", identity.Enrolled{CA: good.CA, Certificate: append(bytes.Clone(good.Certificate), good.Certificate...)}, at, "what the controller sent: it is not one CERTIFICATE in PEM"},
		{"the authority's", identity.Enrolled{CA: good.CA, Certificate: good.CA}, at, "what the controller sent: the certificate is not an agent's"},
	} {
		if err := identity.Accept(dir, c.e, c.at); err == nil || err.Error() != "cannot enrol: "+c.want {
			t.Errorf("%s: %v", c.what, err)
		}
		if !maps.Equal(tree(t, dir), before) {
			t.Errorf("%s: something was written", c.what)
		}
	}
	accept(t, dir, good)

	// To another controller, with a crash after each file: not enrolled, or one of both, and the join can go on.
	sound := tree(t, dir)
	for _, file := range []string{"ca.pem", "controller.json", "cert.pem"} {
		at := filepath.Join(t.TempDir(), "agent")
		for name, content := range sound {
			writeFile(t, filepath.Join(at, name), []byte(content))
		}
		restore := func() {}
		if file != "cert.pem" { // this one is removed first: nothing can stand in its place
			restore = block(t, filepath.Join(at, file))
			if err := identity.Accept(at, ofB, []string{"b:1"}); err == nil {
				t.Fatalf("%s was written", file)
			}
			if _, err := identity.Load(at); !isNotEnrolled(err) {
				t.Errorf("after a crash at %s: %v", file, err)
			}
		}
		restore()
		if err := identity.Accept(at, ofB, []string{"b:1"}); err != nil {
			t.Fatal(err)
		}
		if id := load(t, at); id.Addresses()[0] != "b:1" {
			t.Errorf("enrolled at %v", id.Addresses())
		}
	}
	// At the same controller, the old certificate stays until the new one is there.
	again := get(a, request(t, dir, "sensor1"))
	restore := block(t, filepath.Join(dir, "controller.json"))
	if err := identity.Accept(dir, again, []string{"new:1"}); err == nil {
		t.Error("it was written")
	}
	restore()
	if err := identity.Accept(dir, again, []string{"new:1"}); err != nil || load(t, dir).Addresses()[0] != "new:1" {
		t.Errorf("new addresses: %v", err)
	}
	// Under another name it is another agent: a crash leaves it not enrolled.
	csr = request(t, dir, "sensor9")
	renamed, err := a.Enrol(tokenFor(t, a, "sensor9").Secret(), "sensor9", csr)
	if err != nil {
		t.Fatal(err)
	}
	restore = block(t, filepath.Join(dir, "controller.json"))
	if err := identity.Accept(dir, renamed, at); err == nil {
		t.Error("it was written")
	}
	restore()
	if _, err := identity.Load(dir); !isNotEnrolled(err) {
		t.Errorf("between two names: %v", err)
	}
	if id := accept(t, dir, renamed); id.Name() != "sensor9" {
		t.Errorf("its name is %s", id.Name())
	}
}

func isNotEnrolled(err error) bool {
	_, ok := errors.AsType[*identity.NotEnrolled](err)
	return ok
}

func TestDamagedAgent(t *testing.T) {
	a, _, controllerDir := fresh(t)
	_, dir := enrol(t, a, "sensor1")
	_, otherDir := enrol(t, a, "sensor2")
	b, _, _ := fresh(t)
	_, foreignDir := enrol(t, b, "sensor1")
	sound, other, foreign := tree(t, dir), tree(t, otherDir), tree(t, foreignDir)
	const gone = "\x00"
	for _, c := range []struct{ what, file, content, blamed, want string }{
		{"gone", "key.pem", gone, "key.pem", "it is missing; restore it, or join again with a new token"},
		{"gone", "ca.pem", gone, "ca.pem", "it is missing; restore it, or join again with a new token"},
		{"gone", "controller.json", gone, "controller.json", "it is missing; restore it, or join again with a new token"},
		{"empty", "key.pem", "", "key.pem", "it is not one PRIVATE KEY in PEM"},
		{"cut", "key.pem", sound["key.pem"][:100], "key.pem", "it is not one PRIVATE KEY in PEM"},
		{"another's", "key.pem", other["key.pem"], "cert.pem", "the certificate is not for the key of this agent; join again with a new token"},
		{"empty", "cert.pem", "", "cert.pem", "it is not one CERTIFICATE in PEM; join again with a new token"},
		{"cut", "cert.pem", sound["cert.pem"][:300], "cert.pem", "it is not one CERTIFICATE in PEM; join again with a new token"},
		{"another's", "cert.pem", other["cert.pem"], "cert.pem", "the certificate is not for the key of this agent; join again with a new token"},
		{"another authority's", "cert.pem", foreign["cert.pem"], "cert.pem", "the certificate was not made by this controller; join again with a new token"},
		{"another", "ca.pem", foreign["ca.pem"], "cert.pem", "the certificate was not made by this controller; join again with a new token"},
		{"no authority", "ca.pem", sound["cert.pem"], "ca.pem", "the certificate is not that of a certificate authority"},
		{"with its key", "ca.pem", string(readFile(t, filepath.Join(controllerDir, "ca.pem"))), "ca.pem", "it is not one CERTIFICATE in PEM"},
		{"another name", "controller.json", other["controller.json"], "controller.json", "it has no address, or another name than the certificate; join again with a new token"},
		{"no address", "controller.json", `{"addresses":[],"name":"sensor1"}`, "controller.json", "it has no address, or another name than the certificate; join again with a new token"},
		{"empty", "controller.json", "", "controller.json", "it cannot be understood (damaged near byte 0)"},
		{"too large", "cert.pem", strings.Repeat("\n", 70000), "cert.pem", "it is too large"},
	} {
		t.Run(c.file+" "+c.what, func(t *testing.T) {
			at := t.TempDir()
			for name, content := range sound {
				if name == c.file {
					content = c.content
				}
				if content != gone {
					writeFile(t, filepath.Join(at, name), []byte(content))
				}
			}
			before := tree(t, at)
			_, err := identity.Load(at)
			want := "cannot read the agent's identity: cannot use " + filepath.Join(at, c.blamed) + ": " + c.want
			if _, ok := errors.AsType[*identity.Damaged](err); !ok || err.Error() != want {
				t.Errorf("got  %v\nwant %s", err, want)
			}
			if !maps.Equal(tree(t, at), before) {
				t.Error("files were changed")
			}
		})
	}
	if err := os.Remove(filepath.Join(dir, "key.pem")); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "key.pem")
	if _, err := identity.NewRequest(dir, "sensor1"); err == nil || err.Error() != "cannot request a certificate: cannot use "+path+": it is missing, while its certificate is there; restore it, or remove cert.pem and join anew" {
		t.Errorf("a request without the key: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, "cert.pem")); err != nil {
		t.Fatal(err)
	}
	if _, err := identity.Load(dir); !isNotEnrolled(err) {
		t.Errorf("without a certificate: %v", err)
	}
	request(t, dir, "sensor1")
}

func TestWhatIsNoRenewal(t *testing.T) {
	a, clock, _ := fresh(t)
	id, dir := enrol(t, a, "sensor1")
	old := readFile(t, filepath.Join(dir, "cert.pem"))
	csr2 := request(t, dir, "sensor2")
	e, err := a.Enrol(tokenFor(t, a, "sensor2").Secret(), "sensor2", csr2)
	if err != nil {
		t.Fatal(err)
	}
	_, otherDir := enrol(t, a, "sensor3")
	clock.add(80 * day)
	text, err := a.Renew("sensor1", request(t, dir, "sensor1"))
	if err != nil {
		t.Fatal(err)
	}
	if err := id.Renewed(text); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		text []byte
		want string
	}{
		{nil, "cannot take the new certificate: it is not one CERTIFICATE in PEM"},
		{old, "cannot take the new certificate: it expires before the one that is in use"},
		{e.Certificate, "cannot take the new certificate: it is for another name"},
		{readFile(t, filepath.Join(otherDir, "cert.pem")), "cannot take the new certificate: the certificate is not for the key of this agent"},
		{e.CA, "cannot take the new certificate: the certificate is not an agent's"},
	} {
		if err := id.Renewed(c.text); err == nil || err.Error() != c.want {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
	restore := block(t, filepath.Join(dir, "cert.pem"))
	if err := id.Renewed(text); err == nil || !strings.HasPrefix(err.Error(), "cannot keep the new certificate: ") {
		t.Errorf("on a full disk: %v", err)
	}
	restore()
	if err := id.Renewed(text); err != nil {
		t.Errorf("the same once more: %v", err)
	}
	if got := certOf(t, dir); !got.Equal(agentCert(t, text)) || !id.Expires().Equal(clock.now().Add(90*day)) || id.NeedsRenewal(time.Now()) {
		t.Error("another certificate is in use")
	}
}
