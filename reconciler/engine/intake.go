package engine

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/zeekrec/zeekrec/desired"
)

// sourceView is how the source looks from the engine.
type sourceView struct {
	err         string
	since       time.Time // of err, or of the first file that cannot be read or used
	checked     time.Time
	commit      string // that err is about
	notes       []string
	diagnostics []desired.Diagnostic
	bad         map[string]time.Time // cluster whose newest file is not accepted -> since
	later       map[string]bool      // clusters of whose newest file it is not known yet what it takes: Zeek is being asked
}

// observe takes what the source says. A failure changes nothing but the status; a snapshot leads to
// acceptances and rejections, cluster by cluster.
func (e *Engine) observe(ctx context.Context, o Observation) {
	e.seen.checked, e.seen.notes = o.CheckedAt, o.Notes
	if o.Err != nil {
		e.trouble(ctx, o)
		return
	}
	if o.Snapshot == nil {
		return
	}
	if e.seen.err != "" {
		if e.seen.commit == "" {
			e.record(ctx, &Record{Kind: KindSource, Source: e.cfg.Source, By: "source", Reason: "readable again"})
			e.log.Info("The source can be read again", "source", e.cfg.Source)
		}
		e.seen.err, e.seen.commit, e.seen.since = "", "", time.Time{}
	}
	if !e.admits(ctx, o) {
		return
	}
	in := judge(o.Snapshot, e.parse, e.cfg.Validate, e.cfg.Instance)
	e.seen.diagnostics = in.diagnostics
	maps.DeleteFunc(e.readings, func(name string, _ reading) bool { return !in.has(name) })
	if !e.learned(ctx, in.good) {
		e.pending = &o // an answer is to come
		return
	}
	e.findLoads(ctx, &in)
	if e.postpone(ctx, &in, time.Now()); len(in.later) > 0 {
		e.pending = &o // once more, when there are answers
	}
	e.seen.later = maps.Clone(in.later)
	maps.DeleteFunc(e.seen.later, func(name string, _ bool) bool {
		n := e.state.look(name).Newest()
		return n != nil && n.ID == in.files[name].Revision()
	})
	if !e.intake(ctx, o, in) {
		e.pending = &o
		e.intakeWait = min(max(time.Second, 2*e.intakeWait), time.Minute)
		e.intakeAt = time.Now().Add(e.intakeWait)
		return
	}
	e.intakeAt, e.intakeWait = time.Time{}, 0
}

// trouble notes that the source, or its newest commit, cannot be used. Each trouble is journaled once.
func (e *Engine) trouble(ctx context.Context, o Observation) {
	about := ""
	if o.Commit != nil {
		about = o.Commit.ID
	}
	if e.seen.err == "" || e.seen.commit != about {
		e.seen.since = o.CheckedAt
		switch {
		case about == "":
			e.record(ctx, &Record{Kind: KindSource, Source: e.cfg.Source, By: "source", Reason: o.Err.Error()})
			e.log.Error("Cannot read the source; everything stays as it was", "source", e.cfg.Source, "error", o.Err)
		case e.state.Refused != about:
			e.record(ctx, &Record{Kind: KindCommitRejected, By: o.Commit.Author, Commit: o.Commit.Alone(), Reason: o.Err.Error()})
			e.log.Error("A commit was not accepted; everything stays as it was", "commit", about, "author", o.Commit.Author, "error", o.Err)
		}
	}
	e.held = nil
	e.seen.err, e.seen.commit = o.Err.Error(), about
}

// learned reports whether everything is known of the Zeeks that clusters name, as far as agents can tell.
// It asks about those of which nothing is: what a revision compiles to depends on it.
func (e *Engine) learned(ctx context.Context, cs map[string]*desired.Cluster) bool {
	all := true
	for _, c := range cs {
		for _, n := range c.Nodes {
			path := c.Settings.Zeek
			r, known := e.fleet[n.Instance]
			if _, answered := r.Host.Zeek[path]; path == "" || !known || answered {
				continue
			}
			key := n.Instance + "\x00" + path
			done, begun := e.asked[key]
			if !begun {
				e.asked[key] = false
				go func() {
					within, cancel := context.WithTimeoutCause(ctx, e.timings.Check, fmt.Errorf("no answer within %s", e.timings.Check))
					defer cancel()
					if err := e.cfg.Agents.Ask(within, n.Instance, path); err != nil {
						e.log.Warn("Cannot find out about a Zeek", "instance", n.Instance, "zeek", path, "error", err)
					}
					e.later(ctx, func() { e.asked[key] = true })
				}()
			}
			all = all && done
		}
	}
	return all
}

// reading is what a file was read as.
type reading struct {
	revision    string
	cluster     *desired.Cluster
	diagnostics []desired.Diagnostic
}

// parse reads a file, unless it is what it was when it was read last: of many files mostly one has changed. The cluster is the caller's,
// with what it refers to shared.
func (e *Engine) parse(f desired.ClusterFile, instance string) (*desired.Cluster, []desired.Diagnostic) {
	r, rev := e.readings[f.Name], f.Revision()
	// What is wrong may be right by now: what a file without instances means depends on which agents there are.
	if r.revision != rev || desired.HasErrors(r.diagnostics) {
		c, ds := e.cfg.Parse(f, instance)
		if c != nil && c.Revision == "" {
			c.Revision = rev
		}
		r = reading{rev, c, ds}
		e.readings[f.Name] = r
	}
	if r.cluster == nil {
		return nil, slices.Clone(r.diagnostics)
	}
	c := *r.cluster
	return &c, slices.Clone(r.diagnostics)
}

// judged is a snapshot, read and validated.
type judged struct {
	good        map[string]*desired.Cluster
	bad         map[string][]desired.Diagnostic // by cluster
	later       map[string]bool                 // good ones that are not taken in yet, by name
	files       map[string]desired.ClusterFile
	loads       map[string][]desired.Loads // what of NAME/ nodes load, of new revisions
	diagnostics []desired.Diagnostic
}

// judge reads and validates every file of a snapshot. Pure.
func judge(s *desired.Snapshot, parse Parser, validate Validator, instance string) judged {
	j := judged{good: map[string]*desired.Cluster{}, bad: map[string][]desired.Diagnostic{}, later: map[string]bool{}, files: map[string]desired.ClusterFile{}}
	for _, f := range s.Files {
		j.files[f.Name] = f
		if f.Err != nil {
			d := desired.Diagnostic{
				File: f.File, Severity: desired.Error, Code: "unreadable",
				Message: f.Err.Error(), Hint: "the cluster stays at its last good revision until the file can be read",
			}
			j.bad[f.Name] = []desired.Diagnostic{d}
			j.diagnostics = append(j.diagnostics, d)
			continue
		}
		c, ds := parse(f, instance)
		j.diagnostics = append(j.diagnostics, ds...)
		if c == nil || desired.HasErrors(ds) {
			j.bad[f.Name] = ds
			continue
		}
		j.good[f.Name] = c
	}
	j.blame(validate(clusterList(j.good)))
	desired.SortDiagnostics(j.diagnostics)
	return j
}

// has reports whether the snapshot has a file of that cluster, good or bad.
func (j *judged) has(cluster string) bool {
	_, ok := j.files[cluster]
	return ok
}

// blame takes clusters that a diagnostic speaks against out of the good ones.
func (j *judged) blame(ds []desired.Diagnostic) {
	j.diagnostics = append(j.diagnostics, ds...)
	for _, d := range ds {
		name := strings.TrimSuffix(d.File, ".cfg")
		if d.Severity == desired.Error && j.good[name] != nil {
			j.bad[name] = append(j.bad[name], d)
			delete(j.good, name)
		}
	}
}

func clusterList(m map[string]*desired.Cluster) []*desired.Cluster {
	out := make([]*desired.Cluster, 0, len(m))
	for _, n := range slices.Sorted(maps.Keys(m)) {
		out = append(out, m[n])
	}
	return out
}

// intake journals what a snapshot means. False: the journal cannot be written.
func (e *Engine) intake(ctx context.Context, o Observation, in judged) bool {
	if !e.take(ctx, o.Snapshot.Commit) || !e.reject(ctx, o, &in) {
		return false
	}
	commit, author, by := origin(o.Snapshot.Commit)
	// All clusters are compiled together, since they share ports: the new ones, and of the others
	// what is wanted of them now.
	all := maps.Clone(in.good)
	for name, h := range e.state.Clusters {
		if _, new := all[name]; !new && (in.bad[name] != nil || in.later[name]) {
			if c := e.clusterOf(ctx, h.Target()); c != nil {
				all[name] = c
			}
		}
	}
	// Keys are made for what is accepted, and change nothing about whether it is.
	cs := clusterList(all)
	facts := e.facts().WithAssumedKeys(cs)
	d := &draft{as: clusterKeys(cs, facts)}
	d.out = desired.Recompile(cs, facts, e.state.Assigned(), o.CheckedAt, e.compiled, func(c *desired.Cluster) bool { return d.as[c.Name] == e.compiledAs[c.Name] })
	out := d.out
	e.draft = d
	in.blame(out.Diagnostics)
	e.seen.diagnostics = in.diagnostics
	desired.SortDiagnostics(e.seen.diagnostics)
	if !e.reject(ctx, o, &in) {
		return false
	}

	own := ownParts(out.Assignment, slices.Concat(slices.Collect(maps.Keys(in.good)), slices.Collect(maps.Keys(e.state.Clusters))))
	var rs []*Record
	for _, name := range slices.Sorted(maps.Keys(in.good)) {
		f := in.files[name]
		rev := f.Revision()
		h := e.state.look(name)
		if n := h.Newest(); n != nil && n.ID == rev {
			continue
		}
		object, err := e.cfg.Journal.PutFile(ctx, f)
		if err != nil {
			if e.journalErr != err.Error() {
				e.log.Error("Cannot keep a revision; it is not accepted", "cluster", name, "error", err)
			}
			e.journalErr = err.Error()
			return false
		}
		c := in.good[name]
		e.hasRead(object, c, f) // it is about to be the target, and need not be read again
		rs = append(rs, &Record{Kind: KindAccepted, Cluster: name, Revision: rev, By: by, Accepted: &Accepted{
			Object: object, Commit: commit, Author: author, Loads: in.loads[name], Resources: placements(out.Resources[name]), PruneGuard: c.Settings.PruneGuard,
			Guard: e.guard(h, out.Resources[name], false), Assignment: own[name], Own: true,
		}})
	}
	for _, name := range slices.Sorted(maps.Keys(e.state.Clusters)) {
		h := e.state.Clusters[name]
		if in.has(name) || h.Newest() == nil || h.Newest().Removed {
			continue
		}
		rs = append(rs, &Record{Kind: KindAccepted, Cluster: name, Revision: RemovedRevision, By: by, Accepted: &Accepted{
			Removed: true, Commit: commit, Author: author, Guard: e.guard(h, nil, true), Assignment: own[name], Own: true, PruneGuard: h.Newest().PruneGuard,
		}})
	}
	if len(rs) == 0 {
		return true
	}
	if !e.record(ctx, rs...) {
		return false
	}
	for _, r := range rs {
		if r.Accepted.Guard != "" {
			e.log.Warn("A revision waits for confirmation", "cluster", r.Cluster, "revision", r.Revision, "reason", r.Accepted.Guard)
		} else {
			e.log.Info("Accepted a revision", "cluster", r.Cluster, "revision", r.Revision, "by", r.By)
		}
		e.work(r.Cluster).stalled = stall{}
	}
	if err := e.cfg.Journal.Collect(ctx); err != nil {
		e.log.Warn("Cannot clear old revisions away", "error", err)
	}
	return true
}

// reject journals what is newly bad, once for each content.
func (e *Engine) reject(ctx context.Context, o Observation, in *judged) bool {
	was := e.seen.bad
	_, _, by := origin(o.Snapshot.Commit)
	e.seen.bad = map[string]time.Time{}
	var rs []*Record
	for _, name := range slices.Sorted(maps.Keys(in.bad)) {
		f := in.files[name]
		since, known := was[name]
		if !known {
			since = o.CheckedAt
		}
		e.seen.bad[name] = since
		rev := "unreadable"
		if f.Err == nil {
			rev = f.Revision()
		}
		if r := e.state.look(name).Rejected; known && r != nil && r.Revision == rev {
			continue
		}
		rs = append(rs, &Record{Kind: KindRejected, Cluster: name, Revision: rev, By: by, Commit: o.Snapshot.Commit.Alone(), Problems: firstErrors(in.bad[name])})
	}
	if len(rs) > 0 && !e.record(ctx, rs...) {
		return false
	}
	for _, r := range rs {
		e.log.Error("A revision was not accepted; its cluster stays as it was", "cluster", r.Cluster, "problem", firstProblem(r.Problems))
	}
	return true
}

// firstErrors keeps a journal line readable.
func firstErrors(ds []desired.Diagnostic) []desired.Diagnostic {
	var out []desired.Diagnostic
	for _, d := range ds {
		if d.Severity == desired.Error && len(out) < 20 {
			out = append(out, d)
		}
	}
	return out
}

func firstProblem(ds []desired.Diagnostic) string {
	if len(ds) == 0 {
		return ""
	}
	return ds[0].String()
}

// guard asks the prune guard about a candidate, reckoned from the last accepted revision that may run.
func (e *Engine) guard(h *History, candidate []desired.Resource, removed bool) string {
	if hold := holdOf(h, candidate, removed); hold != nil {
		return hold.Reason
	}
	return ""
}

// ownParts are what records of clusters are to have of an assignment.
func ownParts(a desired.Assignment, clusters []string) map[string]desired.Assignment {
	own := a.Parts(clusters)
	for name, o := range own {
		o.Addresses = a.Addresses
		own[name] = o
	}
	return own
}

func placements(rs []desired.Resource) map[string]Placement {
	m := make(map[string]Placement, len(rs))
	for _, r := range rs {
		m[r.Name] = Placement{Type: r.Type, Role: r.Role, Instance: r.Instance}
	}
	return m
}

// clusterOf reads an accepted revision from the store. Nil, and a line in the log, where it cannot.
func (e *Engine) clusterOf(ctx context.Context, rev *Revision) *desired.Cluster {
	if rev == nil || rev.Removed {
		return nil
	}
	if c := e.parsed[rev.Object]; c != nil {
		return e.withLoads(c, rev)
	}
	f, err := e.cfg.Journal.File(ctx, rev.Object)
	if err != nil {
		e.log.Error("Cannot read an accepted revision; its cluster is left alone", "revision", rev.ID, "error", err)
		return nil
	}
	c, ds := e.parse(f, e.cfg.Instance)
	if c == nil || desired.HasErrors(ds) {
		e.log.Error("Cannot use an accepted revision; its cluster is left alone", "revision", rev.ID, "problem", firstProblem(firstErrors(ds)))
		return nil
	}
	e.hasRead(rev.Object, c, f)
	return e.withLoads(c, rev)
}

func (e *Engine) hasRead(object string, c *desired.Cluster, f desired.ClusterFile) {
	e.parsed[object], e.files[object] = c, f
	e.sums.of = 0
}

// withLoads is a cluster with what is known of a revision: the same content may have been accepted more than once.
func (e *Engine) withLoads(c *desired.Cluster, rev *Revision) *desired.Cluster {
	loaded := e.files[rev.Object].Tree.ByNode(rev.Loads)
	if !maps.Equal(loaded, c.Loaded) {
		d := *c
		d.Loaded = loaded
		c = &d
		e.parsed[rev.Object] = c
	}
	return c
}

// compile makes the resources of all targets, when a target or a fact has changed.
func (e *Engine) compile(ctx context.Context, now time.Time) {
	if !e.ready() {
		return
	}
	e.tendKeys(ctx, now)
	targets := e.summed().targets
	if targets == e.targetsAs && !e.factsNew {
		e.draft = nil
		return
	}
	var cs []*desired.Cluster
	for _, name := range slices.Sorted(maps.Keys(e.state.Clusters)) {
		if c := e.clusterOf(ctx, e.state.Clusters[name].Target()); c != nil {
			cs = append(cs, c)
		}
	}
	e.tendKeys(ctx, now) // of those that were read just now
	facts := e.facts()
	as := clusterKeys(cs, facts)
	e.options = slices.ContainsFunc(cs, hasOptions)
	targets = e.summed().targets
	if targets != e.targetsAs || !maps.Equal(as, e.compiledAs) || len(e.names.withheld) > 0 {
		before, was := e.compiled, e.compiledAs
		if e.draft != nil { // it has what was there before, too
			before, was = e.draft.out, e.draft.as
		}
		now := desired.Recompile(cs, facts, e.state.Assigned(), now, before, func(c *desired.Cluster) bool { return as[c.Name] == was[c.Name] })
		before, e.compiled = e.compiled, now
		e.wantedAnew(before.Resources)
	}
	e.draft = nil
	e.compiledAs, e.targetsAs, e.factsNew = as, "", true
	if e.withhold(ctx, cs, facts) {
		if e.pending == nil {
			e.forgetNames(facts)
		}
		e.targetsAs, e.factsNew = targets, false
	} else {
		e.attention.all = true
	}
	e.keepParsed(cs)
}

// sums are what every step needs to know of the state, which changes by records alone, and of what its revisions were read as.
type sums struct {
	of      uint64          // e.recorded; 0: to be made anew
	names   []string        // of clusters, sorted
	curved  map[string]bool // those of which it is known that they need keys
	targets string          // the revisions that are to run, and the keys that count
}

func (e *Engine) summed() *sums {
	if e.sums.of == e.recorded {
		return &e.sums
	}
	e.sums = sums{of: e.recorded, names: slices.Sorted(maps.Keys(e.state.Clusters)), curved: map[string]bool{}}
	var b strings.Builder
	for _, name := range e.sums.names {
		h := e.state.Clusters[name]
		if c := e.targetCluster(h); c != nil && c.UsesCurve() {
			e.sums.curved[name] = true
		}
		if rev := h.Target(); rev != nil && !rev.Removed {
			fmt.Fprintf(&b, "\x00%s %s %d %v", name, rev.Object, rev.At.UnixNano(), h.keyIDs())
		}
	}
	e.sums.targets = b.String()
	return &e.sums
}

// draft is what a snapshot was compiled to before it was accepted, and of what.
type draft struct {
	out desired.Compiled
	as  map[string]string
}

// clusterKeys are those of clusters, by name.
func clusterKeys(cs []*desired.Cluster, f desired.Facts) map[string]string {
	m := make(map[string]string, len(cs))
	for _, c := range cs {
		m[c.Name] = clusterKey(c, f)
	}
	return m
}

// clusterKey names what a cluster is compiled from, but for what is assigned.
func clusterKey(c *desired.Cluster, f desired.Facts) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %v %v", c.Revision, c.Loaded, f.Keys[c.Name])
	for _, inst := range c.UsedInstances() {
		i, reports := f.Instances[inst]
		z, asked := i.Zeek[c.Settings.Zeek]
		fmt.Fprintf(&b, "\x00%s %t %v %t %v", inst, reports, i.Addresses, asked, z)
		if hasOptions(c) {
			b.WriteString(namesKey(i.Names))
		}
	}
	return b.String()
}

// keepParsed forgets the revisions that are no target.
func (e *Engine) keepParsed(cs []*desired.Cluster) {
	maps.DeleteFunc(e.parsed, func(object string, c *desired.Cluster) bool {
		if slices.Contains(cs, c) {
			return false
		}
		delete(e.files, object)
		return true
	})
}

// facts from the newest reports, with the keys that count.
func (e *Engine) facts() desired.Facts {
	if e.hosts == nil {
		e.hosts = withNames(factsFrom(e.fleet, e.cfg.Instance), e.names.known).Instances
	}
	return desired.Facts{Default: e.cfg.Instance, Instances: e.hosts, Keys: e.state.keyFacts()}
}
