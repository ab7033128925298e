package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/zeekrec/zeekrec/cmd/internal/mgmt"
	"github.com/zeekrec/zeekrec/cmd/internal/render"
	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/desired/clustercfg"
)

func (a *app) stageConfigCommand() *cobra.Command {
	c := a.clientCommand(&cobra.Command{
		Use:   "stage-config FILE",
		Short: "Upload a configuration for a later deploy",
		Long: `Send the nodes and instances of a cluster.cfg to the controller, which validates and keeps
them for zeekrec deploy. - is standard input. Output, exit codes and settings are those of
zeek-client's command of that name. [zeekrec…] sections are not sent: those of the file in
the folder of clusters stay.`,
		Example: `  zeekrec stage-config cluster.cfg
  zeekrec stage-config --cluster dmz - < dmz.cfg
  zeekrec stage-config --controller sensor:2149 cluster.cfg`,
		Args: cobra.ExactArgs(1),
	}, func(ctx context.Context, x *clientFlags, args []string) error {
		return a.stageConfig(ctx, x, args[0], false)
	})
	a.nameFlag(c.Flags())
	return c
}

func (a *app) deployConfigCommand() *cobra.Command {
	c := a.clientCommand(&cobra.Command{
		Use:   "deploy-config FILE",
		Short: "Upload a configuration and deploy it",
		Long: `Stage a cluster.cfg and deploy it: zeekrec stage-config and zeekrec deploy in one. - is
standard input. It ends with 1 when a node is not up as it should be.

The controller writes the configuration to CLUSTER.cfg in the folder of clusters, from
where it is rolled out as any other change: what did not change is not restarted.`,
		Example: `  zeekrec deploy-config cluster.cfg
  zeekrec deploy-config --cluster dmz - < dmz.cfg`,
		Args: cobra.ExactArgs(1),
	}, func(ctx context.Context, x *clientFlags, args []string) error {
		return a.stageConfig(ctx, x, args[0], true)
	})
	a.nameFlag(c.Flags())
	return c
}

func (a *app) deployCommand() *cobra.Command {
	return a.clientCommand(&cobra.Command{
		Use:   "deploy",
		Short: "Deploy the staged configuration",
		Long: `Make the staged configuration what runs, and wait until it is known how that went. Output
and exit codes are those of zeek-client's command of that name.`,
		Args: cobra.NoArgs,
	}, func(ctx context.Context, x *clientFlags, _ []string) error {
		return a.controller(ctx, x, func(ctx context.Context, k *controllerClient) error { return k.deploy(ctx) })
	})
}

// controllerClient is a connection to a controller, with how to print what it answers.
type controllerClient struct {
	*mgmt.Client
	app    *app
	pretty bool
}

// controller connects to the one that is meant and runs f within the time that a client waits.
func (a *app) controller(ctx context.Context, x *clientFlags, f func(context.Context, *controllerClient) error) error {
	s, err := a.settle(x)
	if err != nil {
		return err
	}
	e, err := a.endpoint(s, x.cluster)
	if err != nil {
		return err
	}
	wait, err := s.seconds("request_timeout_secs")
	if err != nil {
		return usage(err)
	}
	c, err := mgmt.Dial(ctx, e)
	if err != nil {
		return err
	}
	defer c.Close()
	// For each of two requests, at most.
	ctx, cancel := context.WithTimeoutCause(ctx, 2*wait, fmt.Errorf("no response received within %s", wait))
	defer cancel()
	return f(ctx, &controllerClient{Client: c, app: a, pretty: s.yes("client", "pretty_json")})
}

// print prints as zeek-client does, and ends with 1 where that is due.
func (k *controllerClient) print(v any, failed bool) error {
	text, err := k.show(v)
	if err != nil {
		return err
	}
	if err := k.app.print(text); err != nil {
		return err
	}
	if failed {
		return &failure{code: exitFailed}
	}
	return nil
}

// show is v as zeek-client prints it.
func (k *controllerClient) show(v any) (string, error) {
	show := render.ZeekClientJSON
	if !k.pretty {
		show = render.ZeekClientLine
	}
	text, err := show(v)
	if err != nil {
		return "", fmt.Errorf("cannot show the answer: %w", err)
	}
	return text, nil
}

// deployed is what zeek-client prints of a deploy.
type deployed struct {
	Errors  []string       `json:"errors"`
	Results map[string]any `json:"results"`
}

type deployedNode struct {
	Instance string  `json:"instance"`
	Success  bool    `json:"success"`
	Stdout   *string `json:"stdout,omitempty"`
	Stderr   *string `json:"stderr,omitempty"`
}

func (k *controllerClient) deploy(ctx context.Context) error {
	rs, err := k.Deploy(ctx)
	if err != nil {
		return err
	}
	out, nodes := deployed{Errors: []string{}, Results: map[string]any{}}, map[string]deployedNode{}
	failed := false
	for _, r := range rs {
		failed = failed || !r.Success
		switch {
		case !r.Success && r.Node == "" && r.Error != "":
			out.Errors = append(out.Errors, r.Error)
		case r.Success && r.Node == "" && r.Instance == "" && r.Data != nil:
			out.Results["id"] = r.Data
		case r.Node != "" && r.Instance != "":
			n := deployedNode{Instance: r.Instance, Success: r.Success}
			if stdout, stderr, ok := mgmt.OutputsOf(r); ok {
				n.Stdout, n.Stderr = &stdout, &stderr
			}
			nodes[r.Node] = n
		}
	}
	if len(nodes) > 0 {
		out.Results["nodes"] = nodes
	}
	return k.print(out, failed)
}

// stage sends a configuration; where it is refused, that is printed, and the error a *failure.
func (k *controllerClient) stage(ctx context.Context, config *mgmt.Configuration, quiet bool) error {
	rs, err := k.Stage(ctx, config)
	if err != nil {
		return err
	}
	out := deployed{Errors: []string{}, Results: map[string]any{}}
	for _, r := range rs {
		if !r.Success {
			out.Errors = append(out.Errors, cmp.Or(r.Error, "no reason given"))
		} else if r.Data != nil {
			out.Results["id"] = r.Data
		}
	}
	if quiet && len(out.Errors) == 0 {
		return nil
	}
	return k.print(out, len(out.Errors) > 0)
}

func (a *app) stageConfig(ctx context.Context, x *clientFlags, path string, deploy bool) error {
	config, err := a.configurationOf(path, x)
	if err != nil {
		return err
	}
	return a.controller(ctx, x, func(ctx context.Context, k *controllerClient) error {
		if err := k.stage(ctx, config, deploy); err != nil || !deploy {
			return err
		}
		return k.deploy(ctx)
	})
}

// configurationOf reads a cluster.cfg as zeek-client does. What the controller judges is left to it, so that its answer is what is
// printed.
func (a *app) configurationOf(path string, x *clientFlags) (*mgmt.Configuration, error) {
	f := desired.ClusterFile{Name: "stdin", File: path}
	var err error
	if path == "-" {
		f.File = "stdin"
		f.Data, err = io.ReadAll(io.LimitReader(a.stdin, maxStdin))
	} else {
		f.Data, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the configuration: %w", err)
	}
	config := &mgmt.Configuration{ID: mgmt.NewID()}
	c, ds := clustercfg.Parse(f, a.settings.name)
	if c == nil {
		return nil, a.unusable(ds)
	}
	config.Instances, config.Nodes = c.Instances, c.Nodes
	judged := map[string]bool{"no-nodes": true}
	for _, d := range clustercfg.Validate(c) {
		judged[d.Code+d.Message] = true
	}
	local := slices.DeleteFunc(slices.Clone(ds), func(d desired.Diagnostic) bool {
		return d.Severity != desired.Error || judged[d.Code] || judged[d.Code+d.Message]
	})
	for _, i := range c.Instances {
		if _, err := netip.ParseAddr(i.Host); i.Host != "" && err != nil {
			local = append(local, desired.Diagnostic{File: f.File, Line: i.Line, Severity: desired.Error, Code: "host-name",
				Message: "the protocol has addresses only, and the host of instance " + strconv.Quote(i.Name) + " is " + i.Host,
				Hint:    "write its address, or put the file into the folder of clusters"})
		}
	}
	if len(local) > 0 {
		return nil, a.unusable(local)
	}
	for i := range c.Nodes {
		if len(c.Nodes[i].Args) > 0 {
			a.say("warning: args of node %s are not sent: the protocol has no field for them", c.Nodes[i].Name)
		}
	}
	if len(clustercfg.OwnText(f.Data)) > 0 && !x.quiet {
		a.say("warning: the [zeekrec] sections of %s are not sent; those of the cluster's file stay", f.File)
	}
	return config, nil
}

func (a *app) unusable(ds []desired.Diagnostic) error {
	o := a.rendering()
	o.Color = a.color(a.stderr)
	fmt.Fprint(a.stderr, render.Diagnostics(ds, o))
	return errors.New("the configuration has errors, and is not sent")
}
