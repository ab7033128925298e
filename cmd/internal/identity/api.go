package identity

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"
)

// APITLS is the configuration to dial the API with at a host (a name or an address, without a port): its server has to show a certificate
// that was made by the authority whose certificate has the fingerprint, and that certificate too. What zeekrec's own authority made is to
// be for ControllerName, by whatever address it is reached, as with JoinTLS; what another authority made is to be for the host. A handshake
// with anybody else fails, before a byte is sent.
func APITLS(caFingerprint [32]byte, host string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, ServerName: host,
		// As in JoinTLS: VerifyConnection does what the standard way would, and is called for every connection.
		InsecureSkipVerify: true,
		VerifyConnection: func(s tls.ConnectionState) error {
			return verifyAPI(s.PeerCertificates, caFingerprint, host, time.Now())
		},
	}
}

// verifyAPI verifies the certificates that a server of the API has shown, its own first.
func verifyAPI(shown []*x509.Certificate, fingerprint [sha256.Size]byte, host string, now time.Time) error {
	ca := withFingerprint(shown, fingerprint)
	if ca == nil || !ca.IsCA {
		return ErrNotTheController
	}
	// The fingerprint vouches for the authority's certificate, so what it calls itself can be believed.
	if strings.HasPrefix(ca.Subject.CommonName, caName) {
		return verifyJoin(shown, fingerprint, now)
	}
	return verifyShown(shown[0], ca, shown[1:], host, now)
}

// ForAPI is a configuration of ServerTLS for the port of the API: whoever comes there shows a token, and no certificate.
func ForAPI(t *tls.Config) *tls.Config {
	t = t.Clone()
	t.ClientAuth, t.ClientCAs = tls.NoClientCert, nil
	return t
}

// APITLS is the configuration of the port of the API with certificates of somebody else, and the fingerprint that tokens for it carry: that
// of the authority in CA that has made the certificate. It is shown too, for the clients of APITLS to find.
func (f Files) APITLS() (t *tls.Config, fingerprint [32]byte, err error) {
	k, authorities, err := f.open()
	if err != nil {
		return nil, fingerprint, err
	}
	ca, err := authorityOf(k.get(), authorities)
	if err != nil {
		return nil, fingerprint, fmt.Errorf("cannot use the certificate %s: %w", f.Cert, err)
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, SessionTicketsDisabled: true,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return showing(k.get(), ca), nil },
	}, sha256.Sum256(ca.Raw), nil
}

// authorityOf is the authority that has made a certificate, over those in between that go with it.
func authorityOf(c *tls.Certificate, authorities *x509.CertPool) (*x509.Certificate, error) {
	between := x509.NewCertPool()
	var leaf *x509.Certificate
	for i, der := range c.Certificate {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, errors.New("it is damaged")
		}
		if i == 0 {
			leaf = cert
		} else {
			between.AddCert(cert)
		}
	}
	chains, err := leaf.Verify(x509.VerifyOptions{Roots: authorities, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	if err != nil {
		return nil, fmt.Errorf("the certificate authority that was given with it did not make it, or it is none for a server: %w", err)
	}
	chain := chains[0]
	return chain[len(chain)-1], nil
}

// showing is a certificate with its authority's in what is shown.
func showing(c *tls.Certificate, ca *x509.Certificate) *tls.Certificate {
	for _, der := range c.Certificate[1:] {
		if bytes.Equal(der, ca.Raw) {
			return c
		}
	}
	out := *c
	out.Certificate = append(append([][]byte{}, c.Certificate...), ca.Raw)
	return &out
}
