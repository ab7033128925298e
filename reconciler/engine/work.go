package engine

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/observed"
	"github.com/zeekrec/zeekrec/reconciler"
)

// work is what is under way in one cluster. It outlives the rollout that it began with: what was sent and
// has not settled still counts when a newer revision takes over.
type work struct {
	rollout  *rollout
	progress reconciler.Progress
	acts     map[string]*act // by key; kept after they settled until the rollout ends
	// blocked is why nothing is sent now; retryAt when to try again.
	blocked string
	retryAt time.Time
	pause   time.Duration
	stalled stall
}

// stall is a rollout that failed with nothing to go back to.
type stall struct {
	target string
	reason string
	until  time.Time
}

// rollout leads a cluster to one target.
type rollout struct {
	RolloutRecord
	began    time.Time
	target   string
	checked  map[string]bool // IDs of resources whose preflight went well
	checking map[string]bool // instances that check something just now
	room     chan struct{}   // for instances that check at the same time
}

func newRollout(r RolloutRecord, target string, began time.Time) *rollout {
	return &rollout{RolloutRecord: r, began: began, target: target, checked: map[string]bool{}, checking: map[string]bool{}, room: make(chan struct{}, hostsAtOnce)}
}

// act is one action that was sent.
type act struct {
	rollout     string
	verb        desired.Verb
	role        desired.Role
	instance    string
	id          string    // of the target spec
	incarnation int       // before
	first       time.Time // sent; a stop that has no effect is sent again
	deadline    time.Time
	settled     bool
	settledAt   time.Time
	// resumed: sent by a zeekrec before this one. What it crashed of may have been the time in between.
	resumed bool
}

func (e *Engine) work(cluster string) *work {
	w := e.works[cluster]
	if w == nil {
		w = &work{acts: map[string]*act{}}
		e.works[cluster] = w
	}
	return w
}

// block notes why nothing is done, and when to look again; the pause doubles each time.
func (w *work) block(why string, now time.Time, first time.Duration) {
	w.blocked = why
	w.pause = min(max(first, 2*w.pause), time.Minute)
	w.retryAt = now.Add(w.pause)
}

func (w *work) unblock() { w.blocked, w.retryAt, w.pause = "", time.Time{}, 0 }

// follow compares what was sent with what is seen: orders take effect, and effects settle.
func (e *Engine) follow(w *work, v *view) {
	for key, a := range w.acts {
		if v.silent(a.instance) {
			// It may be ready long since. From when it is heard of again, it has as long as from the start.
			if !a.settled && a.verb != desired.Stop && a.deadline.Before(v.now.Add(e.timings.Start)) {
				a.deadline = v.now.Add(e.timings.Start)
			}
			continue
		}
		s := v.seen(a.instance, key)
		if _, flying := w.progress.InFlight[key]; flying {
			switch {
			case a.effect(s):
				w.progress.Seen(key)
			case v.fleet[a.instance].At.After(a.deadline):
				w.progress.Lost(key)
			}
		}
		if _, open := w.progress.Unsettled[key]; open && a.reached(s, v.now, e.timings.Stable) {
			a.settled, a.settledAt = true, v.now
			w.progress.Settled(key)
		}
	}
}

// effect: the agent has taken the order up, and the plan will no longer ask for it. A stop is in the plan for
// as long as the process is there.
func (a *act) effect(s *observed.Resource) bool {
	switch a.verb {
	case desired.Stop:
		return s == nil || s.PID == 0 && (s.Told == "" || s.Hold != "")
	case desired.Restart:
		return s != nil && s.Told == a.id && s.Incarnation > a.incarnation
	default:
		return s != nil && s.Told == a.id
	}
}

// reached: the resource is what the order wants, for long enough.
func (a *act) reached(s *observed.Resource, now time.Time, stable time.Duration) bool {
	switch a.verb {
	case desired.Stop:
		return s == nil || s.PID == 0
	case desired.Update:
		// What a process is told reaches it a moment later; nothing that relies on it is done before.
		return s == nil || s.PID == 0 || s.Untaken == "" && (a.role != desired.RoleBroker || s.Healthy)
	case desired.Start:
		return s != nil && s.Healthy
	default:
		return s != nil && s.Healthy && now.Sub(s.Since) >= stable
	}
}

// provenAfter is how long what was rolled out is still watched while nothing more is to be done; a crash
// after that is one like any other (decisions 14: the back-off is reset after 60 s up).
const provenAfter = time.Minute

// trouble says why the rollout has to stop; empty: it goes well. careful is set where there is something to
// go back to: then a single crash of what was acted on is enough.
// left is how many actions are still to come.
func (w *work) trouble(v *view, careful bool, left int) string {
	for _, key := range slices.Sorted(maps.Keys(w.acts)) {
		a := w.acts[key]
		if w.rollout == nil || a.rollout != w.rollout.ID || v.silent(a.instance) {
			continue // that nothing is heard of a host is no fault of the revision
		}
		s := v.seen(a.instance, key)
		switch {
		case a.verb == desired.Update:
		case a.verb == desired.Stop:
			continue // that something does not end is no fault of the revision that does without it
		case a.settled && left == 0 && v.now.Sub(a.settledAt) > provenAfter:
			continue // the rollout waits for something else; this one has proved itself
		case s == nil || s.Told != a.id || s.Incarnation <= a.incarnation:
			// Not begun yet: what is seen speaks of the process before.
		case s.State == observed.Failed:
			return fmt.Sprintf("%s failed after its %s: %s", key, a.verb, s.Reason)
		case !a.settled && unjoined(s, v.now, v.patience):
			return fmt.Sprintf("%s runs, but has not joined the cluster's broker %s after its %s began", key, v.now.Sub(w.rollout.began).Round(time.Second), a.verb)
		case careful && !a.resumed && (s.State == observed.Crashed || s.Restarts > 0):
			return fmt.Sprintf("%s crashed after its %s: %s", key, a.verb, cmpOr(strings.TrimPrefix(s.Reason, "starting, after: "), "it was restarted since"))
		}
		if !a.settled && v.now.After(a.deadline) {
			return fmt.Sprintf("%s is not ready %s after its %s began%s", key, v.now.Sub(w.rollout.began).Round(time.Second), a.verb, reasonOf(s))
		}
	}
	return ""
}

func reasonOf(s *observed.Resource) string {
	if s == nil {
		return ": nothing is known of it"
	}
	t := " (" + string(s.State)
	if s.Reason != "" {
		t += ": " + s.Reason
	}
	return t + ")"
}

// resume takes over what an earlier zeekrec's rollout to the same target had acted on, as far as it shows: a
// resource that was told what is wanted now and is not healthy has to become so before anything else
// happens.
func (w *work) resume(v *view, want []desired.Resource, keys []string, timeout time.Duration) {
	for i := range want {
		r := &want[i]
		s := v.seen(r.Instance, r.Key())
		if _, mine := slices.BinarySearch(keys, r.Key()); !mine || s == nil || s.Told != r.ID || s.Healthy || s.Hold != "" {
			continue
		}
		a := reconciler.Action{Kind: desired.Start, Resource: r.Key(), Role: r.Role, Instance: r.Instance, Target: r}
		w.acts[r.Key()] = &act{
			rollout: w.rollout.ID, verb: desired.Start, role: r.Role, instance: r.Instance, id: r.ID, incarnation: s.Incarnation - 1,
			deadline: v.now.Add(timeout), resumed: true,
		}
		w.progress.Sent(&a)
		w.progress.Seen(r.Key())
	}
}

// reluctant names what was told to stop long ago and has not; empty: nothing.
func (w *work) reluctant(v *view, patience time.Duration) string {
	for _, key := range slices.Sorted(maps.Keys(w.acts)) {
		if a := w.acts[key]; a.verb == desired.Stop && !a.settled && v.now.Sub(a.first) > patience {
			return fmt.Sprintf("%s does not stop%s", key, reasonOf(v.seen(a.instance, key)))
		}
	}
	return ""
}

// giveUp forgets what a former rollout left unsettled and will not settle: it no longer blocks.
func (w *work) giveUp(v *view) {
	for key, a := range w.acts {
		if w.rollout != nil && a.rollout == w.rollout.ID {
			continue
		}
		if a.settled || v.now.After(a.deadline) {
			w.progress.Settled(key)
			w.progress.Lost(key)
			delete(w.acts, key)
		}
	}
}
