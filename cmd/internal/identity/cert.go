package identity

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"
)

// How long certificates are valid.
const (
	caLife   = 10 * 365 * 24 * time.Hour
	leafLife = 90 * 24 * time.Hour
	// backdated is for clocks that are behind.
	backdated = time.Hour
)

// ControllerName is in the certificate of every controller, and what agents look for there.
const ControllerName = "zeekrec-controller"

// Types of PEM blocks.
const (
	certType    = "CERTIFICATE"
	keyType     = "PRIVATE KEY"
	requestType = "CERTIFICATE REQUEST"
)

// pair is a certificate with its key.
type pair struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// newKey makes a key. All keys here are ECDSA on P-256: small, and in every implementation and policy.
func newKey() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("cannot make a key: %w", err)
	}
	return key, nil
}

// newCA makes a certificate authority that signs itself.
func newCA(now time.Time) (pair, error) {
	key, err := newKey()
	if err != nil {
		return pair{}, err
	}
	id, err := keyFingerprint(key.Public())
	if err != nil {
		return pair{}, err
	}
	t := &x509.Certificate{
		// The name is for people who look at certificates of several controllers.
		Subject: pkix.Name{CommonName: "zeekrec controller " + id[:8]}, NotBefore: now.Add(-backdated), NotAfter: now.Add(caLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	cert, err := create(t, t, key.Public(), key)
	return pair{cert, key}, err
}

// sign makes a certificate for a key, with the template's names and uses. It is valid from now, and never longer than its authority.
func (ca pair) sign(t x509.Certificate, public any, now time.Time) (*x509.Certificate, error) {
	t.NotBefore, t.NotAfter = now.Add(-backdated), now.Add(leafLife)
	if t.NotBefore.Before(ca.cert.NotBefore) {
		t.NotBefore = ca.cert.NotBefore
	}
	if t.NotAfter.After(ca.cert.NotAfter) {
		t.NotAfter = ca.cert.NotAfter
	}
	t.KeyUsage, t.BasicConstraintsValid = x509.KeyUsageDigitalSignature, true
	return create(&t, ca.cert, public, ca.key)
}

// signAgent makes an agent's certificate. Its name is in no place where a server's would be looked for.
func (ca pair) signAgent(name string, public any, now time.Time) (*x509.Certificate, error) {
	return ca.sign(x509.Certificate{Subject: pkix.Name{CommonName: name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, public, now)
}

func create(t, parent *x509.Certificate, public, signer any) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, t, parent, public, signer)
	if err != nil {
		return nil, fmt.Errorf("cannot make a certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("cannot make a certificate: %w", err)
	}
	return cert, nil
}

// validAt says whether a certificate is valid at a time.
func validAt(cert *x509.Certificate, now time.Time) bool {
	return !now.Before(cert.NotBefore) && !now.After(cert.NotAfter)
}

// lessLeft says whether less than a part of a certificate's life is left: 3 means a third.
func lessLeft(cert *x509.Certificate, part time.Duration, now time.Time) bool {
	return cert.NotAfter.Sub(now) < cert.NotAfter.Sub(cert.NotBefore)/part
}

// checkAgent says why a certificate is none that the authority made for an agent. It does not look at times.
func checkAgent(cert, ca *x509.Certificate) error {
	if err := cert.CheckSignatureFrom(ca); err != nil {
		return errors.New("the certificate was not made by this controller")
	}
	if cert.IsCA || !slices.Equal(cert.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}) {
		return errors.New("the certificate is not an agent's")
	}
	return CheckName(cert.Subject.CommonName)
}

// checkCA says why a certificate is not that of an authority of ours.
func checkCA(cert *x509.Certificate) error {
	if !cert.IsCA || !cert.BasicConstraintsValid || cert.CheckSignatureFrom(cert) != nil {
		return errors.New("the certificate is not that of a certificate authority")
	}
	return nil
}

// keyFingerprint is the SHA-256 of a public key, in hex: what people compare, and what the registry knows an agent by.
func keyFingerprint(public any) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return "", fmt.Errorf("cannot use the key: %w", err)
	}
	h := sha256.Sum256(der)
	return hex.EncodeToString(h[:]), nil
}

// maxRequest bounds a request for a certificate, in bytes. One of ours takes 400.
const maxRequest = 8 << 10

// parseRequest reads a request for a certificate from outside. It returns the name and the public key; whoever made it has the key.
func parseRequest(text []byte) (name string, public *ecdsa.PublicKey, err error) {
	if len(text) > maxRequest {
		return "", nil, errors.New("it is too large")
	}
	der, err := onePEM(text, requestType)
	if err != nil {
		return "", nil, err
	}
	r, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return "", nil, errors.New("it is no request for a certificate")
	}
	public, ok := r.PublicKey.(*ecdsa.PublicKey)
	if !ok || public.Curve != elliptic.P256() {
		return "", nil, errors.New("its key is not ECDSA on P-256")
	}
	if err := r.CheckSignature(); err != nil {
		return "", nil, errors.New("its signature is wrong")
	}
	return r.Subject.CommonName, public, nil
}

// RequestFingerprint is the fingerprint of the key that a request is for, as Member has it: what an agent shows, and somebody compares
// with what the controller shows before approving it.
func RequestFingerprint(csrPEM []byte) (string, error) {
	_, public, err := parseRequest(csrPEM)
	if err != nil {
		return "", fmt.Errorf("cannot use the request for a certificate: %w", err)
	}
	return keyFingerprint(public)
}

// onePEM has the content of a text that is one PEM block of a type, and nothing else.
func onePEM(text []byte, kind string) ([]byte, error) {
	b, rest := pem.Decode(text)
	if b == nil || b.Type != kind || len(bytes.TrimSpace(rest)) > 0 || !bytes.HasPrefix(bytes.TrimSpace(text), []byte("-----BEGIN")) {
		return nil, fmt.Errorf("it is not one %s in PEM", kind)
	}
	return b.Bytes, nil
}

// certPEM is a certificate in PEM.
func certPEM(cert *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: certType, Bytes: cert.Raw})
}

// parseCert reads a text that is one certificate.
func parseCert(text []byte) (*x509.Certificate, error) {
	if len(text) > maxPEM {
		return nil, errors.New("it is too large")
	}
	der, err := onePEM(text, certType)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, errors.New("it is no certificate")
	}
	return cert, nil
}

// keyPEM is a key in PEM.
func keyPEM(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("cannot write a key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: keyType, Bytes: der}), nil
}

// parseKey reads a text that is one key.
func parseKey(text []byte) (*ecdsa.PrivateKey, error) {
	der, err := onePEM(text, keyType)
	if err != nil {
		return nil, err
	}
	k, err := x509.ParsePKCS8PrivateKey(der)
	key, ok := k.(*ecdsa.PrivateKey)
	if err != nil || !ok || key.Curve != elliptic.P256() { // the parser's own words may say something about the key
		return nil, errors.New("it is no key for ECDSA on P-256")
	}
	return key, nil
}

// encode writes a certificate and its key into one text: so no crash leaves the one without the other.
func (p pair) encode() ([]byte, error) {
	key, err := keyPEM(p.key)
	if err != nil {
		return nil, err
	}
	return append(certPEM(p.cert), key...), nil
}

// decodePair reads what encode has written.
func decodePair(text []byte) (pair, error) {
	first, rest := pem.Decode(text)
	if first == nil || first.Type != certType {
		return pair{}, errors.New("it does not begin with a certificate in PEM")
	}
	cert, err := x509.ParseCertificate(first.Bytes)
	if err != nil {
		return pair{}, errors.New("it has no proper certificate")
	}
	key, err := parseKey(rest)
	if err != nil {
		return pair{}, err
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return pair{}, errors.New("the key does not belong to the certificate")
	}
	return pair{cert, key}, nil
}

// shown is the pair as TLS shows it, with the certificates that follow.
func (p pair) shown(chain ...*x509.Certificate) *tls.Certificate {
	c := &tls.Certificate{Certificate: [][]byte{p.cert.Raw}, PrivateKey: p.key, Leaf: p.cert}
	for _, next := range chain {
		c.Certificate = append(c.Certificate, next.Raw)
	}
	return c
}
