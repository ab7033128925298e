package local

import (
	"context"
	"fmt"

	"github.com/zeekrec/zeekrec/actuators/agent"
	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/observed"
)

// localAgents are engine.Agents with one agent, in the same process.
type localAgents struct {
	agent    *agent.Agent
	instance string
}

// Reports has the agent's report, as soon as it knows what runs and what its Zeek is: plans that rest on
// less would be made anew a moment later, at the cost of restarts.
func (a *localAgents) Reports() []*observed.Report {
	r := a.agent.Report()
	if _, asked := r.Host.Zeek[""]; r.At.IsZero() || !asked {
		return nil
	}
	return []*observed.Report{&r}
}

// Changed tells of changes of the report.
func (a *localAgents) Changed() <-chan struct{} { return a.agent.Changes() }

// Do hands the order on.
func (a *localAgents) Do(ctx context.Context, instance string, o desired.Order) error {
	if err := a.mine(instance); err != nil {
		return err
	}
	return a.agent.Do(ctx, o)
}

// PutFiles hands the files on.
func (a *localAgents) PutFiles(ctx context.Context, instance, cluster string, t desired.Tree) error {
	if err := a.mine(instance); err != nil {
		return err
	}
	return a.agent.PutFiles(ctx, cluster, t)
}

// Ask lets the agent look at a Zeek.
func (a *localAgents) Ask(ctx context.Context, instance, zeek string) error {
	if err := a.mine(instance); err != nil {
		return err
	}
	a.agent.LearnZeek(ctx, zeek)
	return nil
}

// Loads hands the question on.
func (a *localAgents) Loads(ctx context.Context, instance string, rs []desired.Resource, each bool) (map[string][]string, error) {
	if err := a.mine(instance); err != nil {
		return nil, err
	}
	return a.agent.Loads(ctx, rs, each)
}

// Check hands the question on.
func (a *localAgents) Check(ctx context.Context, instance string, rs []desired.Resource) ([]observed.Problem, error) {
	if err := a.mine(instance); err != nil {
		return nil, err
	}
	return a.agent.Check(ctx, rs)
}

// CheckUpdate hands the question on.
func (a *localAgents) CheckUpdate(ctx context.Context, instance string, rs []desired.Resource) ([]observed.Problem, error) {
	if err := a.mine(instance); err != nil {
		return nil, err
	}
	return a.agent.CheckUpdate(ctx, rs)
}

// Names hands the question on.
func (a *localAgents) Names(ctx context.Context, instance string, r desired.Resource) (desired.ZeekNames, error) {
	if err := a.mine(instance); err != nil {
		return desired.ZeekNames{}, err
	}
	return a.agent.Names(ctx, r)
}

func (a *localAgents) mine(instance string) error {
	if instance != a.instance {
		return fmt.Errorf("cannot reach %s: no agent of that name (this one is %s)", instance, a.instance)
	}
	return nil
}
