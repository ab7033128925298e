package mgmt

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"
)

// TLSFiles say which certificate to show, and whose to ask for.
type TLSFiles struct {
	// Cert and Key in PEM; both empty: one of our own, made once and kept in the state folder.
	Cert, Key string
	// ClientCA in PEM: clients have to show a certificate that it signed. Empty: they need none.
	ClientCA string
}

// ServerTLS makes the configuration of TLS: 1.3 only, because an older one would have to offer the anonymous ciphers that zeek-client
// asks for when it was given no certificate.
func ServerTLS(stateDir string, f TLSFiles) (*tls.Config, error) {
	if (f.Cert == "") != (f.Key == "") {
		return nil, errors.New("cannot use TLS: a certificate and its key have to be given together")
	}
	if f.Cert == "" {
		f.Cert = filepath.Join(stateDir, "management-cert.pem")
		if err := ownCertificate(f.Cert); err != nil {
			return nil, err
		}
		f.Key = f.Cert
	}
	cert, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		return nil, fmt.Errorf("cannot use the certificate %s: %w", f.Cert, err)
	}
	c := &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}}
	if f.ClientCA != "" {
		b, err := os.ReadFile(f.ClientCA)
		if err != nil {
			return nil, fmt.Errorf("cannot read the certificates of clients: %w", err)
		}
		c.ClientCAs, c.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
		if !c.ClientCAs.AppendCertsFromPEM(b) {
			return nil, fmt.Errorf("cannot use the certificates of clients: %s has none in PEM", f.ClientCA)
		}
	}
	return c, nil
}

// certificateLife is how long our own certificate is valid. Nobody can verify it, so a change would help nobody.
const certificateLife = 20 * 365 * 24 * time.Hour

// ownCertificate makes a self-signed certificate with its key in one file, unless there is one.
func ownCertificate(path string) error {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("cannot make a key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return fmt.Errorf("cannot make a certificate: %w", err)
	}
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: host}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(certificateLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames: []string{host, "localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return fmt.Errorf("cannot make a certificate: %w", err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("cannot write a key: %w", err)
	}
	text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})...)
	if err := renameio.WriteFile(path, text, 0o600); err != nil {
		return fmt.Errorf("cannot keep the certificate: %w", err)
	}
	return nil
}
