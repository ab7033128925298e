package identity

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// TLS is the configuration to dial the controller with: it has to be the one of this agent's authority, by whatever address, and is
// shown the newest certificate.
func (id *Identity) TLS() *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(id.ca)
	return &tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: roots, ServerName: ControllerName,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return id.shown.Load(), nil },
	}
}

// ErrNotTheController says that whoever answered is not the controller that a token is from.
var ErrNotTheController = errors.New("whoever answers there is not the controller that the token is from; look at the address, and whether something in between opens TLS connections")

// JoinTLS is the configuration to dial the controller with before there is anything to trust but a token: it has to show a certificate
// for ControllerName that was made by the authority whose certificate has the fingerprint, and that certificate too. The agent shows
// none. A handshake with anybody else fails, before a byte is sent. The caller may set Time.
func JoinTLS(caFingerprint [32]byte) *tls.Config {
	conf := &tls.Config{
		MinVersion: tls.VersionTLS13, ServerName: ControllerName,
		// The standard way needs to know the authority before the handshake. What it would do is done by VerifyConnection, which,
		// unlike VerifyPeerCertificate, is called for every connection. That the server has the key of the first certificate is
		// proved by the handshake in any case.
		InsecureSkipVerify: true,
	}
	conf.VerifyConnection = func(s tls.ConnectionState) error {
		now := time.Now
		if conf.Time != nil {
			now = conf.Time
		}
		return verifyJoin(s.PeerCertificates, caFingerprint, now())
	}
	return conf
}

// verifyJoin verifies the certificates that a server has shown, its own first. Nothing but the fingerprint is trusted: everybody can show
// the authority's certificate, but only the authority can have signed the server's.
func verifyJoin(shown []*x509.Certificate, fingerprint [sha256.Size]byte, now time.Time) error {
	ca := withFingerprint(shown, fingerprint)
	if ca == nil || checkCA(ca) != nil {
		return ErrNotTheController
	}
	return verifyShown(shown[0], ca, nil, ControllerName, now)
}

// withFingerprint is the certificate with a fingerprint among those that a server has shown after its own; nil: none.
func withFingerprint(shown []*x509.Certificate, fingerprint [sha256.Size]byte) *x509.Certificate {
	for i, ca := range shown {
		if i > 0 && sha256.Sum256(ca.Raw) == fingerprint {
			return ca
		}
	}
	return nil
}

// verifyShown verifies a server's certificate against the authority that is trusted.
func verifyShown(cert, ca *x509.Certificate, between []*x509.Certificate, name string, now time.Time) error {
	roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(ca)
	for _, c := range between {
		intermediates.AddCert(c)
	}
	_, err := cert.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: intermediates, DNSName: name, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	switch invalid, ok := errors.AsType[x509.CertificateInvalidError](err); {
	case err == nil:
		return nil
	case ok && invalid.Reason == x509.Expired:
		return fmt.Errorf("cannot trust the controller: its certificate is not valid at this time; look at the clocks of both hosts: %w", err)
	}
	return fmt.Errorf("%w (%w)", ErrNotTheController, err)
}
