package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/zeekrec/zeekrec/actuators/broker"
	"github.com/zeekrec/zeekrec/actuators/broker/admin"
)

// Variables that keys come by: Zeek's own, and one of zeekrec's for several at once.
const (
	envServerPublic = "ZEEK_CLUSTER_BACKEND_ZEROMQ_CURVE_SERVER_PUBLICKEY"
	envServerSecret = "ZEEK_CLUSTER_BACKEND_ZEROMQ_CURVE_SERVER_SECRETKEY" //nolint:gosec // the name of a variable
	envClientPublic = "ZEEK_CLUSTER_BACKEND_ZEROMQ_CURVE_CLIENT_PUBLICKEY"
	envBrokerKeys   = "ZEEKREC_BROKER_KEYS"
)

// brokerOptions are the flags of `zeekrec broker`.
type brokerOptions struct {
	xpub, xsub   string
	settings     broker.Settings
	policy       string
	settingsFile string
	stateFile    string
	admin        string
	metrics      string
	statusFile   string
}

func (a *app) brokerCommand() *cobra.Command {
	var o brokerOptions
	c := &cobra.Command{
		Use:   "broker --xpub tcp://HOST:PORT --xsub tcp://HOST:PORT",
		Short: "Run a ZeroMQ broker for a Zeek cluster, in the foreground",
		Long: `Run a ZeroMQ broker for a Zeek cluster, in the foreground. zeekrec runs one for each
cluster by itself; this is the same program for clusters that are run otherwise.

It takes the place of the proxy thread in Zeek's manager:

  redef Cluster::Backend::ZeroMQ::run_proxy_thread = F;                     # on the manager
  redef Cluster::Backend::ZeroMQ::connect_xsub_endpoint = "tcp://HOST:5555";  # on all: --xpub
  redef Cluster::Backend::ZeroMQ::connect_xpub_endpoint = "tcp://HOST:5556";  # on all: --xsub

With CURVE keys in the environment, as Zeek has them, connections are encrypted and
nobody without the keys is let in:

  ` + envServerPublic + `
  ` + envServerSecret + `
  ` + envClientPublic + `

With --state it remembers who is there: when it is restarted, nodes stay members, and
messages that they still hold arrive. With --admin it can be asked and told while it
runs: zeekrec broker status, zeekrec broker ask.`,
		Example: `  zeekrec broker --xpub tcp://127.0.0.1:5555 --xsub tcp://127.0.0.1:5556
  zeekrec broker --xpub tcp://10.0.0.1:5555 --xsub tcp://10.0.0.1:5556 \
      --state /var/lib/zeek/broker.json --admin /run/zeek/broker.sock --metrics 127.0.0.1:9990`,
		Args: cobra.NoArgs,
		RunE: a.action(func(ctx context.Context, _ []string) error {
			return a.runBroker(ctx, o)
		}),
	}
	f := c.Flags()
	f.StringVar(&o.xpub, "xpub", "", "where nodes' XSUB sockets connect to, tcp://HOST:PORT")
	f.StringVar(&o.xsub, "xsub", "", "where nodes' XPUB sockets connect to, tcp://HOST:PORT")
	f.IntVar(&o.settings.SndHWM, "sndhwm", 0, "messages queued per subscriber; -1: no limit (default 1000)")
	f.Int64Var(&o.settings.QueueBytes, "queue-bytes", 0, "bytes queued per subscriber; -1: no limit (default 16 MiB)")
	f.StringVar(&o.policy, "policy", "", "what becomes of messages for a full queue: drop, disconnect the subscriber, or block the publisher (default drop)")
	f.DurationVar(&o.settings.Grace, "grace", 0, "how long a node whose connection was lost is taken to be there (default 5s)")
	f.DurationVar(&o.settings.Heartbeat, "heartbeat", 0, "pause between PINGs; a peer silent for three is dead; -1s: none (default 5s)")
	f.StringVar(&o.settingsFile, "settings", "", "file with these settings as JSON, instead of the flags")
	f.StringVar(&o.stateFile, "state", "", "file to remember who is there")
	f.StringVar(&o.admin, "admin", "", "Unix socket to be asked and told by")
	f.StringVar(&o.metrics, "metrics", "", "ADDRESS:PORT to serve Prometheus metrics on, at /metrics")
	f.StringVarP(&o.statusFile, "status-file", "U", "", "file to write the state to, as Zeek's -U does")
	a.logFlags(f, "info")
	c.MarkFlagsRequiredTogether("xpub", "xsub")
	c.AddCommand(a.brokerStatusCommand(), a.brokerAskCommand(), a.brokerProbeCommand())
	return c
}

func (a *app) runBroker(ctx context.Context, o brokerOptions) (err error) {
	if o.xpub == "" || o.xsub == "" {
		return usage(errors.New("--xpub and --xsub are required"), "zeekrec broker --xpub tcp://127.0.0.1:5555 --xsub tcp://127.0.0.1:5556")
	}
	ownName("zeek-broker") // whoever ends zeekrec by name spares it, also with pkill, which looks for a part of the name
	d := &daemon{status: statusFile(o.statusFile), log: a.logger()}
	if err := d.begin(); err != nil {
		return err
	}
	defer d.end(&err)
	o.settings.Policy = broker.Policy(o.policy)
	if o.settingsFile != "" {
		if o.settings, err = readSettings[broker.Settings](o.settingsFile); err != nil {
			return err
		}
	}
	keys, err := a.brokerKeys()
	if err != nil {
		return err
	}
	b, err := broker.New(broker.Config{Settings: o.settings, Keys: keys, StateFile: o.stateFile, Endpoints: o.xpub + " " + o.xsub, Version: Version(), Log: d.log})
	if err != nil {
		return err
	}
	xpub, err := d.open(broker.Listen(ctx, o.xpub))
	if err != nil {
		return err
	}
	xsub, err := d.open(broker.Listen(ctx, o.xsub))
	if err != nil {
		return err
	}
	d.part(ctx, func(ctx context.Context) error { return b.Serve(ctx, xpub, xsub) })
	if err := d.answer(ctx, o.admin, admin.Handler(b), o.metrics, admin.MetricsOnly(b)); err != nil {
		return err
	}
	return d.run("Broker", "xpub", xpub.Addr(), "xsub", xsub.Addr(), "encrypted", len(b.Status(false).Curve) > 0)
}

// brokerKeys are the keys of the environment. They are taken out of it at once: nothing that this process
// starts shall have them.
func (a *app) brokerKeys() (broker.Keyring, error) {
	var keys []admin.Keys
	if text := a.env[envBrokerKeys]; text != "" {
		if err := json.Unmarshal([]byte(text), &keys); err != nil {
			return broker.Keyring{}, fmt.Errorf("cannot read the keys in %s", envBrokerKeys) // err may show them
		}
	} else if a.env[envServerPublic] != "" || a.env[envServerSecret] != "" || a.env[envClientPublic] != "" {
		keys = []admin.Keys{{ServerPublic: a.env[envServerPublic], ServerSecret: a.env[envServerSecret], ClientPublic: a.env[envClientPublic]}}
	}
	for _, name := range []string{envBrokerKeys, envServerPublic, envServerSecret, envClientPublic} {
		_ = os.Unsetenv(name)
	}
	ring, err := admin.Keyring(keys)
	if err != nil {
		return ring, withHint(err, "a broker needs "+envServerPublic+", "+envServerSecret+" and "+envClientPublic+", or none of them")
	}
	return ring, nil
}

// brokerTimeout of questions to a broker.
const brokerTimeout = 10 * time.Second

func (a *app) brokerStatusCommand() *cobra.Command {
	var socket string
	var asJSON bool
	c := &cobra.Command{
		Use:   "status --admin SOCKET",
		Short: "Who has joined a broker, and what passes through it",
		Example: `  zeekrec broker status --admin /run/zeek/broker.sock
  zeekrec broker status --json --admin /var/lib/zeekrec/clusters/dmz/nodes/broker/work/admin.sock`,
		Args: cobra.NoArgs,
		RunE: a.action(func(ctx context.Context, _ []string) error {
			ctx, cancel := context.WithTimeout(ctx, brokerTimeout)
			defer cancel()
			st, err := admin.Dial(socket).Status(ctx, true)
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(st)
			}
			return a.print(brokerTable(st, time.Now()))
		}),
	}
	c.Flags().StringVar(&socket, "admin", "", "the broker's socket")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	_ = c.MarkFlagRequired("admin")
	return c
}

func (a *app) brokerAskCommand() *cobra.Command {
	var socket string
	q := admin.Question{}
	c := &cobra.Command{
		Use:   "ask --admin SOCKET NODE [ID]",
		Short: "Ask a node for a value, or for its packet counters, through a broker",
		Long: `Ask a node for the value of a global identifier of its scripts, or without ID for its
packet counters. The node has to load frameworks/control/controllee.`,
		Example: `  zeekrec broker ask --admin /run/zeek/broker.sock worker-1 Cluster::node
  zeekrec broker ask --admin /run/zeek/broker.sock worker-1`,
		Args: cobra.RangeArgs(1, 2),
		RunE: a.action(func(ctx context.Context, args []string) error {
			q.Node = args[0]
			if len(args) == 2 {
				q.ID = args[1]
			}
			ctx, cancel := context.WithTimeout(ctx, brokerTimeout)
			defer cancel()
			answer, err := admin.Dial(socket).Ask(ctx, q)
			if err != nil {
				return err
			}
			return a.print(answer.Value + "\n")
		}),
	}
	c.Flags().StringVar(&socket, "admin", "", "the broker's socket")
	c.Flags().StringVar(&q.Format, "format", "", "the cluster's serializer of events: broker-bin-v1 (default) or broker-json-v1")
	_ = c.MarkFlagRequired("admin")
	return c
}
