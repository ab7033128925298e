package mgmt

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/zeekrec/zeekrec/cmd/internal/api"
	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/observed"
	"github.com/zeekrec/zeekrec/reconciler/engine"
)

// agentPort is where an agent of the framework listens. The framework's controller shows it as its own, and so does this one.
const agentPort = 2151

// connected are the names of the agents that report.
func connected(s *engine.Status) []string {
	var out []string
	for _, a := range s.Agents {
		if a.State == "connected" {
			out = append(out, a.Name)
		}
	}
	slices.Sort(out)
	return out
}

// instances are the agents that report.
func (c *Controller) instances(ctx context.Context, _ request) Result {
	s, err := c.Engine.Status(ctx)
	if err != nil {
		return refusal(err.Error())
	}
	list := Vector{}
	for _, name := range connected(s) {
		i := desired.Instance{Name: name}
		i.Host, i.Port = c.where(s, name)
		list = append(list, instanceValue(i))
	}
	return Result{Success: true, Data: list}
}

// where an agent is, as the controller sees it; a port is its own, where it listens.
func (c *Controller) where(s *engine.Status, agent string) (host string, port int) {
	if agent == c.Instance {
		return loopback, 0
	}
	if c.Where != nil {
		if at, port, ok := c.Where(agent); ok {
			return at.String(), port
		}
	}
	return agentOf(s, agent).Address, 0
}

// nodes are those of each agent, the agent itself, and this controller with the agent in its process.
func (c *Controller) nodes(ctx context.Context, _ request) []Result {
	s, err := c.Engine.Status(ctx)
	if err != nil {
		return []Result{refusal(err.Error())}
	}
	agents := connected(s)
	if len(agents) == 0 {
		return []Result{refusal(errNoInstances)}
	}
	d, err := c.Engine.Deployed(ctx, c.Cluster)
	if err != nil {
		return []Result{refusal(err.Error())}
	}
	var out []Result
	for _, agent := range agents {
		_, port := c.where(s, agent)
		rows := map[string]NodeStatus{agent: managementNode(agent, "AGENT", agentOf(s, agent).PID, port)}
		if agent == c.Instance {
			rows[c.Name] = managementNode(c.Name, "CONTROLLER", c.PID, agentPort)
		}
		for _, r := range c.resources(s) {
			if r.Instance == agent {
				rows[r.Name] = nodeStatus(&r, d)
			}
		}
		list := Vector{}
		for _, name := range slices.Sorted(maps.Keys(rows)) {
			list = append(list, rows[name].Value())
		}
		out = append(out, Result{Success: true, Instance: agent, Data: list})
	}
	return out
}

// agentOf a status by its name.
func agentOf(s *engine.Status, name string) engine.AgentStatus {
	for _, a := range s.Agents {
		if a.Name == name {
			return a
		}
	}
	return engine.AgentStatus{}
}

// resources are the nodes of the cluster that have been told to run.
func (c *Controller) resources(s *engine.Status) []engine.ResourceStatus {
	var out []engine.ResourceStatus
	for i := range s.Clusters {
		if s.Clusters[i].Name != c.Cluster {
			continue
		}
		for _, r := range s.Clusters[i].Resources {
			if r.Type == string(desired.TypeNode) && (!r.Orphaned || r.PID != 0) {
				out = append(out, r)
			}
		}
	}
	return out
}

// nodeStatus in the framework's words: PENDING is also what is about to be restarted.
func nodeStatus(r *engine.ResourceStatus, d *engine.Deployed) NodeStatus {
	s := NodeStatus{Node: r.Name, State: string(r.State), MgmtRole: "NONE", ClusterRole: strings.ToUpper(r.Role), PID: r.PID}
	if d == nil {
		return s
	}
	if _, pending := d.Pending[r.Name]; pending && r.State == observed.Running {
		s.State = string(observed.Pending)
	}
	if n := nodeNames(d.Cluster)[r.Name]; n != nil {
		s.Port, s.MetricsPort = n.Port, n.MetricsPort
	}
	return s
}

// target are the nodes of the deployed cluster that are meant, and refusals for those that there are not.
func (c *Controller) target(ctx context.Context, names []string, none string) (map[string]*desired.Node, []Result) {
	d, err := c.Engine.Deployed(ctx, c.Cluster)
	if err != nil {
		return nil, []Result{refusal(err.Error())}
	}
	if d == nil {
		return nil, []Result{refusal(none)}
	}
	all := nodeNames(d.Cluster)
	if len(names) == 0 {
		return all, nil
	}
	meant := map[string]*desired.Node{}
	var unknown []Result
	for _, name := range slices.Sorted(slices.Values(names)) {
		if n := all[name]; n != nil {
			meant[name] = n
		} else {
			unknown = append(unknown, Result{Error: errUnknownNode, Node: name})
		}
	}
	return meant, unknown
}

// value asks nodes for the value of a global identifier.
func (c *Controller) value(ctx context.Context, id string, names []string) []Result {
	meant, out := c.target(ctx, names, errNoCluster)
	if len(meant) == 0 {
		return out
	}
	q := api.Ask{Cluster: c.Cluster, Nodes: slices.Sorted(maps.Keys(meant)), What: api.AskValue, ID: id}
	answers, err := c.Nodes.Ask(ctx, q)
	if err != nil {
		return append(out, refusal(err.Error()))
	}
	for _, a := range answers {
		r := Result{Instance: meant[a.Node].Instance, Node: a.Node}
		switch r.Error = a.Error; a.Error {
		case "":
			r.Success, r.Data = true, String(a.Value)
		case errUnknownNode: // here; but the cluster has it, on an instance that is not connected, say
			r.Error = "cluster node " + a.Node + " not in running state" // compatibility string
		}
		out = append(out, r)
	}
	return out
}

// restart asks for restarts. They are rolled out: a node is PENDING until it was its turn.
func (c *Controller) restart(ctx context.Context, q request, names []string) []Result {
	s, err := c.Engine.Status(ctx)
	if err != nil {
		return []Result{refusal(err.Error())}
	}
	if len(connected(s)) == 0 {
		return []Result{refusal(errNoInstances)}
	}
	meant, out := c.target(ctx, names, errNoDeployment)
	if len(meant) == 0 {
		return out
	}
	var scopes []string
	for _, name := range slices.Sorted(maps.Keys(meant)) {
		scopes = append(scopes, c.Cluster+"/"+name)
	}
	accepted, err := c.Engine.Restart(ctx, scopes, false, "restart through the management API", q.peer)
	if _, nothing := errors.AsType[*engine.NotFound](err); err != nil && !nothing {
		return append(out, refusal(err.Error()))
	}
	for _, name := range slices.Sorted(maps.Keys(meant)) {
		out = append(out, Result{Success: slices.Contains(accepted, c.Cluster+"/"+name), Instance: meant[name].Instance, Node: name})
	}
	return out
}
