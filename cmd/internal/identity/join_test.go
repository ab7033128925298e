package identity_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/cmd/internal/identity"
)

// foreignCA is the authority of whoever stands in between. It calls itself as the right one does.
func foreignCA(t *testing.T, like *x509.Certificate) ca {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: like.Subject, SubjectKeyId: like.SubjectKeyId, NotBefore: like.NotBefore, NotAfter: like.NotAfter,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return ca{cert, key}
}

func TestWhoAnswersAJoin(t *testing.T) {
	const not = "whoever answers there is not the controller that the token is from; look at the address, and whether something in between opens TLS connections"
	a, _, dir := fresh(t)
	_, agentDir := enrol(t, a, "zeekrec-controller")
	right := takeCA(t, dir)
	wrong := foreignCA(t, right.cert)

	// An agent's certificate, with the agent's key: the name is even the controller's.
	agent, err := tls.LoadX509KeyPair(filepath.Join(agentDir, "cert.pem"), filepath.Join(agentDir, "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	agent.Certificate = append(agent.Certificate, right.cert.Raw)
	// A chain in which a certificate that the right authority made, but not as an authority, has signed the server's.
	middle := right.leaf(t, func(c *x509.Certificate) { c.Subject = pkix.Name{CommonName: "sensor1"} })
	below := ca{parse(t, middle), middle.PrivateKey}.leaf(t, nil, right.cert)

	stolen := wrong.leaf(t, nil)
	stolen.Certificate = [][]byte{stolen.Certificate[0], right.cert.Raw}
	alone := right.leaf(t, nil)
	alone.Certificate = alone.Certificate[:1]
	borrowed := right.leaf(t, nil)
	borrowed.PrivateKey = wrong.leaf(t, nil).PrivateKey // the right certificates, but not their key

	for _, c := range []struct {
		name       string
		shown      tls.Certificate
		join, dial string // how the errors begin; empty: none
	}{
		{"the controller", right.leaf(t, nil), "", ""},
		{"the controller, and a certificate that says nothing", right.leaf(t, nil, wrong.cert), "", ""},
		{"another authority", wrong.leaf(t, nil), not, "tls: failed to verify certificate: x509: certificate signed by unknown authority"},
		{"another authority, with the right one appended", wrong.leaf(t, nil, right.cert), not + " (x509: certificate signed by unknown authority", "tls: failed to verify certificate: x509: certificate signed by unknown authority"},
		{"another authority, with the right one in its place", stolen, not + " (x509: certificate signed by unknown authority", "tls: failed to verify certificate: x509: certificate signed by unknown authority"},
		{"the right certificates without the key", borrowed, "tls: invalid signature by the server certificate", "tls: invalid signature by the server certificate"},
		{"without the authority's certificate", alone, not, ""},
		{
			"expired", right.leaf(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }),
			"cannot trust the controller: its certificate is not valid at this time; look at the clocks of both hosts: x509: certificate has expired or is not yet valid", "tls: failed to verify certificate: x509: certificate has expired or is not yet valid",
		},
		{
			"not valid yet", right.leaf(t, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }),
			"cannot trust the controller: its certificate is not valid at this time; look at the clocks of both hosts: x509: certificate has expired or is not yet valid", "tls: failed to verify certificate: x509: certificate has expired or is not yet valid",
		},
		{"another name", right.leaf(t, func(c *x509.Certificate) { c.DNSNames = []string{"localhost"} }), not + " (x509: certificate is valid for localhost, not zeekrec-controller", "tls: failed to verify certificate: x509: certificate is valid for localhost, not zeekrec-controller"},
		{"an agent", agent, not + " (x509: certificate", "tls: failed to verify certificate: x509: certificate"},
		{"a client with the controller's name", right.leaf(t, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }), not + " (x509: certificate specifies an incompatible key usage)", "tls: failed to verify certificate: x509: certificate specifies an incompatible key usage"},
		{"signed by what is no authority", below, not + " (x509: certificate signed by unknown authority", "tls: failed to verify certificate: x509: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{c.shown}}
			for how, x := range map[string]struct {
				config *tls.Config
				want   string
			}{"joining": {identity.JoinTLS(a.Fingerprint()), c.join}, "dialling": {load(t, agentDir).TLS(), c.dial}} {
				_, _, _, err := connect(t, server, x.config)
				if (err == nil) != (x.want == "") || err != nil && !strings.HasPrefix(err.Error(), x.want) {
					t.Errorf("%s: %v", how, err)
				}
				if err != nil && strings.HasPrefix(x.want, not) && !errors.Is(err, identity.ErrNotTheController) {
					t.Errorf("%s: it is no ErrNotTheController", how)
				}
			}
		})
	}
}

// TestJoinAtAnotherController: a token opens only the controller that it is from.
func TestJoinAtAnotherController(t *testing.T) {
	a, _, _ := fresh(t)
	b, _, _ := fresh(t)
	_, _, serverErr, err := connect(t, serverTLS(t, b), identity.JoinTLS(a.Fingerprint()))
	if !errors.Is(err, identity.ErrNotTheController) {
		t.Errorf("got %v", err)
	}
	if serverErr == nil || !strings.Contains(serverErr.Error(), "bad certificate") {
		t.Errorf("the server was told %v, so it may have been sent something", serverErr)
	}
	if _, _, _, err := connect(t, serverTLS(t, b), identity.JoinTLS(b.Fingerprint())); err != nil {
		t.Errorf("the right one: %v", err)
	}
}

func TestServerNames(t *testing.T) {
	a, clock, dir := fresh(t)
	local := []string{"192.0.2.7", "fe80::1%eth0", "::1", "Host7", "not a host"}
	a.SetLocal(func() ([]string, error) { return local, nil })
	server := serverTLS(t, a, "Fleet.example", "2001:db8::1", "192.0.2.7")
	id, _ := enrol(t, a, "sensor1")
	dial := id.TLS()
	dial.Time = clock.now
	shown := func() *x509.Certificate {
		t.Helper()
		_, seen := connected(t, server, dial)
		if len(seen.PeerCertificates) != 2 || !seen.PeerCertificates[1].Equal(takeCA(t, dir).cert) {
			t.Fatal("the authority's certificate is not shown")
		}
		return seen.PeerCertificates[0]
	}
	first := shown()
	for _, host := range []string{"zeekrec-controller", "localhost", "fleet.example", "host7", "192.0.2.7", "2001:db8::1", "::1", "fe80::1"} {
		if err := first.VerifyHostname(host); err != nil {
			t.Error(err)
		}
	}
	if len(first.DNSNames) != 4 || len(first.IPAddresses) != 4 || !first.NotAfter.Equal(clock.now().Add(90*day)) || len(first.ExtKeyUsage) != 1 {
		t.Errorf("%v, %v, until %v, for %v", first.DNSNames, first.IPAddresses, first.NotAfter, first.ExtKeyUsage)
	}
	clock.add(time.Hour)
	if !shown().Equal(first) {
		t.Error("a new certificate without need")
	}

	local = []string{"192.0.2.8", "::1", "host7"}
	if !shown().Equal(first) {
		t.Error("the names of this machine are asked for all the time")
	}
	clock.add(time.Minute)
	second := shown()
	if second.Equal(first) || second.VerifyHostname("192.0.2.8") != nil || second.VerifyHostname("fe80::1") == nil {
		t.Errorf("after the addresses have changed: %v", second.IPAddresses)
	}

	// A restart keeps it; other extra names do not.
	server = serverTLS(t, a, "fleet.example", "2001:db8::1", "192.0.2.7")
	if !shown().Equal(second) {
		t.Error("a restart has made a new one")
	}
	server = serverTLS(t, a)
	if third := shown(); third.Equal(second) || third.VerifyHostname("fleet.example") == nil {
		t.Error("still for names that are not given any more")
	}

	// What the machine cannot say, and what cannot be kept, does no harm while running.
	a.SetLocal(func() ([]string, error) { return nil, errors.New("no network") })
	clock.add(time.Hour)
	shown()
	if _, err := a.ServerTLS(nil); err == nil || err.Error() != "cannot make the controller's certificate: no network" {
		t.Errorf("at the start: %v", err)
	}
	a.SetLocal(func() ([]string, error) { return []string{"192.0.2.9"}, nil })
	block(t, filepath.Join(dir, "server.pem"))
	clock.add(time.Hour)
	if c := shown(); c.VerifyHostname("192.0.2.9") != nil {
		t.Error("not made anew where it cannot be kept")
	}
	for _, bad := range []string{"", "a b", "x..y", "host.", "1.2.3.4:5", strings.Repeat("a", 64)} {
		if _, err := a.ServerTLS([]string{bad}); err == nil || !strings.HasSuffix(err.Error(), ": it is no name of a host, and no address") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestLocalNames(t *testing.T) {
	a, _, _ := fresh(t)
	_, seen := connected(t, serverTLS(t, a), identity.JoinTLS(a.Fingerprint()))
	as, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, addr := range as {
		if n, ok := addr.(*net.IPNet); ok {
			if err := seen.PeerCertificates[0].VerifyHostname(n.IP.String()); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestFiles(t *testing.T) {
	_, _, dir := fresh(t) // its authority stands for somebody else's
	theirs := takeCA(t, dir)
	at := t.TempDir()
	keep := func(name string, c tls.Certificate) identity.Files {
		t.Helper()
		f := identity.Files{Cert: filepath.Join(at, name+".crt"), Key: filepath.Join(at, name+".key"), CA: filepath.Join(at, "ca.crt")}
		writeFile(t, f.Cert, encode("CERTIFICATE", c.Certificate[0]))
		der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, f.Key, encode("PRIVATE KEY", der))
		writeFile(t, f.CA, encode("CERTIFICATE", theirs.cert.Raw))
		return f
	}
	agentLeaf := func(c *x509.Certificate) {
		c.Subject.CommonName, c.ExtKeyUsage = "sensor1", []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	}
	first := theirs.leaf(t, nil)
	sf, cf := keep("server", first), keep("agent", theirs.leaf(t, agentLeaf))
	server, err1 := sf.ServerTLS()
	client, err2 := cf.ClientTLS()
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := connect(t, server, client); err == nil || !strings.Contains(err.Error(), "ServerName") {
		t.Errorf("without the name of a host: %v", err)
	}
	client.ServerName = "zeekrec-controller"
	seen, _ := connected(t, server, client)
	if name, err := identity.NameOf(seen.PeerCertificates[0]); name != "sensor1" || err != nil {
		t.Errorf("whose: %q, %v", name, err)
	}
	nobody := client.Clone()
	nobody.GetClientCertificate = nil
	if _, _, err, _ := connect(t, server, nobody); err == nil || !strings.Contains(err.Error(), "client didn't provide a certificate") {
		t.Errorf("without a certificate: %v", err)
	}
	if _, err := identity.NameOf(&x509.Certificate{Subject: pkix.Name{CommonName: "CN with space"}}); err == nil || err.Error() != "cannot tell whose certificate it is by its common name: the name of an agent has only letters, digits, '.', '_' and '-'" {
		t.Errorf("whose name is none: %v", err)
	}

	// Renewed, first the certificate alone, then its key too.
	second := theirs.leaf(t, nil)
	writeFile(t, sf.Cert, encode("CERTIFICATE", second.Certificate[0]))
	if _, seen := connected(t, server, client); !seen.PeerCertificates[0].Equal(parse(t, first)) {
		t.Error("half a renewal has changed something")
	}
	keep("server", second)
	if _, seen := connected(t, server, client); !seen.PeerCertificates[0].Equal(parse(t, second)) {
		t.Error("a renewal has no effect")
	}

	for _, c := range []struct {
		f    identity.Files
		want string
	}{
		{identity.Files{}, "cannot use certificates of your own: the certificate, its key and the certificate authority have to be given together"},
		{identity.Files{Cert: sf.Cert, Key: sf.Key}, "cannot use certificates of your own: the certificate, its key and the certificate authority have to be given together"},
		{identity.Files{Cert: sf.Cert, Key: sf.Key, CA: sf.Key}, "cannot use the certificate authority: " + sf.Key + " has no certificate in PEM"},
		{identity.Files{Cert: sf.Cert, Key: cf.Key, CA: sf.CA}, "cannot use the certificate " + sf.Cert + ": tls: private key does not match public key"},
		{identity.Files{Cert: sf.Cert, Key: sf.Key, CA: "/nowhere"}, "cannot read the certificate authority: open /nowhere: no such file or directory"},
	} {
		_, err1 := c.f.ServerTLS()
		_, err2 := c.f.ClientTLS()
		if err1 == nil || err2 == nil || err1.Error() != c.want || err2.Error() != c.want {
			t.Errorf("got %v and %v, want %s", err1, err2, c.want)
		}
	}
}

// TestJoinClock: who joins looks at times by its own clock, which may be an hour slow.
func TestJoinClock(t *testing.T) {
	a, _, _ := fresh(t)
	server := serverTLS(t, a)
	for _, c := range []struct {
		wrong time.Duration
		want  string
	}{
		{0, ""},
		{time.Hour, ""},
		{-59 * time.Minute, ""},
		{-25 * time.Hour, "cannot trust the controller: its certificate is not valid at this time; look at the clocks of both hosts: "},
		{100 * 24 * time.Hour, "cannot trust the controller: its certificate is not valid at this time; look at the clocks of both hosts: "},
	} {
		conf := identity.JoinTLS(a.Fingerprint())
		conf.Time = func() time.Time { return time.Now().Add(c.wrong) }
		_, _, _, err := connect(t, server, conf)
		if (err == nil) != (c.want == "") || err != nil && !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("with a clock that is wrong by %s: %v", c.wrong, err)
		}
	}
}
