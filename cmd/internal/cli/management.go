package cli

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"

	"github.com/spf13/pflag"

	"github.com/zeekrec/zeekrec/cmd/internal/api"
	"github.com/zeekrec/zeekrec/cmd/internal/fleet"
	"github.com/zeekrec/zeekrec/cmd/internal/local"
	"github.com/zeekrec/zeekrec/cmd/internal/mgmt"
	"github.com/zeekrec/zeekrec/desired/clustercfg"
	"github.com/zeekrec/zeekrec/desired/source/git"
)

// management are the settings of the API for zeek-client.
type management struct {
	listen     string // empty: not on a port
	cluster    string
	tls        mgmt.TLSFiles
	requireTLS bool
	insecure   bool // others than this machine's users may connect without a certificate
}

const defaultCluster = "default"

func (a *app) managementFlags(f *pflag.FlagSet) {
	m := &a.settings.management
	f.StringVar(&m.listen, "api-listen", a.webSocketAddress(), "serve zeek-client at this `HOST:PORT` (127.0.0.1:2149), plain and with TLS")
	f.StringVar(&m.cluster, "api-cluster", defaultCluster, "the `CLUSTER` that zeek-client deploys, and is shown")
	f.StringVar(&m.tls.Cert, "api-cert", "", "the certificate to show, a `FILE` in PEM (default: one of its own)")
	f.StringVar(&m.tls.Key, "api-key", "", "its key, a `FILE` in PEM")
	f.StringVar(&m.tls.ClientCA, "api-client-ca", "", "a `FILE` in PEM: clients need a certificate that one of these has signed")
	f.BoolVar(&m.requireTLS, "api-require-tls", false, "refuse connections without TLS")
	f.BoolVar(&m.insecure, "api-insecure", false, "let whoever reaches the port deploy, also from other machines")
}

// check refuses a port that other machines reach and that asks nobody who he is: zeek-client knows no passwords, so that takes
// certificates.
func (m management) check() error {
	if m.listen == "" {
		return nil
	}
	host, _, err := net.SplitHostPort(m.listen)
	if err != nil {
		return usage(fmt.Errorf("cannot use --api-listen %s: it has to be HOST:PORT", m.listen))
	}
	if isLoopback(host) || m.tls.ClientCA != "" || m.insecure {
		return nil
	}
	return usage(fmt.Errorf("cannot use --api-listen %s: whoever reaches it from another machine could deploy", m.listen),
		"ask clients for certificates: --api-client-ca FILE",
		"or serve this machine alone: --api-listen 127.0.0.1:2149",
		"or let whoever reaches it deploy: --api-insecure")
}

// isLoopback reports whether what listens at a host is reached from this machine alone.
func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// webSocketAddress is where Zeek's controller would serve zeek-client, if its variables say so; else nowhere.
func (a *app) webSocketAddress() string {
	host, port := a.env["ZEEK_CONTROLLER_WEBSOCKET_ADDR"], a.env["ZEEK_CONTROLLER_WEBSOCKET_PORT"]
	if host == "" && port == "" {
		return ""
	}
	return net.JoinHostPort(cmp.Or(host, "127.0.0.1"), cmp.Or(port, "2149"))
}

// controllers of the management API, which answer through the server of the local one; fleet is nil where no agents dial in here.
func (a *app) controllers(m *local.Machine, server *api.Server, fleet *fleet.Controller, source string, log *slog.Logger) *mgmt.Controllers {
	config := mgmt.Config{
		Engine: m.Engine, Nodes: server, Cluster: a.settings.management.cluster, Name: a.controllerName(), Instance: a.settings.name,
		PID: os.Getpid(), StateDir: a.settings.stateDir, Parse: clustercfg.Parse, Log: log,
	}
	if fleet != nil {
		config.Where, config.Await = fleet.Where, fleet.Await
	}
	return mgmt.NewControllers(config, func(cluster string) mgmt.Target {
		if git.IsURL(source) {
			return mgmt.NoTarget{URL: source}
		}
		return mgmt.NewFileTarget(source, cluster)
	})
}

// controllerName is the name that Zeek's controller would have here.
func (a *app) controllerName() string {
	if n := a.env["ZEEK_CONTROLLER_NAME"]; n != "" {
		return n
	}
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "localhost"
	}
	return "controller-" + host
}

// listenManagement opens the port; nil where there shall be none.
func (a *app) listenManagement(ctx context.Context, log *slog.Logger) (*mgmt.Listener, error) {
	m := a.settings.management
	if m.listen == "" {
		return nil, nil
	}
	config, err := mgmt.ServerTLS(a.settings.stateDir, m.tls)
	if err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", m.listen)
	if err != nil {
		return nil, fmt.Errorf("cannot serve zeek-client: %w", err)
	}
	plain := !m.requireTLS && m.tls.ClientCA == ""
	warnOpen(m, plain, log)
	log.Info("Serving zeek-client", "at", l.Addr(), "plain", plain, "cluster", m.cluster)
	return &mgmt.Listener{Listener: l, TLS: config, Plain: plain}, nil
}

// warnOpen warns where others than this machine's users can deploy, which they were allowed to.
func warnOpen(m management, plain bool, log *slog.Logger) {
	host, _, _ := net.SplitHostPort(m.listen) // checked with the settings
	switch {
	case isLoopback(host) || m.tls.ClientCA != "":
	case plain:
		log.Warn("The API for zeek-client is open to the network without TLS: whoever reaches it reads, and deploys; see --api-client-ca and --api-require-tls", "host", host)
	default:
		log.Warn("The API for zeek-client is open to the network without certificates of clients: whoever reaches it can deploy; see --api-client-ca", "host", host)
	}
}
