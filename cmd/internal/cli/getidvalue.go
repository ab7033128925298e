package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/zeekrec/zeekrec/cmd/internal/api"
	"github.com/zeekrec/zeekrec/cmd/internal/mgmt"
	"github.com/zeekrec/zeekrec/cmd/internal/render"
	"github.com/zeekrec/zeekrec/reconciler/engine"
)

func (a *app) getIDValueCommand() *cobra.Command {
	return a.clientCommand(&cobra.Command{
		Use:   "get-id-value [CLUSTER/]ID [NODE…]",
		Short: "Show the value of a global identifier of the nodes' scripts",
		Long: `Ask running nodes for the value of a global identifier of their scripts, and print it as
JSON, in the form of zeek-client's command of that name: values by node under "results",
and under "errors" why a node has none. Without NODE all nodes of the cluster are asked.
CLUSTER may be left out where only one cluster can be meant.

Without --controller, or another setting of zeek-client's that names one, the local zeekrec
is asked. The nodes are asked through the cluster's own broker. Those of clusters with
backend = broker, or with [zeekrec.broker] mode = manager or external, cannot be.

It ends with 1 where there are errors.`,
		Example: `  zeekrec get-id-value LogAscii::use_json
  zeekrec get-id-value dmz/Log::all_streams worker-1
  zeekrec get-id-value Site::local_nets | jq .results
  zeekrec get-id-value --controller sensor:2149 bits_per_uid manager`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completeNodes,
	}, func(ctx context.Context, x *clientFlags, args []string) error {
		s, err := a.settle(x)
		switch {
		case err != nil:
			return err
		case s.stated:
			return a.controller(ctx, x, func(ctx context.Context, k *controllerClient) error { return k.value(ctx, args[0], args[1:]) })
		}
		return a.getIDValue(ctx, x.cluster, args[0], args[1:])
	})
}

// value asks the nodes of another controller's cluster, as zeek-client does.
func (k *controllerClient) value(ctx context.Context, id string, nodes []string) error {
	rs, err := k.Value(ctx, id, nodes)
	if err != nil {
		return err
	}
	out, results := values{Errors: []valueError{}}, map[string]json.RawMessage{}
	for _, r := range rs {
		text, _ := r.Data.(mgmt.String)
		switch {
		case !r.Success:
			out.fail(r.Node, r.Error)
		case !json.Valid([]byte(text)):
			out.fail(r.Node, "its answer is no JSON")
		default:
			results[r.Node] = json.RawMessage(text)
		}
	}
	out.Results = results
	return k.print(&out, len(out.Errors) > 0)
}

// values is what zeek-client prints.
type values struct {
	Errors  []valueError `json:"errors"`
	Results any          `json:"results"`
}

type valueError struct {
	Error  string  `json:"error"`
	Source *string `json:"source"` // null: of no node
}

func (v *values) fail(source, text string) {
	e := valueError{Error: text}
	if source != "" {
		e.Source = &source
	}
	v.Errors = append(v.Errors, e)
}

// getIDValue asks the nodes of a cluster of the local zeekrec.
func (a *app) getIDValue(ctx context.Context, cluster, id string, nodes []string) error {
	if c, rest, ok := strings.Cut(id, "/"); ok {
		if cluster != "" && c != cluster {
			return usage(fmt.Errorf("cannot ask two clusters at once: %s and %s", cluster, c))
		}
		cluster, id = c, rest
	}
	if id == "" {
		return usage(errors.New("cannot tell what is asked for: an identifier is missing"), "zeekrec get-id-value LogAscii::use_json")
	}
	st, err := a.client().Status(ctx)
	if err != nil {
		return err
	}
	out := values{Errors: []valueError{}}
	results := map[string]any{}
	out.Results = results
	if len(st.Clusters) == 0 {
		out.fail("", "no cluster deployed")
		return a.printValues(&out)
	}
	cluster, nodes, err = clusterMeant(st, cluster, nodes)
	if err != nil {
		return err
	}
	answers, err := a.client().Ask(ctx, api.Ask{Cluster: cluster, Nodes: nodes, What: api.AskValue, ID: id})
	e, refused := errors.AsType[*api.Error](err)
	switch {
	case refused && e.Code == api.CodeRefused:
		out.fail("", e.Text)
	case err != nil:
		return err
	}
	for _, n := range answers {
		if n.Error != "" {
			out.fail(n.Node, n.Error)
		} else {
			results[n.Node] = n.Value
		}
	}
	return a.printValues(&out)
}

// printValues prints them, and ends with 1 where there are errors.
func (a *app) printValues(v *values) error {
	text, err := render.ZeekClientJSON(v)
	if err != nil {
		return fmt.Errorf("cannot show the answers: %w", err)
	}
	if err := a.print(text); err != nil {
		return err
	}
	if len(v.Errors) > 0 {
		return &failure{code: exitFailed}
	}
	return nil
}

// clusterMeant finds the one cluster that is meant by what was named, and the plain names of the nodes.
func clusterMeant(st *engine.Status, cluster string, nodes []string) (string, []string, error) {
	var plain []string
	for _, n := range nodes {
		c, name, ok := strings.Cut(n, "/")
		if !ok {
			plain = append(plain, n)
			continue
		}
		if cluster != "" && c != cluster {
			return "", nil, usage(fmt.Errorf("cannot ask nodes of two clusters at once: %s and %s", cluster, c))
		}
		cluster, plain = c, append(plain, name)
	}
	var fits, all []string
	for i := range st.Clusters {
		c := &st.Clusters[i]
		all = append(all, c.Name)
		if c.Name == cluster || cluster == "" && hasAll(c, plain) {
			fits = append(fits, c.Name)
		}
	}
	switch {
	case len(fits) == 1:
		return fits[0], plain, nil
	case cluster != "":
		return "", nil, errors.New("there is no cluster " + cluster)
	case len(all) == 1:
		return all[0], plain, nil // what it has not is said of each node
	}
	if len(fits) == 0 {
		fits = all
	}
	return "", nil, usage(errors.New("cannot tell which cluster is meant: "+strings.Join(fits, ", ")), "write CLUSTER/ID")
}

func hasAll(c *engine.ClusterStatus, nodes []string) bool {
	for _, n := range nodes {
		if !slices.ContainsFunc(c.Resources, func(r engine.ResourceStatus) bool { return r.Name == n && r.Type == "node" }) {
			return false
		}
	}
	return true
}
