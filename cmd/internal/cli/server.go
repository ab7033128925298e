package cli

import (
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/zeekrec/zeekrec/cmd/internal/api"
	"github.com/zeekrec/zeekrec/cmd/internal/identity"
)

// apiPort is where people on other machines are served unless something else is said.
const apiPort = "2152"

// maxTokenFile bounds what is read of a file with a token, in bytes.
const maxTokenFile = 4 << 10

// client of the zeekrec that is meant: the one on this machine, or with --server another. Where not all is said that it takes to ask that,
// every request says so.
func (a *app) client() *api.Client {
	if a.settings.server == "" {
		return api.NewClient(api.SocketPath(a.settings.stateDir))
	}
	at, err := serverAddress(a.settings.server)
	if err != nil {
		return api.Failing(usage(err, "for example: --server controller.example.org, --server [2001:db8::1]:"+apiPort))
	}
	token, err := a.token(at)
	if err != nil {
		return api.Failing(err)
	}
	return api.NewRemote(at, token)
}

// serverAddress is HOST:PORT of what --server says.
func serverAddress(s string) (string, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		host, port = s, apiPort
		if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
			host = host[1 : len(host)-1]
		} else if net.ParseIP(host) == nil && strings.ContainsAny(host, ":") {
			host = ""
		}
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || host == "" || strings.ContainsAny(host, "/@ []") {
		return "", fmt.Errorf("cannot use --server %s: it has to be HOST or HOST:PORT", s)
	}
	return net.JoinHostPort(host, port), nil
}

// token to show to a server. It is never in an argument, which everybody on this machine could read.
func (a *app) token(at string) (identity.Token, error) {
	text, from := a.env["ZEEKREC_TOKEN"], "ZEEKREC_TOKEN"
	if a.settings.tokenFileStated || text == "" {
		if a.settings.tokenFile == "" {
			return identity.Token{}, usage(fmt.Errorf("cannot ask zeekrec at %s without a token", at),
				"name a file that has it with --token-file, or set ZEEKREC_TOKEN_FILE or ZEEKREC_TOKEN", "it is made on that host: zeekrec tokens new NAME --role view")
		}
		var err error
		if text, err = readTokenFile(a.settings.tokenFile); err != nil {
			return identity.Token{}, withHint(fmt.Errorf("cannot read the token for zeekrec at %s: %w", at, err))
		}
		from = a.settings.tokenFile
	}
	t, err := identity.ParseAPIToken(text)
	if err != nil {
		return t, withHint(fmt.Errorf("cannot use the token in %s for zeekrec at %s: %w", from, at, err))
	}
	return t, nil
}

func readTokenFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxTokenFile))
	return string(b), err
}

// onlyHere refuses what is done on zeekrec's own host alone, where another is meant.
func (a *app) onlyHere(why string) error {
	if a.settings.server == "" {
		return nil
	}
	return usage(fmt.Errorf("cannot do this with --server %s: %s", a.settings.server, why),
		"on the host of zeekrec itself, leave out --server (and ZEEKREC_SERVER), or say --server=")
}

// takesServer refuses --server for commands that ask nobody, and those below them. The variable is no mistake there: it is for the others.
func takesServer(cmd *cobra.Command) error {
	f := cmd.Flags().Lookup("server")
	if f == nil || !f.Changed || f.Value.String() == "" {
		return nil
	}
	for c := cmd; c.HasParent(); c = c.Parent() {
		switch c.Name() {
		case "run", "controller", "agent", "validate", "import", "export", "archive", "broker", "version":
			if !c.Parent().HasParent() {
				return usage(fmt.Errorf("cannot use --server with %s: it does its work on this machine, and asks no other", cmd.CommandPath()))
			}
		}
	}
	return nil
}
