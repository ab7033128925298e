package engine

import (
	"context"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/observed"
	"github.com/zeekrec/zeekrec/reconciler"
)

// The loop is level-triggered, and with a thousand hosts it cannot look at everything whenever one of them says something. So it keeps
// which clusters may look otherwise than when they were looked at last: those of which a report is new, those that a record is about,
// those that were compiled anew, and those with something under way, or that wait for time to pass. All others are looked at all the
// same, now and then: what is not noticed here is found then.

// sweep is how often every cluster is looked at.
const sweep = 10 * time.Second

// attention is which clusters are to be looked at.
type attention struct {
	all      bool
	clusters map[string]bool
	// places of clusters: the instances whose newest reports have something of them.
	places map[string]map[string]bool
	// wanted are the clusters that are to have something on an instance.
	wanted map[string]map[string]bool
	// silent are instances whose reports are no news.
	silent map[string]bool
	swept  time.Time
}

func newAttention() attention {
	return attention{clusters: map[string]bool{}, places: map[string]map[string]bool{}, wanted: map[string]map[string]bool{}, silent: map[string]bool{}}
}

func (a *attention) touch(cluster string) { a.clusters[cluster] = true }

// touchInstance touches the clusters that have, or are to have, something there.
func (a *attention) touchInstance(r *observed.Report) {
	clustersIn(r.Resources, a.touch)
	for c := range a.wanted[r.Instance] {
		a.touch(c)
	}
}

// clustersIn calls f with each cluster of a report, once.
func clustersIn(rs []observed.Resource, f func(string)) {
	for i := range rs {
		if i == 0 || rs[i].Cluster != rs[i-1].Cluster {
			f(rs[i].Cluster)
		}
	}
}

// place notes where what is, by the report that takes the place of another.
func (a *attention) place(was, is *observed.Report) {
	clustersIn(was.Resources, func(c string) { delete(a.places[c], was.Instance) })
	clustersIn(is.Resources, func(c string) {
		if a.places[c] == nil {
			a.places[c] = map[string]bool{}
		}
		a.places[c][is.Instance] = true
	})
}

// hear takes the newest reports. It returns the instances of those that say something new.
func (e *Engine) hear(now time.Time) []string {
	var news []string
	a := &e.attention
	before := e.heard
	e.heard = e.cfg.Agents.Reports()
	for i, r := range e.heard {
		was := r
		if i >= len(before) || before[i] != r { // of a thousand nearly all are in their places, and as they were
			was = e.reports[r.Instance]
		}
		switch {
		case was == nil || r.Seen == 0 || r.Seen != was.Seen:
			known := was != nil
			if !known {
				was = &observed.Report{}
			}
			e.reports[r.Instance] = r
			news = append(news, r.Instance)
			a.place(was, r)
			a.touchInstance(was)
			a.touchInstance(r)
			if !known || !reflect.DeepEqual(was.Host, r.Host) {
				e.hostsChanged()
			}
		case r != was: // it is as it was
			e.reports[r.Instance] = r
			if f, known := e.fleet[r.Instance]; known {
				f.At = r.At
				e.fleet[r.Instance] = f
			}
		}
		// While it is silent, what waits for it says for how long.
		silent := now.Sub(r.At) > e.timings.Stale
		if turned := silent != a.silent[r.Instance]; turned || silent {
			a.silent[r.Instance] = true
			if !silent {
				delete(a.silent, r.Instance)
			}
			a.touchInstance(r)
			if turned {
				e.tryAgain(r.Instance)
			}
		}
	}
	return news
}

// tryAgain ends the pauses of what may have failed for an instance that has fallen silent, or is heard again: the plan is another now.
func (e *Engine) tryAgain(instance string) {
	for cluster := range e.attention.wanted[instance] {
		if w := e.works[cluster]; w != nil {
			w.retryAt, w.pause = time.Time{}, 0
		}
	}
}

// hostsChanged: what is known of hosts is not what it was, so resources may be others.
func (e *Engine) hostsChanged() { e.hosts, e.factsNew = nil, true }

// noteRecords touches what records are about. What agents did by themselves is in their reports, too.
func (e *Engine) noteRecords(rs []*Record) {
	for _, r := range rs {
		switch {
		case r.Kind == KindDrift:
		case r.Cluster != "":
			e.attention.touch(r.Cluster)
		default:
			e.attention.all = true
		}
	}
}

// due are the clusters to be looked at in this step, sorted. What is touched from here on is for the next one.
func (e *Engine) due(now time.Time) []string {
	a := &e.attention
	all := a.all || e.draining || now.Sub(a.swept) >= sweep || now.Before(a.swept)
	if all {
		a.swept = now
	}
	touched := a.clusters
	a.all, a.clusters = false, map[string]bool{}
	var out []string
	for _, name := range e.summed().names {
		if all || touched[name] || e.active(name) {
			out = append(out, name)
		}
	}
	return out
}

// active reports whether something of a cluster is under way, or waits.
func (e *Engine) active(name string) bool {
	w, h, t := e.works[name], e.state.Clusters[name], e.state.Clusters[name].Target()
	plan, planned := e.plans[name]
	switch k := e.keyrings[name]; {
	case w == nil || !planned || t == nil || h.Good != t.ID:
		return true
	case w.rollout != nil, len(w.acts) > 0, len(w.progress.InFlight)+len(w.progress.Unsettled) > 0, w.blocked != "":
		return true
	case len(plan.Actions) > 0, len(plan.Waiting) > 0:
		return true
	default:
		return k != nil && (k.err != "" || len(k.ids) > 1) || h.rotating()
	}
}

// wantedAnew notes what was compiled anew, and where it is wanted.
func (e *Engine) wantedAnew(before map[string][]desired.Resource) {
	a, now := &e.attention, e.compiled.Resources
	for name, rs := range now {
		if !sameResources(before[name], rs) {
			a.touch(name)
		}
	}
	for name := range before {
		if _, ok := now[name]; !ok {
			a.touch(name)
		}
	}
	a.wanted = map[string]map[string]bool{}
	for name, rs := range now {
		for i := range rs {
			on := a.wanted[rs[i].Instance]
			if on == nil {
				on = map[string]bool{}
				a.wanted[rs[i].Instance] = on
			}
			on[name] = true
		}
	}
}

// sameResources reports whether two lists are one and the same.
func sameResources(a, b []desired.Resource) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// drift journals what agents did or saw without an order. What could not be written is tried again.
func (e *Engine) drift(ctx context.Context, news []string) {
	for _, inst := range news {
		e.undrifted[inst] = true
	}
	var rs []*Record
	for _, inst := range slices.Sorted(maps.Keys(e.undrifted)) {
		for _, ev := range e.fleet[inst].Events {
			if ev.Seq <= e.state.Drifted[inst] {
				continue
			}
			rs = append(rs, &Record{Kind: KindDrift, At: ev.At, By: inst, Reason: ev.Text, Drift: &Drift{
				Instance: inst, Seq: ev.Seq, Resource: ev.Resource, Event: ev.Kind, Text: ev.Text, PID: ev.PID, Tail: ev.Tail,
			}})
		}
	}
	if len(rs) == 0 || e.record(ctx, rs...) { // agents log their events themselves
		clear(e.undrifted)
	}
}

// instancesOf a cluster are those that its plan has to know.
func (v *view) instancesOf(in *reconciler.Input) map[string]bool {
	names := map[string]bool{}
	if v.places == nil {
		for name := range v.fleet {
			names[name] = true
		}
		return names
	}
	maps.Copy(names, v.places[in.Cluster])
	for i := range in.Want {
		names[in.Want[i].Instance] = true
	}
	for _, p := range in.Known {
		names[p.Instance] = true
	}
	return names
}
