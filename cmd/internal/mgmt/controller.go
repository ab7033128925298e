package mgmt

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/zeekrec/zeekrec/cmd/internal/api"
	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/reconciler/engine"
)

// Engine is what the controller needs of the engine; *engine.Engine is one.
type Engine interface {
	Status(ctx context.Context) (*engine.Status, error)
	Deployed(ctx context.Context, cluster string) (*engine.Deployed, error)
	Sync(ctx context.Context) error
	Retry(ctx context.Context, cluster, by string) error
	Restart(ctx context.Context, scopes []string, outdated bool, reason, by string) ([]string, error)
}

// Nodes is what can be had of running nodes; *api.Server is one.
type Nodes interface {
	// Ask asks nodes for something.
	Ask(ctx context.Context, q api.Ask) ([]api.NodeAnswer, error)
	// Outputs returns what a node ("cluster/node") has written since a time, within bounds.
	Outputs(ctx context.Context, key string, since time.Time) (stdout, stderr string)
}

// Config is what a Controller is made of.
type Config struct {
	Engine Engine
	Nodes  Nodes
	Target Target
	// Cluster that deploys go to, and that requests are about.
	Cluster string
	// Where is the address at which an agent is connected, with its port where the controller has dialled it; nil where they do not meet
	// here, and false for one that is not connected.
	Where func(agent string) (host netip.Addr, port int, ok bool)
	// Await has the agents of a cluster without nodes dialled that wait for that, so that they are seen before there is a file of it;
	// nil where no agent is dialled.
	Await func(cluster string, instances []desired.Instance)
	// Name of the controller, Instance of the agent in the same process, PID of the controller.
	Name, Instance string
	PID            int
	StateDir       string
	Parse          engine.Parser
	Log            *slog.Logger
	Timings        Timings
}

// Timings of a controller; what is zero has the default.
type Timings struct {
	// Deploy is how long a deploy waits until it is known how it went: 18 s, since zeek-client waits for 20 s.
	Deploy time.Duration
	// Blocked is how long a rollout may wait for something before a deploy answers that it does: 2 s.
	Blocked time.Duration
	// Expire is when a request that nobody answers is answered so: 10 s, as in the framework.
	Expire time.Duration
}

func (t Timings) withDefaults() Timings {
	for _, x := range []struct{ d, v *time.Duration }{
		{&t.Deploy, new(18 * time.Second)}, {&t.Blocked, new(2 * time.Second)}, {&t.Expire, new(10 * time.Second)},
	} {
		if *x.d == 0 {
			*x.d = *x.v
		}
	}
	return t
}

// Controller gives requests their meaning. It is a Handler.
type Controller struct {
	Config
	store *store

	mu        sync.Mutex
	deploying string // the request id of the deploy under way
}

// NewController reads what was kept. A *Damaged error comes with a controller that works.
func NewController(c Config) (*Controller, error) {
	s, err := openStore(c.StateDir, c.Cluster)
	if s == nil {
		return nil, err
	}
	c.Timings = c.Timings.withDefaults()
	out := &Controller{Config: c, store: s}
	if last, _, lerr := s.deployed(); lerr == nil && last != nil && len(last.Nodes) == 0 {
		out.expect(last)
	}
	return out, err
}

// expect has the agents of a configuration without nodes dialled that wait for that; false where agents are not dialled.
func (c *Controller) expect(config *Configuration) bool {
	if c.Await == nil {
		return false
	}
	c.Await(c.Cluster, config.Instances)
	return true
}

const apiPrefix = "Management::Controller::API::"

// Compatibility strings.
const (
	errTimedOut     = "request timed out"
	errNoInstances  = "no instances connected"
	errNoStaged     = "no staged configuration available"
	errNoDeployed   = "no deployed configuration available"
	errNothingToDo  = "no configuration available to deploy"
	errNoCluster    = "no cluster deployed"
	errNoDeployment = "no active cluster deployment"
	errUnknownNode  = "unknown cluster node"
)

// Handle answers one request.
func (c *Controller) Handle(ctx context.Context, r Event, peer string) (*Event, error) {
	name, ours := strings.CutPrefix(r.Name, apiPrefix)
	name, isRequest := strings.CutSuffix(name, "_request")
	if !ours || !isRequest {
		return nil, fmt.Errorf("there is no request %.100q", r.Name)
	}
	f := &fields{what: r.Name, v: Vector(r.Args), least: 1}
	q := request{id: f.text(0), peer: peer}
	do, err := c.meaning(name, f)
	if err != nil {
		return nil, err
	}
	if f.err != nil {
		return nil, fmt.Errorf("cannot understand %s: %w", r.Name, f.err)
	}
	answer := do(ctx, q)
	if answer == nil || ctx.Err() != nil {
		return nil, nil
	}
	return &Event{Name: apiPrefix + name + "_response", Args: []Value{String(q.id), answer}}, nil
}

// request is what all requests have.
type request struct{ id, peer string }

// action carries a request out and returns what is answered; nil for nothing.
type action func(context.Context, request) Value

// meaning reads the arguments of a request.
func (c *Controller) meaning(name string, f *fields) (action, error) {
	one := func(g func(context.Context, request) Result) action {
		return func(ctx context.Context, q request) Value { return g(ctx, q).Value(q.id) }
	}
	many := func(g func(context.Context, request) []Result) action {
		return func(ctx context.Context, q request) Value {
			out := Vector{}
			for _, r := range g(ctx, q) {
				out = append(out, r.Value(q.id))
			}
			return out
		}
	}
	argument := func(i int) Value {
		f.least = i + 1
		return f.at(i)
	}
	switch name {
	case "get_instances":
		return one(c.instances), nil
	case "get_nodes":
		return many(c.nodes), nil
	case "stage_configuration":
		config, err := configurationOf(argument(1))
		if err != nil {
			return nil, err
		}
		return many(func(ctx context.Context, q request) []Result { return c.stage(ctx, q, config) }), nil
	case "deploy":
		return many(c.deploy), nil
	case "get_configuration":
		_ = argument(1)
		deployed := f.boolean(1)
		return one(func(ctx context.Context, _ request) Result { return c.configuration(ctx, deployed) }), nil
	case "get_id_value":
		_ = argument(2)
		id, names := f.text(1), f.names(2)
		return many(func(ctx context.Context, _ request) []Result { return c.value(ctx, id, names) }), nil
	case "restart":
		_ = argument(1)
		names := f.names(1)
		return many(func(ctx context.Context, q request) []Result { return c.restart(ctx, q, names) }), nil
	case "test_timeout":
		_ = argument(1)
		state := f.boolean(1)
		return func(ctx context.Context, q request) Value { return c.testTimeout(ctx, q, state) }, nil
	}
	return nil, fmt.Errorf("there is no request %s", name)
}

// names of nodes, each once.
func (f *fields) names(i int) []string {
	var out []string
	seen := map[string]bool{}
	for _, v := range f.list(i) {
		s, ok := v.(String)
		f.require(ok, f.number(i))
		if !seen[string(s)] {
			seen[string(s)] = true
			out = append(out, string(s))
		}
	}
	return out
}

// testTimeout does not answer, as the framework's controller; with state, its state expires, which is an answer.
func (c *Controller) testTimeout(ctx context.Context, q request, state bool) Value {
	if !state {
		return nil
	}
	select {
	case <-ctx.Done():
		return nil
	case <-time.After(c.Timings.Expire):
		return refusal(errTimedOut).Value(q.id)
	}
}

// configuration is the staged or the deployed one.
func (c *Controller) configuration(ctx context.Context, deployed bool) Result {
	if !deployed {
		config, err := c.store.staged()
		switch {
		case err != nil:
			return refusal(err.Error())
		case config == nil:
			return refusal(errNoStaged)
		}
		return Result{Success: true, Data: config.Value()}
	}
	config, err := c.deployed(ctx)
	switch {
	case err != nil:
		return refusal(err.Error())
	case config == nil:
		return refusal(errNoDeployed)
	}
	return Result{Success: true, Data: config.Value()}
}

// deployed is what the cluster's file says, with what was assigned, under the id that it was deployed with, or, where it came
// about otherwise, its revision. Nil: there is none.
func (c *Controller) deployed(ctx context.Context) (*Configuration, error) {
	last, revision, err := c.store.deployed()
	if err != nil {
		return nil, err
	}
	d, err := c.Engine.Deployed(ctx, c.Cluster)
	if err != nil {
		return nil, err
	}
	if d == nil {
		if last != nil && len(last.Nodes) == 0 {
			return last, nil
		}
		return nil, nil
	}
	config := &Configuration{ID: d.Revision, Instances: d.Cluster.Instances, Nodes: d.Cluster.Nodes}
	if last != nil && revision == d.Revision {
		config.ID = last.ID
	}
	for i := range config.Instances {
		if inst := &config.Instances[i]; inst.Host == "" && inst.Name == c.Instance {
			inst.Host = loopback
		}
	}
	return config, nil
}

// loopback is where the agent in the same process is, as the controller sees it.
const loopback = "127.0.0.1"

// emptied is why a configuration without nodes is not deployed over one that has some.
func (c *Controller) emptied() error {
	return errors.New("the configuration has no nodes, and would stop cluster " + c.Cluster + "; zeek-client sends the same for a file that it cannot read, so it is not deployed: to stop the cluster, use zeekrec stop " + c.Cluster)
}

// managementNode is an agent or a controller.
func managementNode(name, role string, pid, port int) NodeStatus {
	return NodeStatus{Node: name, State: "RUNNING", MgmtRole: role, ClusterRole: "NONE", PID: pid, Port: port}
}

// nodeNames of a cluster.
func nodeNames(c *desired.Cluster) map[string]*desired.Node {
	out := map[string]*desired.Node{}
	for i := range c.Nodes {
		out[c.Nodes[i].Name] = &c.Nodes[i]
	}
	return out
}
