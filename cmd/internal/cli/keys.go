package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/zeekrec/zeekrec/actuators/keys"
	"github.com/zeekrec/zeekrec/cmd/internal/api"
	"github.com/zeekrec/zeekrec/cmd/internal/render"
	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/desired/launch"
)

func (a *app) keysCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "keys",
		Short: "Show and replace the CURVE keys of clusters",
		Long: `The traffic of a cluster on Zeek's ZeroMQ backend is encrypted with CURVE as soon as a
second host is involved, or where its file says so:

  [zeekrec.broker]
  curve = on

zeekrec makes the keys that this takes by itself: one pair for the servers (the broker and
the loggers) and one for the clients (all nodes). They are in the state folder, for its
owner alone (keys/CLUSTER.json), and reach processes by their environment. Everywhere else,
in plans, the status and the history, they are known by an id that says nothing about them.`,
		Example: `  zeekrec keys show dmz
  zeekrec keys rotate dmz --reason "laptop of an administrator was lost"`,
		Args: unknownSubcommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cmd.SetOut(a.stderr)
			_ = cmd.Help()
			return &failure{code: exitUsage}
		},
	}
	c.AddCommand(a.keysShowCommand(), a.keysRotateCommand(), a.keysExportCommand(), a.keysGenerateCommand())
	return c
}

// unknownSubcommand is what is left when no subcommand fits.
func unknownSubcommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return usage(fmt.Errorf("there is no command %q", cmd.CommandPath()+" "+args[0]), "see: "+cmd.CommandPath()+" --help")
}

func (a *app) keysShowCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "show [CLUSTER]",
		Short: "Show ids, ages and public keys",
		Long: `Show the keys that clusters have: ids, ages and the public keys. Secret keys are not shown.
Two lines for one cluster mean that a rotation is under way. It is read from the state
folder, whether zeekrec runs or not.`,
		Example:           "  zeekrec keys show\n  zeekrec keys show dmz --json",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeClusters,
		RunE: a.action(func(_ context.Context, args []string) error {
			if err := a.onlyHere("keys are read from the state folder"); err != nil {
				return err
			}
			return a.showKeys(args, asJSON)
		}),
	}
	jsonFlag(c, &asJSON)
	return c
}

// shownKeys is one generation in zeekrec keys show --json.
type shownKeys struct {
	Cluster      string    `json:"cluster"`
	ID           string    `json:"id"`
	Created      time.Time `json:"created"`
	AgeSeconds   int64     `json:"age_seconds"`
	Current      bool      `json:"current"`
	ServerPublic string    `json:"server_public"`
	ClientPublic string    `json:"client_public"`
}

func (a *app) showKeys(clusters []string, asJSON bool) error {
	s := keys.Open(a.settings.stateDir)
	named := len(clusters) > 0
	if !named {
		var err error
		if clusters, err = s.Clusters(); err != nil {
			return err
		}
	}
	now := time.Now()
	shown := []shownKeys{}
	var failed error
	for _, c := range clusters {
		ps, err := s.List(c)
		if err == nil && len(ps) == 0 && named {
			err = noKeys(c)
		}
		failed = errors.Join(failed, err)
		for i, p := range ps {
			shown = append(shown, shownKeys{
				Cluster: c, ID: p.ID, Created: p.Created, AgeSeconds: int64(max(0, now.Sub(p.Created)) / time.Second), Current: i == 0,
				ServerPublic: p.ServerPublic, ClientPublic: p.ClientPublic,
			})
		}
	}
	if failed != nil && len(shown) == 0 {
		return failed
	}
	var err error
	if asJSON {
		err = a.printJSON(struct {
			FormatVersion int         `json:"format_version"`
			Keys          []shownKeys `json:"keys"`
		}{1, shown})
	} else {
		var rows []render.Keys
		for _, k := range shown {
			rows = append(rows, render.Keys{Cluster: k.Cluster, ID: k.ID, Created: k.Created, Current: k.Current, ServerPublic: k.ServerPublic, ClientPublic: k.ClientPublic})
		}
		err = a.print(render.KeyTable(rows, a.rendering()))
	}
	return errors.Join(err, failed)
}

func noKeys(cluster string) error {
	return withHint(fmt.Errorf("there are no keys of a cluster %q", cluster),
		"zeekrec makes them when it first starts a cluster that encrypts: on several hosts, or with curve = on in [zeekrec.broker]",
		"another state folder is named with --state-dir")
}

func (a *app) keysRotateCommand() *cobra.Command {
	var reason string
	var force bool
	c := &cobra.Command{
		Use:   "rotate CLUSTER",
		Short: "Replace a cluster's keys, without interrupting it",
		Long: `Have the running zeekrec make new keys for a cluster and roll them out: its broker is told to
accept the old and the new ones, then nodes are restarted with the new ones the way a
change is rolled out, loggers first, no more at once than max_unavailable, each wave only
when the last is healthy; and when every node uses the new ones, the old are no longer
accepted, and deleted.

Nobody is locked out on the way. Where a node does not come back with the new keys, the
rollout stops, both are accepted, and it is tried again; zeekrec status says what it
waits for. There is no way back to the old keys and no need for one: keys that are made
cannot be bad, and what fails fails for another reason. While a cluster is suspended, its
rotation waits.

Between the restart of a logger and that of a node that sends to it, the node's log lines
wait in the node; what of them does not fit, or is not sent when the node is restarted in
its turn, is lost: Zeek's loggers have one key. Events are not concerned.

A broker that is not zeekrec's (mode = external) has to be given the new keys by hand, and
refuses restarted nodes until then: this takes --force. Suspend the cluster, rotate, give
the broker what zeekrec keys export --for broker prints, and resume.`,
		Example: `  zeekrec keys rotate dmz --reason "yearly"
  zeekrec status dmz --watch`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeClusters,
		RunE: a.action(func(ctx context.Context, args []string) error {
			res, err := a.client().Do(ctx, "rotate-keys", api.Request{Cluster: args[0], Reason: reason, Force: force})
			if err != nil {
				return err
			}
			a.say("%s: new keys, %s; they are rolled out now, follow it with: zeekrec status --watch", args[0], res.Keys)
			return nil
		}),
	}
	c.Flags().StringVar(&reason, "reason", "", "why: it is kept in the history")
	c.Flags().BoolVar(&force, "force", false, "also where the broker is not zeekrec's (mode = external)")
	return c
}

// Who gets keys from zeekrec keys export.
const (
	forBroker = "broker"
	forLogger = "logger"
	forNode   = "node"
)

func (a *app) keysExportCommand() *cobra.Command {
	var role, id string
	var force bool
	c := &cobra.Command{
		Use:   "export CLUSTER --for broker|logger|node",
		Short: "Print keys for a process that zeekrec does not start: secret",
		Long: `Print the environment variables that give a process the keys of a cluster: an external
broker, or a Zeek that is started by hand. The output is SECRET: whoever has it reads and
controls the cluster. It goes to a file or a pipe; to a terminal only with --force.

  --for node     what every Zeek process needs: worker, proxy, manager
  --for logger   the same, and the secret key of the servers, because loggers are such;
                 also for a manager that logs, or that runs Zeek's own broker thread
  --for broker   what zeekrec broker and other brokers need. During a rotation it also has
                 ` + envBrokerKeys + `, by which zeekrec broker accepts the old and the new.

Values are in single quotes, as a shell and systemd's EnvironmentFile= take them.`,
		Example: `  umask 077; zeekrec keys export dmz --for broker > broker.env
  sh -c 'set -a; . ./broker.env; exec zeekrec broker --xpub tcp://10.0.0.1:5555 --xsub tcp://10.0.0.1:5556'`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeClusters,
		RunE: a.action(func(_ context.Context, args []string) error {
			if !slices.Contains([]string{forBroker, forLogger, forNode}, role) {
				return usage(fmt.Errorf("cannot export keys for %q: --for takes broker, logger or node", role))
			}
			if err := a.onlyHere("keys are read from the state folder"); err != nil {
				return err
			}
			if isTerminal(a.stdout) && !force {
				return withHint(errors.New("cannot print secret keys to a terminal"),
					"send them where they are to go: zeekrec keys export "+args[0]+" --for "+role+" > FILE", "or see them all the same, with --force")
			}
			env, err := exportedKeys(keys.Open(a.settings.stateDir), args[0], id, role)
			if err != nil {
				return err
			}
			return a.print(env)
		}),
	}
	f := c.Flags()
	f.StringVar(&role, "for", "", "who is to have them: broker, logger, node")
	f.StringVar(&id, "id", "", "the keys with this `ID`, instead of those in use")
	f.BoolVar(&force, "force", false, "also to a terminal")
	return c
}

// exportedKeys are the variables with a cluster's keys, one a line.
func exportedKeys(s *keys.Store, cluster, id, role string) (string, error) {
	all, err := s.List(cluster)
	switch {
	case err != nil:
		return "", err
	case len(all) == 0:
		return "", noKeys(cluster)
	}
	use := all
	if id != "" {
		p, err := s.Get(cluster, id)
		if err != nil {
			return "", err
		}
		use = []keys.Pair{p}
	}
	first := launchKeys(use[0])
	var env []string
	switch role {
	case forNode:
		env = launch.CurveEnv(desired.RoleWorker, "", false, first)
	case forLogger:
		env = launch.CurveEnv(desired.RoleLogger, "", false, first)
	case forBroker:
		env = []string{envServerPublic + "=" + first.ServerPublic, envServerSecret + "=" + first.ServerSecret, envClientPublic + "=" + first.ClientPublic}
		if len(use) > 1 {
			list, err := brokerKeyList(use)
			if err != nil {
				return "", err
			}
			env = append(env, envBrokerKeys+"="+list)
		}
	}
	var b strings.Builder
	for _, e := range env {
		name, value, _ := strings.Cut(e, "=")
		fmt.Fprintf(&b, "%s='%s'\n", name, value) // neither Z85 nor the list has a single quote
	}
	return b.String(), nil
}

func launchKeys(p keys.Pair) launch.CurveKeys {
	return launch.CurveKeys{
		ServerPublic: p.ServerPublic, ServerSecret: p.ServerSecret.Reveal(),
		ClientPublic: p.ClientPublic, ClientSecret: p.ClientSecret.Reveal(),
	}
}

// brokerKeyList is the value of envBrokerKeys.
func brokerKeyList(ps []keys.Pair) (string, error) {
	type brokerKey struct {
		ServerPublic string `json:"server_public"`
		ServerSecret string `json:"server_secret"`
		ClientPublic string `json:"client_public"`
	}
	var list []brokerKey
	for _, p := range ps {
		list = append(list, brokerKey{p.ServerPublic, p.ServerSecret.Reveal(), p.ClientPublic})
	}
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // a backslash means something to whoever reads the line
	if err := e.Encode(list); err != nil {
		return "", fmt.Errorf("cannot write the keys down: %w", err)
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}

func (a *app) keysGenerateCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "generate",
		Short: "Print a new key pair, which nobody uses yet",
		Long: `Print a new CURVE key pair in Z85, for a cluster that zeekrec does not run. Nothing is stored.
With --json it is what Zeek prints:

  zeek -e 'print to_json(Cluster::Backend::ZeroMQ::generate_keypair())'

A cluster takes two of them, one for the servers and one for the clients. The clusters that
zeekrec runs need none of this: it makes their keys by itself.`,
		Example: "  zeekrec keys generate\n  zeekrec keys generate --json | jq -r .public",
		Args:    cobra.NoArgs,
		RunE: a.action(func(context.Context, []string) error {
			k, err := keys.Generate()
			if err != nil {
				return err
			}
			if !asJSON {
				return a.print("public  " + k.Public + "\nsecret  " + k.Secret.Reveal() + "\n")
			}
			// Zeek writes it in one line; Z85 has no character that JSON escapes.
			return a.print(`{"public":"` + k.Public + `","secret":"` + k.Secret.Reveal() + `"}` + "\n")
		}),
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print what Zeek's generate_keypair prints as JSON")
	return c
}
