package engine

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/observed"
	"github.com/zeekrec/zeekrec/reconciler"
)

// Status is what a person sees of it all. Its JSON form is a promise (zeekrec status --json).
type Status struct {
	FormatVersion int             `json:"format_version"`
	Source        SourceStatus    `json:"source"`
	Clusters      []ClusterStatus `json:"clusters"`
	Agents        []AgentStatus   `json:"agents"`
	// Journal is why it cannot be written, and so nothing new is deployed.
	Journal string    `json:"journal_error,omitempty"`
	At      time.Time `json:"at"`
	// StandIn: at least one process is not Zeek, but the stand-in.
	StandIn bool   `json:"stand_in,omitempty"`
	Version string `json:"version,omitempty"`
}

// SourceStatus is how the source looks.
type SourceStatus struct {
	URL    string `json:"url"`
	Commit string `json:"commit"` // of a Git source: the one that counts
	Author string `json:"author,omitempty"`
	Signer string `json:"signer,omitempty"` // where signatures are asked for
	// State is ok, error (the source, or its newest commit, cannot be used), invalid (some file of it cannot be used), or held (its
	// newest commit, Waiting, needs zeekrec apply --confirm).
	State     string     `json:"state"`
	Waiting   string     `json:"waiting,omitempty"`
	Error     *string    `json:"error"`
	Since     *time.Time `json:"since,omitempty"` // of a state other than ok
	CheckedAt time.Time  `json:"checked_at"`
	// Notes say what the source waits for.
	Notes []string `json:"notes,omitempty"`
	// Diagnostics of the newest snapshot.
	Diagnostics []desired.Diagnostic `json:"diagnostics,omitempty"`
}

// ClusterStatus is one cluster.
type ClusterStatus struct {
	Name     string `json:"name"`
	Revision struct {
		Wanted  string `json:"wanted"`
		Running string `json:"running"`
	} `json:"revision"`
	Synced    bool `json:"synced"`
	Healthy   bool `json:"healthy"`
	Suspended bool `json:"suspended"`
	// Reason is why the cluster is not synced, or what it waits for.
	Reason string     `json:"reason,omitempty"`
	Since  *time.Time `json:"since,omitempty"` // the newest file of the cluster has not been usable since
	// Waiting is a revision that needs zeekrec apply --confirm.
	Waiting     string         `json:"waiting,omitempty"`
	Quarantined string         `json:"quarantined,omitempty"`
	Pinned      string         `json:"pinned,omitempty"`
	Rollout     *RolloutStatus `json:"rollout,omitempty"`
	Last        *LastRollout   `json:"last_rollout,omitempty"`
	// Keys are the CURVE keys that its traffic is encrypted with; nil: it is not encrypted.
	Keys      *KeysStatus      `json:"keys,omitempty"`
	Resources []ResourceStatus `json:"resources"`
}

// RolloutStatus is the rollout under way.
type RolloutStatus struct {
	ID      string    `json:"id"`
	To      string    `json:"to"`
	Cause   string    `json:"cause"`
	Began   time.Time `json:"began"`
	Left    int       `json:"left"` // actions still to come
	Acted   int       `json:"acted"`
	Waiting string    `json:"waiting,omitempty"`
}

// ResourceStatus is one resource.
type ResourceStatus struct {
	Name      string         `json:"name"`
	Type      string         `json:"type"`
	Role      string         `json:"role"`
	Instance  string         `json:"instance"`
	State     observed.State `json:"state"`
	Reason    string         `json:"reason"`
	PID       int            `json:"pid"`
	Port      *int           `json:"port"`
	StartedAt *time.Time     `json:"started_at"`
	Restarts  int            `json:"restarts"`
	Joined    *bool          `json:"joined"` // null: nobody can tell yet
	// Answering is whether its main loop answers questions; null: nobody can tell. False: not since Silent.
	Answering  *bool      `json:"answering"`
	Silent     *time.Time `json:"silent_since,omitempty"`
	ObservedAt *time.Time `json:"observed_at"`
	Since      *time.Time `json:"since,omitempty"`
	Healthy    bool       `json:"healthy"`
	// Unit of systemd, or cgroup, that keeps its process together with those of its role; empty: nothing does.
	Unit string `json:"unit,omitempty"`
	// Degraded is what is wrong with it though it is healthy, the worst first; nothing is restarted for it. Notes are what may be
	// of interest, and nothing is wrong with.
	Degraded []string `json:"degraded,omitempty"`
	Notes    []string `json:"notes,omitempty"`
	// Archive is what an archiver does; null: it is none, or does not say.
	Archive   *observed.Archive `json:"archive,omitempty"`
	Orphaned  bool              `json:"orphaned,omitempty"`
	Suspended string            `json:"suspended,omitempty"` // by whom and why
	Outdated  []string          `json:"outdated,omitempty"`
	Version   string            `json:"version,omitempty"`
	StandIn   bool              `json:"stand_in,omitempty"`
	// Incarnation counts the starts.
	Incarnation int   `json:"incarnation"`
	Foreign     []int `json:"foreign,omitempty"`
}

// AgentStatus is one agent.
type AgentStatus struct {
	Name       string    `json:"name"`
	State      string    `json:"state"` // connected, silent
	LastReport time.Time `json:"last_report"`
	Zeek       string    `json:"zeek,omitempty"`
	StandIn    bool      `json:"stand_in,omitempty"`
	ZeekError  string    `json:"zeek_error,omitempty"`
	Suspended  string    `json:"suspended,omitempty"` // by whom and why
	// Version and PID are the agent's, Address the first of its host that is not loopback.
	Version string `json:"version,omitempty"`
	PID     int    `json:"pid,omitempty"`
	Address string `json:"address,omitempty"`
}

// Status of everything, now.
func (e *Engine) Status(ctx context.Context) (*Status, error) {
	var s *Status
	if err := e.call(ctx, func() { s = e.status(time.Now()) }); err != nil {
		return nil, err
	}
	return s, nil
}

func (e *Engine) status(now time.Time) *Status {
	v := e.view(now)
	s := &Status{FormatVersion: 1, At: now, Journal: e.journalErr, Clusters: []ClusterStatus{}, Agents: []AgentStatus{}}
	s.Source = e.sourceStatus()
	for _, name := range slices.Sorted(maps.Keys(e.state.Clusters)) {
		h := e.state.Clusters[name]
		if h.Newest() == nil && e.seen.bad[name].IsZero() {
			continue // its only file ever was bad, and is gone
		}
		if c := e.clusterStatus(name, h, v); len(c.Resources) > 0 || c.Revision.Wanted != RemovedRevision {
			s.Clusters = append(s.Clusters, c)
		}
	}
	s.Clusters = append(s.Clusters, e.strangers(v)...)
	for _, name := range slices.Sorted(maps.Keys(e.fleet)) {
		r := e.fleet[name]
		a := AgentStatus{Name: name, State: "connected", LastReport: r.At}
		if now.Sub(r.At) > e.timings.Stale {
			a.State = "silent"
		}
		z := r.Host.Zeek[""]
		a.Zeek, a.StandIn, a.ZeekError = z.Version, z.StandIn, z.Err
		s.StandIn = s.StandIn || z.StandIn
		a.Version, a.PID = r.Host.Version, r.Host.PID
		if len(r.Host.Addresses) > 0 {
			a.Address = r.Host.Addresses[0]
		}
		if u, ok := e.state.Suspended["instance:"+name]; ok {
			a.Suspended = suspensionText(u)
		}
		s.Agents = append(s.Agents, a)
	}
	return s
}

func (e *Engine) sourceStatus() SourceStatus {
	s := SourceStatus{URL: e.cfg.Source, State: "ok", CheckedAt: e.seen.checked, Notes: e.seen.notes, Diagnostics: e.seen.diagnostics}
	from := ""
	if c := e.state.Commit; c != nil {
		s.Commit, s.Author, s.Signer = c.ID, c.Author, c.Signer
		from = "commit " + c.String() + ": "
	}
	if len(e.seen.bad) > 0 {
		names := slices.Sorted(maps.Keys(e.seen.bad))
		since := e.seen.bad[names[0]]
		for _, n := range names {
			if e.seen.bad[n].Before(since) {
				since = e.seen.bad[n]
			}
		}
		text := from + "not accepted: " + strings.Join(names, ", ")
		for _, d := range e.seen.diagnostics {
			if d.Severity == desired.Error {
				text += "; " + d.String()
				break
			}
		}
		s.State, s.Error, s.Since = "invalid", &text, &since
	}
	if e.seen.err != "" {
		text, since := e.seen.err, e.seen.since
		s.State, s.Error, s.Since = "error", &text, &since
	}
	if e.held != nil {
		text, since := whyHeld(e.held.Snapshot.Commit), e.seen.since
		s.State, s.Error, s.Since, s.Waiting = "held", &text, &since, e.held.Snapshot.Commit.ID
	}
	return s
}

func (e *Engine) clusterStatus(name string, h *History, v *view) ClusterStatus {
	c := ClusterStatus{Name: name, Resources: []ResourceStatus{}, Last: h.Last}
	w := e.work(name)
	target := h.Target()
	if n := h.Newest(); n != nil {
		c.Revision.Wanted = n.ID
	}
	c.Revision.Running = h.Good
	plan, planned := e.plans[name]
	c.Synced = planned && target != nil && target.ID == c.Revision.Wanted && len(plan.Actions) == 0 && len(plan.Waiting) == 0 &&
		h.Good == target.ID && w.rollout == nil && e.seen.bad[name].IsZero() && !e.seen.later[name]

	for _, scope := range e.scopesOf(name) {
		if s, ok := e.state.Suspended[scope]; ok {
			c.Suspended, c.Reason = true, suspensionText(s)
			if scope != "*" && scope != name {
				c.Reason = strings.TrimPrefix(scope, "instance:") + ": " + c.Reason
			}
		}
	}
	if target != nil {
		if cl := e.parsed[target.Object]; cl != nil && cl.Settings.Suspend {
			c.Suspended, c.Reason = true, "suspended by the file (suspend = yes)"
		}
	}
	if w.rollout != nil {
		c.Rollout = &RolloutStatus{ID: w.rollout.ID, To: w.rollout.target, Cause: w.rollout.Cause, Began: w.rollout.began, Left: len(plan.Actions), Acted: len(w.acts), Waiting: w.blocked}
		c.Reason = cmpOr(w.blocked, "rolling out revision "+w.rollout.target)
	} else if w.blocked != "" {
		c.Reason = w.blocked
	}
	c.Reason = cmpOr(w.reluctant(v, e.timings.Stop), c.Reason)
	if e.seen.later[name] && c.Reason == "" {
		c.Reason = "Zeek is asked what the newest revision takes"
	}
	if target != nil && w.rollout == nil && h.failed(target.ID) {
		c.Reason = "its rollout failed: " + h.Last.Reason
	}
	if !planned && target != nil {
		c.Reason = e.whyNotPlanned(name)
	}
	if h.Pin != nil {
		c.Pinned = h.Pin.Revision
		c.Reason = h.Pin.text()
	}
	if why, bad := h.Quarantined[c.Revision.Wanted]; bad {
		c.Quarantined = c.Revision.Wanted
		c.Reason = "revision " + c.Revision.Wanted + " is quarantined: " + why
	}
	if rev := h.Waiting(); rev != nil {
		c.Waiting = rev.ID
		c.Reason = rev.Guard + "; confirm with: zeekrec apply --confirm " + name + "@" + rev.ID
	}
	if since, bad := e.seen.bad[name]; bad {
		c.Since = &since
		c.Reason = "its file cannot be used"
		for _, d := range e.seen.diagnostics {
			if d.Severity == desired.Error && strings.TrimSuffix(d.File, ".cfg") == name {
				c.Reason = d.String()
				break
			}
		}
		if at := e.state.Commit; at != nil {
			c.Reason = "commit " + at.String() + ": " + c.Reason
		}
	}
	e.keysStatus(&c, h, v)
	e.resourceStatuses(&c, plan.Orphaned, plan.Waiting, v)
	return c
}

// scopesOf a cluster are those whose suspension stops its rollouts: all, its instances, itself.
func (e *Engine) scopesOf(name string) []string {
	scopes := []string{"*"}
	for i := range e.compiled.Resources[name] {
		if s := "instance:" + e.compiled.Resources[name][i].Instance; !slices.Contains(scopes, s) {
			scopes = append(scopes, s)
		}
	}
	return append(scopes, name)
}

// whyNotPlanned says what stands in the way of compiling a cluster's target.
func (e *Engine) whyNotPlanned(name string) string {
	if !e.ready() {
		return "waits for the first report of " + e.cfg.Instance
	}
	for _, d := range e.compiled.Diagnostics {
		if d.Severity == desired.Error && strings.TrimSuffix(d.File, ".cfg") == name {
			return d.String()
		}
	}
	return "its revision cannot be read from the state folder; see the log"
}

// resourceStatuses fills in what is wanted and what is seen besides.
func (e *Engine) resourceStatuses(c *ClusterStatus, orphaned []string, waiting []reconciler.Waiting, v *view) {
	c.Healthy = e.ready() // before the first report nothing is known, which is not health
	why := map[string]string{}
	for _, x := range waiting {
		why[x.Resource] = x.Why
	}
	done := map[string]bool{}
	for i := range e.compiled.Resources[c.Name] {
		r := &e.compiled.Resources[c.Name][i]
		done[r.Key()] = true
		s := v.seen(r.Instance, r.Key())
		rs := ResourceStatus{Name: r.Name, Type: string(r.Type), Role: string(r.Role), Instance: r.Instance, State: observed.Pending, Reason: why[r.Key()]}
		if s != nil {
			rs = e.resourceStatus(r.Instance, s, v)
			rs.Reason = cmpOr(rs.Reason, why[r.Key()])
		}
		if rs.Port == nil && r.Node != nil {
			for _, n := range r.Node.Layout.Nodes {
				if n.Name == r.Name && n.Port != 0 {
					p := n.Port
					rs.Port = &p
				}
			}
		}
		if u, ok := e.state.Suspended[r.Key()]; ok {
			rs.Suspended = suspensionText(u)
			rs.Reason = cmpOr(rs.Reason, rs.Suspended)
		}
		c.Healthy = c.Healthy && (rs.Healthy || s != nil && s.Hold != "")
		c.Resources = append(c.Resources, rs)
	}
	for inst, rep := range e.fleet {
		for i := range rep.Resources {
			s := &rep.Resources[i]
			if s.Cluster != c.Name || done[s.Key()] && e.instanceOf(s.Key()) == inst {
				continue
			}
			rs := e.resourceStatus(inst, s, v)
			rs.Orphaned = slices.Contains(orphaned, s.Key())
			if rs.Orphaned {
				rs.Reason = cmpOr(rs.Reason, "orphaned: no accepted revision ever had it; left alone")
			}
			c.Resources = append(c.Resources, rs)
		}
	}
	slices.SortFunc(c.Resources, func(a, b ResourceStatus) int {
		if d := desired.Role(a.Role).Rank() - desired.Role(b.Role).Rank(); d != 0 {
			return d
		}
		return strings.Compare(a.Name, b.Name)
	})
}

// instanceOf a wanted resource.
func (e *Engine) instanceOf(key string) string {
	cluster, name, _ := strings.Cut(key, "/")
	for i := range e.compiled.Resources[cluster] {
		if e.compiled.Resources[cluster][i].Name == name {
			return e.compiled.Resources[cluster][i].Instance
		}
	}
	return ""
}

func (e *Engine) resourceStatus(inst string, s *observed.Resource, v *view) ResourceStatus {
	at := v.fleet[inst].At
	rs := ResourceStatus{
		Name: s.Name, Type: s.Type, Role: s.Role, Instance: inst, State: s.State, Reason: s.Reason, PID: s.PID, Restarts: s.Restarts,
		Joined: s.Joined, Answering: s.Answering, Degraded: s.Degraded, Notes: s.Notes, Unit: s.Unit, Archive: s.Archive, ObservedAt: &at, Healthy: s.Healthy, Outdated: s.Outdated, Version: s.Version, StandIn: s.StandIn, Incarnation: s.Incarnation, Foreign: s.Foreign,
	}
	if !s.Since.IsZero() {
		since := s.Since
		rs.Since = &since
	}
	if !s.Silent.IsZero() {
		silent := s.Silent
		rs.Silent = &silent
	}
	if s.Port != 0 {
		p := s.Port
		rs.Port = &p
	}
	if !s.StartedAt.IsZero() && s.PID != 0 {
		t := s.StartedAt
		rs.StartedAt = &t
	}
	if age := v.now.Sub(at); age > v.stale {
		rs.State, rs.Healthy, rs.Joined = observed.Unknown, false, nil
		rs.Answering, rs.Silent, rs.Degraded, rs.Notes, rs.Archive = nil, nil, nil, nil, nil
		rs.Reason = inst + " has not reported for " + age.Round(time.Second).String()
	}
	return rs
}

// strangers are clusters that run and of which the journal knows nothing.
func (e *Engine) strangers(v *view) []ClusterStatus {
	byName := map[string]*ClusterStatus{}
	for _, inst := range slices.Sorted(maps.Keys(e.fleet)) {
		rep := e.fleet[inst]
		for i := range rep.Resources {
			s := &rep.Resources[i]
			if e.state.Clusters[s.Cluster] != nil {
				continue
			}
			c := byName[s.Cluster]
			if c == nil {
				c = &ClusterStatus{Name: s.Cluster, Reason: "orphaned: no accepted revision of this source ever had it; left alone", Resources: []ResourceStatus{}}
				byName[s.Cluster] = c
			}
			rs := e.resourceStatus(inst, s, v)
			rs.Orphaned = true
			c.Resources = append(c.Resources, rs)
		}
	}
	var out []ClusterStatus
	for _, n := range slices.Sorted(maps.Keys(byName)) {
		out = append(out, *byName[n])
	}
	return out
}
