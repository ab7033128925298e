package identity

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync"
)

// Files are certificates that somebody else makes and renews, instead of all that this package does: who has a certificate authority for
// all hosts needs neither tokens nor a registry. The authority alone decides who may come in, so shutting out an agent is its matter too.
// All three are paths of files in PEM, and go together.
type Files struct {
	Cert, Key string // of this process, for server or client; the certificates in between may follow the first. Read for each connection.
	CA        string // who has to have made the other end's certificate. Read once.
}

// ServerTLS is the configuration of the controller's port: TLS 1.3, and clients have to show a certificate of the authority. Whose it is
// says NameOf.
func (f Files) ServerTLS() (*tls.Config, error) {
	k, authorities, err := f.open()
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: authorities, SessionTicketsDisabled: true,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return k.get(), nil },
	}, nil
}

// ClientTLS is the configuration to dial the controller with. Its certificate has to be for the host that is dialled: whoever dials sets
// ServerName to that, as tls.Dial does.
func (f Files) ClientTLS() (*tls.Config, error) {
	k, authorities, err := f.open()
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: authorities,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return k.get(), nil },
	}, nil
}

// NameOf is the name of the agent that a certificate of another authority is for, once TLS has verified it: its common name.
func NameOf(cert *x509.Certificate) (string, error) {
	if err := CheckName(cert.Subject.CommonName); err != nil {
		return "", fmt.Errorf("cannot tell whose certificate it is by its common name: %w", err)
	}
	return cert.Subject.CommonName, nil
}

func (f Files) open() (*keyPairFiles, *x509.CertPool, error) {
	if f.Cert == "" || f.Key == "" || f.CA == "" {
		return nil, nil, errors.New("cannot use certificates of your own: the certificate, its key and the certificate authority have to be given together")
	}
	b, err := os.ReadFile(f.CA)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot read the certificate authority: %w", err)
	}
	authorities := x509.NewCertPool()
	if !authorities.AppendCertsFromPEM(b) {
		return nil, nil, fmt.Errorf("cannot use the certificate authority: %s has no certificate in PEM", f.CA)
	}
	cert, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot use the certificate %s: %w", f.Cert, err)
	}
	return &keyPairFiles{f: f, last: &cert}, authorities, nil
}

// keyPairFiles reads a certificate and its key anew for each connection, so that nothing has to be started again when they are renewed.
type keyPairFiles struct {
	f    Files
	mu   sync.Mutex
	last *tls.Certificate
}

// get is what is on disk, or what was there before: while somebody replaces two files they do not go together.
func (k *keyPairFiles) get() *tls.Certificate {
	k.mu.Lock()
	defer k.mu.Unlock()
	if cert, err := tls.LoadX509KeyPair(k.f.Cert, k.f.Key); err == nil {
		k.last = &cert
	}
	return k.last
}
