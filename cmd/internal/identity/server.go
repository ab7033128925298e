package identity

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// lookEvery is how often the server's certificate is compared with the names that this machine has.
const lookEvery = time.Minute

// maxNames bounds the names in a certificate: each agent gets them all, with each connection.
const maxNames = 256

// ServerTLS is the configuration of the controller's port: TLS 1.3, and clients may show a certificate, which has to be of this
// authority; ask Check whose it is, and what one without may do is up to the caller. The server's own certificate is made and renewed as
// needed, for ControllerName, the names of this machine, its addresses, and the extra names, which are names or addresses of the
// controller as others see it. To be called once.
func (a *Authority) ServerTLS(extraNames []string) (*tls.Config, error) {
	for _, n := range extraNames {
		if _, err := netip.ParseAddr(n); err != nil && !validHost(n) {
			return nil, fmt.Errorf("cannot make a certificate for %.260q: it is no name of a host, and no address", n)
		}
	}
	s := &server{a: a, extra: slices.Clone(extraNames)}
	if err := s.open(); err != nil {
		return nil, err
	}
	clients := x509.NewCertPool()
	clients.AddCert(a.ca.cert)
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Time: a.now, GetCertificate: s.get, ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: clients,
		// Connections last for days. A resumed one would save nothing, and rest on what was verified long ago.
		SessionTicketsDisabled: true,
	}, nil
}

// server keeps the server's certificate.
type server struct {
	a     *Authority
	extra []string

	mu     sync.Mutex
	pair   pair
	shown  *tls.Certificate
	looked time.Time
}

// open reads the certificate, or makes it, and sees that it can be kept.
func (s *server) open() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	path := s.a.path(serverFile)
	text, err := read(path, maxPEM)
	if err == nil {
		var p pair
		if p, err = decodePair(text); err == nil && p.cert.CheckSignatureFrom(s.a.ca.cert) != nil {
			err = errors.New("it was not made by this controller")
		}
		if err != nil {
			err = &Damaged{path, fmt.Errorf("%w; remove it, and a new one is made", err)}
		}
		s.pair = p
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot use the controller's certificate: %w", err)
	}
	if err := s.renew(s.a.now()); err != nil {
		return fmt.Errorf("cannot make the controller's certificate: %w", err)
	}
	return nil
}

// get is what a handshake asks for the certificate.
func (s *server) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.a.now()
	if since := now.Sub(s.looked); since < 0 || since >= lookEvery {
		// A new certificate that cannot be kept is as good as one that can: the next process makes another. One that cannot be made
		// leaves the old one, which agents judge for themselves.
		_ = s.renew(now)
	}
	return s.shown, nil
}

// renew makes a new certificate where a third of its life is left, or where it is not for the names that it should be for. An error may
// be that it is in use, but not on disk.
func (s *server) renew(now time.Time) error {
	s.looked = now
	hosts, addrs, err := s.names()
	if err != nil {
		return err
	}
	if c := s.pair.cert; c == nil || !validAt(c, now) || lessLeft(c, 3, now) || !slices.Equal(c.DNSNames, hosts) || !sameAddrs(c.IPAddresses, addrs) {
		key, err := newKey()
		if err != nil {
			return err
		}
		cert, err := s.a.ca.sign(x509.Certificate{
			Subject: pkix.Name{CommonName: ControllerName}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
			DNSNames: hosts, IPAddresses: addrs,
		}, key.Public(), now)
		if err != nil {
			return err
		}
		s.pair = pair{cert, key}
		text, err := s.pair.encode()
		if err == nil {
			err = write(s.a.path(serverFile), text)
		}
		s.shown = s.pair.shown(s.a.ca.cert)
		return err
	}
	s.shown = s.pair.shown(s.a.ca.cert) // with the authority's: JoinTLS looks for it
	return nil
}

// names that the certificate should be for, sorted.
func (s *server) names() (hosts []string, addrs []net.IP, err error) {
	local, err := s.a.local()
	if err != nil {
		return nil, nil, err
	}
	hosts = []string{ControllerName, "localhost"}
	var ips []netip.Addr
	for _, n := range slices.Concat(s.extra, local) {
		if ip, err := netip.ParseAddr(n); err == nil {
			ips = append(ips, ip.Unmap().WithZone(""))
		} else if validHost(n) {
			hosts = append(hosts, strings.ToLower(n))
		}
	}
	slices.SortFunc(ips, netip.Addr.Compare)
	ips = slices.Compact(ips)
	for _, ip := range ips[:min(len(ips), maxNames)] {
		addrs = append(addrs, ip.AsSlice())
	}
	slices.Sort(hosts)
	return slices.Compact(hosts), addrs, nil
}

func sameAddrs(a, b []net.IP) bool { return slices.EqualFunc(a, b, net.IP.Equal) }

// validHost says whether a name may be in a certificate.
func validHost(name string) bool {
	if len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || strings.Trim(strings.ToLower(label), "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return true
}

// localNames are the name and the addresses of this machine.
func localNames() ([]string, error) {
	as, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("cannot list the addresses of this machine: %w", err)
	}
	var names []string
	for _, a := range as {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			names = append(names, p.Addr().String())
		}
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("cannot ask for the name of this machine: %w", err)
	}
	return append(names, host), nil
}
