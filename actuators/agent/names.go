package agent

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/desired/launch"
	"github.com/zeekrec/zeekrec/observed"
)

// probes remember what Zeek said of the names in nodes' scripts: it is asked once for each command line and program.
// Scripts of the host that are changed in place are seen by the next zeekrec, as running nodes see them by their next start.
type probes struct {
	turn chan struct{} // one at a time: they load the host; has room for one

	mu    sync.Mutex
	known map[string]launch.Found
}

// probesKept bounds what is remembered; more are asked again.
const probesKept = 32

func newProbes() *probes {
	return &probes{turn: make(chan struct{}, 1), known: map[string]launch.Found{}}
}

// Names are those that the scripts of a node let be redefined. It runs the node's Zeek, beside the nodes and without
// opening anything, where that was not asked before. NAME/ has to be on disk.
func (a *Agent) Names(ctx context.Context, r desired.Resource) (desired.ZeekNames, error) {
	if r.Node == nil {
		return desired.ZeekNames{}, fmt.Errorf("cannot ask for the names of %s: it is no node", r.Key())
	}
	bare := *r.Node
	bare.Options, r.Node = nil, &bare // whose values may be wrong
	f, _, err := a.probe(ctx, &r)
	if err != nil {
		return desired.ZeekNames{}, err
	}
	return f.Names(), nil
}

// CheckUpdate looks for what would keep running nodes from taking their options: values that Zeek's parser refuses, and the
// few that cannot be told to a process. Problems and error are as Check's.
func (a *Agent) CheckUpdate(ctx context.Context, rs []desired.Resource) ([]observed.Problem, error) {
	var problems []observed.Problem
	for i := range rs {
		r := &rs[i]
		if r.Node == nil {
			continue
		}
		f, permanent, err := a.probe(ctx, r)
		if err == nil {
			_, err = tuneTexts(&f, optionNames(r))
			permanent = err != nil
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("cannot check: %w", context.Cause(ctx))
		}
		if err != nil {
			problems = append(problems, observed.Problem{Resource: r.Key(), Permanent: permanent, Message: err.Error()})
		}
	}
	slices.SortFunc(problems, func(x, y observed.Problem) int { return strings.Compare(x.Resource, y.Resource) })
	return problems, nil
}

// probe asks the Zeek of a node for its names, and the values that its options would have at a start.
func (a *Agent) probe(ctx context.Context, r *desired.Resource) (f launch.Found, permanent bool, err error) {
	facts, program, err := a.program(ctx, r)
	if err != nil {
		return f, false, err
	}
	l, err := launch.Probe(r, a.place(a.folder(r.Cluster, r.Name), facts))
	if err != nil {
		return f, true, err
	}
	key := fmt.Sprintf("%s %d %s\x00%s", r.Role, program.Size, program.ModTime, commandLine(l))
	if f, ok := a.probes.get(key); ok {
		return f, false, nil
	}
	select {
	case a.probes.turn <- struct{}{}:
		defer func() { <-a.probes.turn }()
	case <-ctx.Done():
		return f, false, context.Cause(ctx)
	}
	if f, ok := a.probes.get(key); ok { // of another node that is like it
		return f, false, nil
	}
	run, err := a.runApart(ctx, l, launch.ProbeFile, nil)
	if err == nil {
		permanent, err = run.verdict(l)
	}
	if err == nil {
		f, err = launch.ReadProbe(run.product)
	}
	if err == nil {
		a.probes.put(key, f)
	}
	return f, permanent, err
}

func (p *probes) get(key string) (launch.Found, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f, ok := p.known[key]
	return f, ok
}

func (p *probes) put(key string, f launch.Found) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.known) >= probesKept {
		clear(p.known)
	}
	p.known[key] = f
}

// optionNames are the names of a node's options, sorted.
func optionNames(r *desired.Resource) []string {
	var out []string
	for _, o := range r.Node.Options {
		out = append(out, o.Name)
	}
	slices.Sort(out)
	return out
}

// tuneTexts are the values of those names that can be told to a running Zeek, in its notation; it needs no others.
func tuneTexts(f *launch.Found, names []string) ([]launch.OptionText, error) {
	var out []launch.OptionText
	for _, name := range names {
		typ, value, ok := f.Value(name)
		if !ok {
			continue
		}
		text, err := launch.Text(typ, value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w; put it into a script of the cluster instead of [zeekrec.options]", name, err)
		}
		out = append(out, launch.OptionText{Name: name, Text: text})
	}
	return out, nil
}
