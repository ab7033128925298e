package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"github.com/zeekrec/zeekrec/cmd/internal/mgmt"
	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/desired/clustercfg"
)

// The commands of zeek-client that look.

func (a *app) getInstancesCommand() *cobra.Command {
	return a.clientCommand(&cobra.Command{
		Use:   "get-instances",
		Short: "Show the instances that are connected",
		Long: `Show the instances whose agents are connected, as zeek-client's command of that name does.
Without --controller, or another setting of zeek-client's that names one, the local zeekrec
is asked.`,
		Args: cobra.NoArgs,
	}, func(ctx context.Context, x *clientFlags, _ []string) error {
		return a.controller(ctx, x, func(ctx context.Context, k *controllerClient) error { return k.instances(ctx) })
	})
}

func (k *controllerClient) instances(ctx context.Context) error {
	is, err := k.Instances(ctx)
	if err != nil {
		return err
	}
	type instance struct {
		Host string `json:"host,omitempty"`
		Port int    `json:"port,omitempty"`
	}
	out := map[string]instance{}
	for _, i := range is {
		out[i.Name] = instance{i.Host, i.Port}
	}
	return k.print(out, false)
}

func (a *app) getNodesCommand() *cobra.Command {
	return a.clientCommand(&cobra.Command{
		Use:   "get-nodes",
		Short: "Show the nodes of each instance, in zeek-client's form",
		Long: `Show the nodes of the cluster by instance, with agents and controller, as zeek-client's
command of that name does. zeekrec status has more: all clusters, reasons, ages, the broker.`,
		Args: cobra.NoArgs,
	}, func(ctx context.Context, x *clientFlags, _ []string) error {
		return a.controller(ctx, x, func(ctx context.Context, k *controllerClient) error { return k.nodes(ctx) })
	})
}

// shownNode is a node as zeek-client prints it.
type shownNode struct {
	State       string  `json:"state"`
	MgmtRole    *string `json:"mgmt_role"`
	ClusterRole *string `json:"cluster_role"`
	PID         int     `json:"pid,omitempty"`
	Port        int     `json:"port,omitempty"`
	MetricsPort int     `json:"metrics_port,omitempty"`
}

func (k *controllerClient) nodes(ctx context.Context) error {
	ins, err := k.Nodes(ctx)
	if err != nil {
		return err
	}
	// zeek-client shows the role NONE as null.
	role := func(s string) *string {
		if s == "NONE" {
			return nil
		}
		return &s
	}
	out, results := values{Errors: []valueError{}}, map[string]map[string]shownNode{}
	for _, in := range ins {
		if !in.Success {
			out.fail(in.Instance, in.Error)
			continue
		}
		rows := map[string]shownNode{}
		for _, n := range in.Nodes {
			rows[n.Node] = shownNode{n.State, role(n.MgmtRole), role(n.ClusterRole), n.PID, n.Port, n.MetricsPort}
		}
		results[in.Instance] = rows
	}
	out.Results = results
	return k.print(&out, len(out.Errors) > 0)
}

func (a *app) getConfigCommand() *cobra.Command {
	var file string
	var asJSON, deployed, staged bool
	c := a.clientCommand(&cobra.Command{
		Use:   "get-config",
		Short: "Show the staged or the deployed configuration",
		Long: `Show the staged configuration, or with --deployed the one that was deployed, with the ports
that were assigned: as a cluster.cfg, or with --as-json as zeek-client's JSON.`,
		Example: `  zeekrec get-config --deployed
  zeekrec get-config --as-json -f staged.json`,
		Args: cobra.NoArgs,
	}, func(ctx context.Context, x *clientFlags, _ []string) error {
		return a.controller(ctx, x, func(ctx context.Context, k *controllerClient) error {
			return k.configuration(ctx, deployed, asJSON, file)
		})
	})
	f := c.Flags()
	f.StringVarP(&file, "filename", "f", "-", "write to this `FILE`")
	f.BoolVar(&asJSON, "as-json", false, "as JSON")
	f.BoolVar(&deployed, "deployed", false, "the deployed configuration")
	f.BoolVar(&staged, "staged", false, "the staged configuration, which is the default")
	c.MarkFlagsMutuallyExclusive("deployed", "staged")
	return c
}

func (k *controllerClient) configuration(ctx context.Context, deployed, asJSON bool, file string) error {
	config, err := k.Configuration(ctx, deployed)
	if r, ok := errors.AsType[*mgmt.Refused](err); ok {
		return withHint(r)
	}
	if err != nil {
		return err
	}
	cluster := &desired.Cluster{Instances: config.Instances, Nodes: config.Nodes}
	text := string(clustercfg.ConfigINI(cluster))
	if asJSON {
		var v map[string]any
		d := json.NewDecoder(bytes.NewReader(clustercfg.ConfigJSON(cluster)))
		d.UseNumber()
		if err := d.Decode(&v); err != nil {
			return fmt.Errorf("cannot show the configuration: %w", err)
		}
		v["id"] = config.ID
		if text, err = k.show(v); err != nil {
			return err
		}
	}
	if file == "-" || file == "" {
		return k.app.print(text)
	}
	if err := renameio.WriteFile(file, []byte(text), 0o644); err != nil {
		return fmt.Errorf("cannot write the configuration: %w", err)
	}
	return nil
}

func (a *app) monitorCommand() *cobra.Command {
	return a.clientCommand(&cobra.Command{
		Use:   "monitor",
		Short: "For troubleshooting: show what a controller sends",
		Long: `Connect to a controller and print every event that it sends, until Ctrl-C. zeekrec's own
sends answers to those who asked, and nobody else.`,
		Args: cobra.NoArgs,
	}, func(ctx context.Context, x *clientFlags, _ []string) error { return a.monitor(ctx, x) })
}

func (a *app) monitor(ctx context.Context, x *clientFlags) error {
	s, err := a.settle(x)
	if err != nil {
		return err
	}
	e, err := a.endpoint(s, x.cluster)
	if err != nil {
		return err
	}
	c, err := mgmt.Dial(ctx, e)
	if err != nil {
		return err
	}
	defer c.Close()
	a.say("listening; Ctrl-C ends it")
	for {
		event, err := c.Receive(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		var types []string
		for _, v := range event.Args {
			types = append(types, mgmt.TypeOf(v))
		}
		if err := a.print(fmt.Sprintf("received %q\n", event.Name+"("+strings.Join(types, ", ")+")")); err != nil {
			return err
		}
	}
}

func (a *app) showSettingsCommand() *cobra.Command {
	return a.clientCommand(&cobra.Command{
		Use:   "show-settings",
		Short: "Show zeek-client's settings as they are here",
		Long: `Show the settings of the commands that zeekrec shares with zeek-client. They come from
zeek-client's settings file (--configfile, ZEEK_CLIENT_CONFIG_FILE), the variable
ZEEK_CLIENT_CONFIG_SETTINGS and --set. Where none of them names a controller, these commands
talk to the local zeekrec by its socket.`,
		Args: cobra.NoArgs,
	}, func(_ context.Context, x *clientFlags, _ []string) error {
		s, err := a.settle(x)
		if err != nil {
			return err
		}
		return a.print(s.ini())
	})
}
