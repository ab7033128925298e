package cli

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/zeekrec/zeekrec/cmd/internal/apitoken"
	"github.com/zeekrec/zeekrec/cmd/internal/fleet"
	"github.com/zeekrec/zeekrec/cmd/internal/identity"
)

// serveFlags are those of commands that serve in TLS.
func (a *app) serveFlags(f *pflag.FlagSet) {
	s := &a.settings.fleet
	f.StringVar(&s.serve, "serve", "", "serve people on other machines at this `HOST:PORT` (:"+apiPort+"), in TLS, with tokens; see: zeekrec help tokens")
	f.StringVar(&s.names, "tls-names", "", "further host `NAMES` and addresses for the certificate, separated by commas")
	f.StringVar(&s.files.Cert, "tls-cert", "", "a certificate of your own to show, a `FILE` in PEM with its chain")
	f.StringVar(&s.files.Key, "tls-key", "", "its key, a `FILE` in PEM")
	f.StringVar(&s.files.CA, "tls-ca", "", "what has signed it, a `FILE` in PEM")
}

func (a *app) tlsNames() []string {
	return strings.FieldsFunc(a.settings.fleet.names, func(r rune) bool { return r == ',' || r == ' ' })
}

// serving is the port for people on other machines, and their tokens.
type serving struct {
	listener net.Listener // nil: nobody is served
	tls      *tls.Config
	tokens   *apitoken.Store
}

// openServing opens the port, where there is to be one. The caller holds the state folder. c is the controller of a fleet, nil where there
// is none; it has the certificate authority of this process open, which is not opened twice.
func (a *app) openServing(ctx context.Context, h hosted, c *fleet.Controller) (*serving, error) {
	s, at := &serving{}, a.settings.fleet.serve
	var fingerprint *[32]byte
	if h.listens && at != "" {
		config, of, err := a.apiTLS(c)
		if err != nil {
			return nil, fmt.Errorf("cannot serve the API: %w", err)
		}
		if _, _, err := net.SplitHostPort(at); err != nil {
			return nil, fmt.Errorf("cannot use --serve %s: it has to be HOST:PORT", at)
		}
		var lc net.ListenConfig
		if s.listener, err = lc.Listen(ctx, "tcp", at); err != nil {
			return nil, fmt.Errorf("cannot serve the API: %w", err)
		}
		s.tls, fingerprint = config, &of
		h.log.Info("Serving people on other machines", "at", s.listener.Addr())
	}
	s.tokens = apitoken.Open(filepath.Join(a.settings.stateDir, "api-tokens.json"), fingerprint, time.Now)
	if err := s.tokens.Err(); err != nil {
		h.log.Error("Nobody is let in with a token", "error", err)
	}
	return s, nil
}

// apiTLS is the configuration of the port, and the fingerprint that tokens carry.
func (a *app) apiTLS(c *fleet.Controller) (*tls.Config, [32]byte, error) {
	if c != nil {
		return c.APITLS()
	}
	if files := a.settings.fleet.files; files != (identity.Files{}) {
		return files.APITLS()
	}
	authority, err := identity.Open(filepath.Join(a.settings.stateDir, "pki"), time.Now)
	if err != nil {
		return nil, [32]byte{}, err
	}
	t, err := authority.ServerTLS(a.tlsNames())
	if err != nil {
		return nil, [32]byte{}, err
	}
	return identity.ForAPI(t), authority.Fingerprint(), nil
}

// close closes the port where it was not served.
func (s *serving) close() error {
	if s.listener == nil {
		return nil
	}
	return s.listener.Close()
}
