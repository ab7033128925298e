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
	"github.com/zeekrec/zeekrec/cmd/internal/render"
	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/reconciler/engine"
)

func (a *app) netstatsCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "netstats [CLUSTER|[CLUSTER/]NODE…]",
		Short: "Show the packets that the workers have received and dropped",
		Long: `Ask the workers for their packet counters since they started: packets received and
dropped, and those seen on the link where the packet source knows. Without names the
workers of all clusters are asked.

The nodes are asked through the cluster's own broker. Those of clusters with backend =
broker, or with [zeekrec.broker] mode = manager or external, cannot be; what their
telemetry says is shown by zeekrec top.

It ends with 1 where a node did not answer.`,
		Example: `  zeekrec netstats
  zeekrec netstats dmz/worker-1 --json`,
		ValidArgsFunction: a.completeScopes,
		RunE: a.action(func(ctx context.Context, args []string) error {
			return a.netstats(ctx, args, asJSON)
		}),
	}
	jsonFlag(c, &asJSON)
	return c
}

func (a *app) netstats(ctx context.Context, scopes []string, asJSON bool) error {
	st, err := a.client().Status(ctx)
	if err != nil {
		return err
	}
	asks, err := nodesMeant(st, scopes)
	if err != nil {
		return err
	}
	out := values{Errors: []valueError{}}
	results := map[string]render.NetStats{}
	out.Results = results
	for _, q := range asks {
		answers, err := a.client().Ask(ctx, q)
		if e, ok := errors.AsType[*api.Error](err); ok && e.Code == api.CodeRefused {
			out.fail(q.Cluster, e.Text)
			continue
		}
		if err != nil {
			return err
		}
		for _, n := range answers {
			key := q.Cluster + "/" + n.Node
			s, err := readNetStats(n)
			if err != nil {
				out.fail(key, err.Error())
				continue
			}
			results[key] = s
		}
	}
	if asJSON {
		return a.printValues(&out)
	}
	if err := a.print(render.NetStatsTable(results, a.rendering())); err != nil {
		return err
	}
	for _, e := range out.Errors {
		a.say("%s: %s", *e.Source, e.Error)
	}
	if len(out.Errors) > 0 {
		return &failure{code: exitFailed}
	}
	return nil
}

// readNetStats reads a node's answer: Zeek's record NetStats.
func readNetStats(n api.NodeAnswer) (render.NetStats, error) {
	if n.Error != "" {
		return render.NetStats{}, errors.New(n.Error)
	}
	var v struct {
		Time  float64 `json:"time"`
		Stats struct {
			Received uint64  `json:"pkts_recvd"`
			Dropped  uint64  `json:"pkts_dropped"`
			Link     uint64  `json:"pkts_link"`
			Bytes    uint64  `json:"bytes_recvd"`
			Filtered *uint64 `json:"pkts_filtered"`
		} `json:"stats"`
	}
	if err := json.Unmarshal(n.Value, &v); err != nil {
		return render.NetStats{}, fmt.Errorf("cannot understand its answer: %w", err)
	}
	s := render.NetStats{Time: v.Time, Received: v.Stats.Received, Dropped: v.Stats.Dropped, Link: v.Stats.Link, Bytes: v.Stats.Bytes, Filtered: v.Stats.Filtered}
	if all := s.Received + s.Dropped; all > 0 {
		s.DropRate = float64(s.Dropped) / float64(all)
	}
	return s, nil
}

// nodesMeant are what to ask of which clusters: the nodes that were named, and the workers of clusters that were, or of all.
func nodesMeant(st *engine.Status, scopes []string) ([]api.Ask, error) {
	nodes := map[string][]string{}
	add := func(cluster, name string) {
		if !slices.Contains(nodes[cluster], name) {
			nodes[cluster] = append(nodes[cluster], name)
		}
	}
	addWorkers := func(c *engine.ClusterStatus) {
		for _, r := range c.Resources {
			if r.Role == string(desired.RoleWorker) {
				add(c.Name, r.Name)
			}
		}
	}
	for _, scope := range scopes {
		if i := slices.IndexFunc(st.Clusters, func(c engine.ClusterStatus) bool { return c.Name == scope }); i >= 0 {
			addWorkers(&st.Clusters[i])
			continue
		}
		var fits []string
		for i := range st.Clusters {
			for _, r := range st.Clusters[i].Resources {
				if key := st.Clusters[i].Name + "/" + r.Name; r.Type == string(desired.TypeNode) && (r.Name == scope || key == scope) {
					fits = append(fits, key)
				}
			}
		}
		switch len(fits) {
		case 0:
			return nil, fmt.Errorf("there is no cluster and no node %q", scope)
		case 1:
			cluster, name, _ := strings.Cut(fits[0], "/")
			add(cluster, name)
		default:
			return nil, fmt.Errorf("%s fits several nodes: %s", scope, strings.Join(fits, ", "))
		}
	}
	var asks []api.Ask
	for i := range st.Clusters {
		c := &st.Clusters[i]
		if len(scopes) == 0 {
			addWorkers(c)
		}
		if names := nodes[c.Name]; len(names) > 0 {
			asks = append(asks, api.Ask{Cluster: c.Name, Nodes: names, What: api.AskNetStats})
		}
	}
	return asks, nil
}
