package cli

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
)

// tls as zeek-client has it: without a certificate of its own nothing is verified, with one everything is.
func (s *clientSettings) tls(host string) (*tls.Config, error) {
	cert, key := s.get("ssl", "certificate"), s.get("ssl", "keyfile")
	if cert == "" {
		return &tls.Config{InsecureSkipVerify: true, ServerName: host}, nil
	}
	if s.get("ssl", "passphrase") != "" {
		return nil, errors.New("cannot use ssl.passphrase: keys that are encrypted are not supported; decrypt it to a file of your own (openssl pkey)")
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("cannot use ssl.certificate: %w", err)
	}
	roots, err := s.roots()
	return &tls.Config{Certificates: []tls.Certificate{pair}, ServerName: host, RootCAs: roots}, err
}

// roots are the certificates of ssl.cafile and of the folder ssl.capath; nil, where there is neither, for those of the system.
func (s *clientSettings) roots() (*x509.CertPool, error) {
	file, dir := s.get("ssl", "cafile"), s.get("ssl", "capath")
	if file == "" && dir == "" {
		return nil, nil
	}
	pool, some := x509.NewCertPool(), false
	if file != "" {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("cannot use ssl.cafile: %w", err)
		}
		if some = pool.AppendCertsFromPEM(b); !some {
			return nil, fmt.Errorf("cannot use ssl.cafile: there is no certificate in PEM in %s", file)
		}
	}
	if dir != "" {
		found, err := hashed(pool, dir)
		if err != nil {
			return nil, fmt.Errorf("cannot use ssl.capath: %w", err)
		}
		if !found && !some {
			return nil, fmt.Errorf("cannot use ssl.capath: no certificate in %s has the name by which one is found, HASH.0; make these names with: openssl rehash %s", dir, dir)
		}
	}
	return pool, nil
}

// hashName is the name of a certificate in a folder that openssl rehash has prepared: the hash of its subject and a number.
var hashName = regexp.MustCompile(`^[0-9a-f]{8}\.[0-9]+$`)

// hashed adds the certificates of a folder to a pool, and reports whether there are any. OpenSSL, and with it zeek-client, trusts only
// those with such a name: what lies beside them, a key or a certificate that was put away, is not for anybody to trust.
func hashed(pool *x509.CertPool, dir string) (bool, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false, err
	}
	some := false
	for _, e := range entries {
		if !hashName.MatchString(e.Name()) {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // a link to a certificate that was removed
		}
		if err != nil {
			return false, err
		}
		some = pool.AppendCertsFromPEM(b) || some
	}
	return some, nil
}
