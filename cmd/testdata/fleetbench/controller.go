package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	_ "net/http/pprof" // of --pprof
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/zeekrec/zeekrec/actuators/keys"
	"github.com/zeekrec/zeekrec/cmd/internal/bus"
	"github.com/zeekrec/zeekrec/cmd/internal/fleet"
	"github.com/zeekrec/zeekrec/cmd/internal/hub"
	"github.com/zeekrec/zeekrec/cmd/internal/identity"
	"github.com/zeekrec/zeekrec/desired/clustercfg"
	"github.com/zeekrec/zeekrec/observed"
	"github.com/zeekrec/zeekrec/reconciler/engine"
	"github.com/zeekrec/zeekrec/reconciler/engine/journal"
)

// figures are what was measured in one life of the controller. Durations are in seconds, memory in MiB.
type figures struct {
	Heard     float64 // until every agent was heard, since the process began
	HeardCPU  float64 // computed for that
	Settled   float64 // until every cluster's rollout had ended; 0: there were none
	StartPeak float64 // of memory until then
	StartCPU  float64
	Changes   []change
	Steady    float64 // how long nothing happened
	CPU       float64 // of one core, meanwhile, in percent
	RSS, Peak float64 // at the end; Peak of the whole life
	Disturbed int     // processes that were started and should not have been
	Journal   float64
}

// change is how long one took.
type change struct {
	Runs float64 // until the changed worker ran
	CPU  float64 // computed until then
	Ends float64 // until the rollout's outcome was journaled
}

// changes is how many clusters are changed, one after the other.
const changes = 5

// noted is the journal, with a note of rollouts that ended.
type noted struct {
	*journal.Journal
	mu    sync.Mutex
	ended map[string]time.Time // by cluster and revision
	total int
}

// Append notes what was written.
func (n *noted) Append(ctx context.Context, rs ...*engine.Record) error {
	if err := n.Journal.Append(ctx, rs...); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, r := range rs {
		if r.Kind == engine.KindOutcome {
			if r.Outcome != engine.Succeeded {
				fmt.Printf("controller: the rollout of %s ended as %s: %s\n", r.Cluster, r.Outcome, r.Reason)
				continue
			}
			n.total++
			n.ended[r.Cluster+"@"+r.Revision] = time.Now()
		}
	}
	return nil
}

func (n *noted) outcomes() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.total
}

func (n *noted) when(cluster, revision string) (time.Time, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	t, ok := n.ended[cluster+"@"+revision]
	return t, ok
}

// controller is the process that is measured.
type controller struct {
	options
	fleet   *bus.Fleet
	journal *noted
	seen    chan engine.Observation
	began   time.Time
	figures figures
}

// runController is one life of the controller; first: nothing runs yet.
func runController(ctx context.Context, o options) error {
	fleet.Frugal(ctx)
	c := &controller{options: o, seen: make(chan engine.Observation), began: time.Now()}
	if o.pprof != "" {
		go func() { _ = http.ListenAndServe(o.pprof, nil) }()
	}
	conf, err := tlsConfig(o.dir, controllerName)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	h, err := hub.Start(hub.Config{
		Listen: fmt.Sprintf("127.0.0.1:%d", o.port), TLS: conf, Admit: identity.NameOf, Agent: bus.AgentSubjects, Stranger: bus.EnrolSubjects, Log: log,
	})
	if err != nil {
		return err
	}
	conn, err := h.Connect()
	if err != nil {
		return err
	}
	defer conn.Close()
	state := filepath.Join(o.dir, "state")
	if c.fleet, err = bus.NewFleet(conn, bus.FleetConfig{Epoch: func() (uint64, error) { return 1, nil }, Keys: keys.Open(state), Log: log}); err != nil {
		return err
	}
	fmt.Println("controller: listens")
	j, folded, err := journal.Open(state)
	if err != nil {
		return err
	}
	defer func() { _ = j.Close() }()
	c.journal = &noted{Journal: j, ended: map[string]time.Time{}}
	e := engine.New(engine.Config{
		Source: "/etc/zeek/clusters", Observations: c.seen, Look: func() {}, Agents: c.fleet, Journal: c.journal, Keys: keys.Open(state), State: folded,
		Parse: clustercfg.Parse, Validate: clustercfg.ValidateAll, Log: log,
	})
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { _ = h.Run(ctx) }()
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	if err := c.measure(ctx); err != nil {
		return err
	}
	b, err := json.Marshal(c.figures)
	if err != nil {
		return err
	}
	fmt.Println(figuresAre + string(b))
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// until waits until ok, and says for how long.
func until(ctx context.Context, what string, wait time.Duration, ok func() bool) (time.Duration, error) {
	began := time.Now()
	for !ok() {
		select {
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		case <-time.After(20 * time.Millisecond):
		}
		if time.Since(began) > wait {
			return 0, fmt.Errorf("%s: not within %s", what, wait)
		}
	}
	return time.Since(began), nil
}

func (c *controller) measure(ctx context.Context) error {
	n := c.shape.agents()
	if _, err := until(ctx, "all agents are heard", 2*time.Minute, func() bool { return len(c.fleet.Reports()) == n }); err != nil {
		return err
	}
	c.figures.Heard = time.Since(c.began).Seconds()
	cpu, err := cpuTime()
	if err != nil {
		return err
	}
	c.figures.HeardCPU = cpu.Seconds()
	fmt.Printf("controller: %d agents are heard %.2f s after it began, with %.2f s of CPU time\n", n, c.figures.Heard, c.figures.HeardCPU)
	if err := c.tell(ctx, c.versions); err != nil {
		return err
	}
	if c.first {
		if err := c.start(ctx); err != nil {
			return err
		}
	}
	before := c.incarnations()
	for i := range changes {
		if err := c.change(ctx, (i*7+3)%c.shape.clusters); err != nil {
			return err
		}
	}
	if err := c.steady(ctx); err != nil {
		return err
	}
	c.figures.Disturbed = c.incarnations() - before - changes
	if info, err := os.Stat(filepath.Join(c.dir, "state", "journal.jsonl")); err == nil {
		c.figures.Journal = float64(info.Size()) / (1 << 20)
	}
	return nil
}

func (c *controller) tell(ctx context.Context, versions map[int]int) error {
	select {
	case c.seen <- engine.Observation{Snapshot: c.shape.snapshot(versions), CheckedAt: time.Now()}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// start waits until all nodes were started.
func (c *controller) start(ctx context.Context) error {
	took, err := until(ctx, "all clusters are started", 20*time.Minute, func() bool { return c.journal.outcomes() >= c.shape.clusters })
	if err != nil {
		return err
	}
	cpu, err := cpuTime()
	if err != nil {
		return err
	}
	_, c.figures.StartPeak, err = memory()
	c.figures.Settled, c.figures.StartCPU = took.Seconds(), cpu.Seconds()
	fmt.Printf("controller: %d nodes were started within %.1f s, with %.1f s of CPU time and %.0f MiB at most\n", c.incarnations(), took.Seconds(), cpu.Seconds(), c.figures.StartPeak)
	return err
}

// incarnations of all resources together: how many processes were started ever.
func (c *controller) incarnations() (n int) {
	for _, r := range c.fleet.Reports() {
		for i := range r.Resources {
			n += r.Resources[i].Incarnation
		}
	}
	return n
}

// worker is the changed worker of a cluster as it was reported.
func (c *controller) worker(cluster int) observed.Resource {
	for _, r := range c.fleet.Reports() {
		if r.Instance != instanceName(cluster, 1) {
			continue
		}
		if i := slices.IndexFunc(r.Resources, func(o observed.Resource) bool { return o.Name == changedWorker }); i >= 0 {
			return r.Resources[i]
		}
	}
	return observed.Resource{}
}

// change one worker's interface.
func (c *controller) change(ctx context.Context, cluster int) error {
	c.versions[cluster]++
	before := c.worker(cluster)
	cpu, err := cpuTime()
	if err != nil {
		return err
	}
	began := time.Now()
	if err := c.tell(ctx, c.versions); err != nil {
		return err
	}
	want := fmt.Sprintf("span%d", c.versions[cluster])
	runs, err := until(ctx, "the changed worker runs", time.Minute, func() bool {
		o := c.worker(cluster)
		return o.Incarnation > before.Incarnation && o.State == observed.Running && slices.Equal(o.Parts.Get("interface"), []string{want})
	})
	if err != nil {
		return err
	}
	took, err := cpuTime()
	if err != nil {
		return err
	}
	rev := c.shape.snapshot(c.versions).Files[cluster].Revision()
	var at time.Time
	if _, err := until(ctx, "the rollout ends", time.Minute, func() (ok bool) { at, ok = c.journal.when(clusterName(cluster), rev); return ok }); err != nil {
		return err
	}
	ch := change{Runs: runs.Seconds(), Ends: at.Sub(began).Seconds(), CPU: (took - cpu).Seconds()}
	c.figures.Changes = append(c.figures.Changes, ch)
	fmt.Printf("controller: a worker of %s has its new interface after %.2f s, with %.2f s of CPU time; its rollout ended after %.2f s\n", clusterName(cluster), ch.Runs, ch.CPU, ch.Ends)
	return nil
}

// steady measures while nothing is to be done.
func (c *controller) steady(ctx context.Context) error {
	select {
	case <-time.After(c.settle):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	before, err := cpuTime()
	if err != nil {
		return err
	}
	began := time.Now()
	select {
	case <-time.After(c.steadyFor):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	after, err := cpuTime()
	if err != nil {
		return err
	}
	took := time.Since(began)
	c.figures.Steady, c.figures.CPU = took.Seconds(), 100*float64(after-before)/float64(took)
	c.figures.RSS, c.figures.Peak, err = memory()
	fmt.Printf("controller: steady for %.0f s with %.1f %% of a core, %.0f MiB, %.0f MiB at most\n", took.Seconds(), c.figures.CPU, c.figures.RSS, c.figures.Peak)
	return err
}
