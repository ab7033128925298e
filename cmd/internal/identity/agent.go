package identity

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Names of the agent's files; its certificate authority has the name that it has on the controller.
const (
	keyFile        = "key.pem"
	certFile       = "cert.pem"
	controllerFile = "controller.json"
)

// controllerJSON is controller.json.
type controllerJSON struct {
	Addresses []string `json:"addresses"`
	Name      string   `json:"name"`
}

// NotEnrolled says that a folder has no certificate: the agent has to join first.
type NotEnrolled struct{ Dir string }

// Error says what to do.
func (n *NotEnrolled) Error() string {
	return fmt.Sprintf("this agent is not enrolled: there is no certificate in %s; make a token on the controller, and join with it", n.Dir)
}

// NewRequest makes a request for a certificate in a name, in PEM, to send to the controller. It makes the agent's key in dir, or takes that
// which is there: so a join that was interrupted goes on, and who joins again stays the same.
func NewRequest(dir, name string) (csrPEM []byte, err error) {
	if err := CheckName(name); err != nil {
		return nil, fmt.Errorf("cannot request a certificate for %.210q: %w", name, err)
	}
	key, err := ensureKey(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot request a certificate: %w", err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}, key)
	if err != nil {
		return nil, fmt.Errorf("cannot request a certificate: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: requestType, Bytes: der}), nil
}

// ensureKey reads the agent's key, and makes it where the agent has nothing yet.
func ensureKey(dir string) (*ecdsa.PrivateKey, error) {
	if err := ready(dir, keyFile, certFile, caFile, controllerFile); err != nil {
		return nil, err
	}
	key, err := readKey(dir)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	switch enrolled, err := exists(filepath.Join(dir, certFile)); {
	case err != nil:
		return nil, err
	case enrolled:
		return nil, &Damaged{filepath.Join(dir, keyFile), fmt.Errorf("it is missing, while its certificate is there; restore it, or remove %s and join anew", certFile)}
	}
	if key, err = newKey(); err != nil {
		return nil, err
	}
	text, err := keyPEM(key)
	if err != nil {
		return nil, err
	}
	return key, write(filepath.Join(dir, keyFile), text)
}

func readKey(dir string) (*ecdsa.PrivateKey, error) {
	path := filepath.Join(dir, keyFile)
	text, err := read(path, maxPEM)
	if err != nil {
		return nil, err
	}
	key, err := parseKey(text)
	if err != nil {
		return nil, &Damaged{path, err}
	}
	return key, nil
}

// Accept keeps what Enrol answered, with the addresses of the controller, in the order in which they are to be tried. Nothing is written
// unless the certificate is for the key in dir and was made by the authority that came with it; that this is the right authority is
// what JoinTLS has seen to. The certificate is written last. One of another authority or name is removed first: a crash in between
// leaves an agent that is not enrolled, and may join again with the same token.
func Accept(dir string, enrolled Enrolled, controller []string) error {
	if enrolled.Pending || len(enrolled.Certificate) == 0 {
		return errors.New("cannot enrol: the agent was not approved on the controller yet")
	}
	if len(controller) == 0 || slices.Contains(controller, "") {
		return errors.New("cannot enrol: an address of the controller is missing")
	}
	key, err := readKey(dir)
	if err != nil {
		return fmt.Errorf("cannot enrol: %w", err)
	}
	ca, err := parseCA(enrolled.CA)
	if err != nil {
		return fmt.Errorf("cannot enrol: the controller's certificate authority: %w", err)
	}
	cert, err := parseOwn(enrolled.Certificate, key, ca)
	if err != nil {
		return fmt.Errorf("cannot enrol: what the controller sent: %w", err)
	}
	if err := accept(dir, ca, cert, controller); err != nil {
		return fmt.Errorf("cannot enrol: %w", err)
	}
	return nil
}

// accept writes what Accept has looked at.
func accept(dir string, ca, cert *x509.Certificate, controller []string) error {
	name := cert.Subject.CommonName
	if had, err := Load(dir); err != nil || !had.ca.Equal(ca) || had.name != name {
		if err := os.Remove(filepath.Join(dir, certFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := syncDir(dir); err != nil {
			return err
		}
	}
	if err := write(filepath.Join(dir, caFile), certPEM(ca)); err != nil {
		return err
	}
	if err := writeJSON(filepath.Join(dir, controllerFile), controllerJSON{controller, name}); err != nil {
		return err
	}
	return write(filepath.Join(dir, certFile), certPEM(cert))
}

// parseCA reads the certificate of an authority.
func parseCA(text []byte) (*x509.Certificate, error) {
	ca, err := parseCert(text)
	if err != nil {
		return nil, err
	}
	return ca, checkCA(ca)
}

// parseOwn reads the certificate of this agent. It does not look at times: the controller's clock made them.
func parseOwn(text []byte, key *ecdsa.PrivateKey, ca *x509.Certificate) (*x509.Certificate, error) {
	cert, err := parseCert(text)
	if err != nil {
		return nil, err
	}
	if err := checkAgent(cert, ca); err != nil {
		return nil, err
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return nil, errors.New("the certificate is not for the key of this agent")
	}
	return cert, nil
}

// Identity is an agent that is enrolled. Its methods may be called from several goroutines; one process has a folder.
type Identity struct {
	dir       string
	name      string
	addresses []string
	key       *ecdsa.PrivateKey
	ca        *x509.Certificate

	renewing sync.Mutex // over cert.pem
	shown    atomic.Pointer[tls.Certificate]
}

// Load reads an agent's identity. It is a NotEnrolled where there is no certificate, and a Damaged where there is one that does not go
// with the other files. A certificate that has expired is none of that: the controller refuses it.
func Load(dir string) (*Identity, error) {
	text, err := read(filepath.Join(dir, certFile), maxPEM)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &NotEnrolled{dir}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the agent's identity: %w", err)
	}
	id, err := load(dir, text)
	if err != nil {
		return nil, fmt.Errorf("cannot read the agent's identity: %w", err)
	}
	return id, nil
}

func load(dir string, certText []byte) (*Identity, error) {
	// missing makes an error of a file that has to be there, because the certificate is.
	missing := func(file string, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return &Damaged{filepath.Join(dir, file), errors.New("it is missing; restore it, or join again with a new token")}
		}
		return err
	}
	id := &Identity{dir: dir}
	var err error
	if id.key, err = readKey(dir); err != nil {
		return nil, missing(keyFile, err)
	}
	caText, err := read(filepath.Join(dir, caFile), maxPEM)
	if err != nil {
		return nil, missing(caFile, err)
	}
	if id.ca, err = parseCA(caText); err != nil {
		return nil, &Damaged{filepath.Join(dir, caFile), err}
	}
	var c controllerJSON
	if err := readJSON(filepath.Join(dir, controllerFile), &c); err != nil {
		return nil, missing(controllerFile, err)
	}
	cert, err := parseOwn(certText, id.key, id.ca)
	if err != nil {
		return nil, &Damaged{filepath.Join(dir, certFile), fmt.Errorf("%w; join again with a new token", err)}
	}
	if len(c.Addresses) == 0 || slices.Contains(c.Addresses, "") || c.Name != cert.Subject.CommonName {
		return nil, &Damaged{filepath.Join(dir, controllerFile), errors.New("it has no address, or another name than the certificate; join again with a new token")}
	}
	id.name, id.addresses = c.Name, c.Addresses
	id.show(cert)
	return id, nil
}

// Name of the agent.
func (id *Identity) Name() string { return id.name }

// Addresses of the controller, as they were given when the agent joined. The slice is the caller's.
func (id *Identity) Addresses() []string { return slices.Clone(id.addresses) }

// Expires is when the newest certificate does.
func (id *Identity) Expires() time.Time { return id.shown.Load().Leaf.NotAfter }

// NeedsRenewal says whether it is time to ask for a new certificate: less than a third of its life is left.
func (id *Identity) NeedsRenewal(now time.Time) bool { return lessLeft(id.shown.Load().Leaf, 3, now) }

// Renewed takes a new certificate, in PEM, that the controller made for a request of NewRequest. Connections from now on show it, also
// those of configurations that TLS has made before. One that is not for this agent, or that expires before the one that it has, is an
// error and changes nothing.
func (id *Identity) Renewed(text []byte) error {
	cert, err := parseOwn(text, id.key, id.ca)
	if err != nil {
		return fmt.Errorf("cannot take the new certificate: %w", err)
	}
	if cert.Subject.CommonName != id.name {
		return errors.New("cannot take the new certificate: it is for another name")
	}
	id.renewing.Lock()
	defer id.renewing.Unlock()
	if cert.NotAfter.Before(id.Expires()) {
		return errors.New("cannot take the new certificate: it expires before the one that is in use")
	}
	if err := write(filepath.Join(id.dir, certFile), certPEM(cert)); err != nil {
		return fmt.Errorf("cannot keep the new certificate: %w", err)
	}
	id.show(cert)
	return nil
}

func (id *Identity) show(cert *x509.Certificate) { id.shown.Store(pair{cert, id.key}.shown()) }
