package agent

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/observed"
)

// publish renews what the report says of the resource.
func (u *unit) publish() {
	u.noteBegun()
	u.agent.keeper.update(u.key, u.groupMember())
	v, visible := u.describe()
	u.mu.Lock()
	same := visible == u.visible && reflect.DeepEqual(v, u.view)
	u.view, u.visible = v, visible
	u.mu.Unlock()
	if !same {
		u.agent.changed()
		if v.Type == string(desired.TypeNode) {
			u.agent.brokers.wake(v.Cluster) // it may be about to join
		}
	}
}

// current is what was published last; false where there is nothing to say.
func (u *unit) current() (observed.Resource, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.view, u.visible
}

// describe is the resource as the report has it. One that is neither told nor running is not in it.
func (u *unit) describe() (observed.Resource, bool) {
	v := observed.Resource{Cluster: clusterOf(u.key), Name: u.dir.resource()}
	about := u.about()
	if about == nil {
		return v, false
	}
	v.Type, v.Role = string(about.Type), string(about.Role)
	v.Port = portOf(about)
	v.State, v.Reason = u.state()
	v.Since = u.m.since
	v.Healthy = u.m.phase == running && u.watch.trouble() == "" && u.helperTrouble() == "" && u.unwritten == "" && u.unshown == "" && u.untaken == ""
	if u.told != nil {
		v.Told, v.Hold = u.told.Resource.ID, u.told.Hold
	}
	if l := u.last; l != nil {
		v.Incarnation, v.Restarts, v.Started = l.Incarnation, l.Restarts, l.Resource.ID
		if u.proc != nil {
			v.PID, v.StartedAt, v.Version, v.StandIn = l.Process.PID, l.StartedAt, l.Zeek.Version, l.Zeek.StandIn
			v.Outdated, v.Tunable, v.Untaken = u.outdated, l.tunable(u.told), u.untaken
			v.Degraded, v.Notes = u.condition.says()
			unit, wrong := u.agent.keeper.says(u.key)
			if s := u.services(); s != nil {
				unit = s.Service(v.Cluster, v.Name)
			}
			v.Unit, v.Degraded = unit, slices.Concat(v.Degraded, wrong)
		}
		if u.broker != nil {
			s := u.broker.current()
			v.Version, v.Members = s.version, s.members
			if s.dropping != "" {
				v.Degraded = slices.Concat([]string{s.dropping}, v.Degraded)
			}
		}
		if u.archiver != nil {
			u.archiver.current().describe(&v)
		}
	}
	v.Parts = u.parts()
	v.Foreign = u.foreign
	return v, true
}

// about is the spec that speaks of the resource now: what runs, else what it is told; nil for neither.
func (u *unit) about() *desired.Resource {
	switch {
	case u.proc != nil && u.last != nil:
		return &u.last.Resource
	case u.told != nil:
		return &u.told.Resource
	}
	return nil
}

func (u *unit) state() (observed.State, string) {
	s, reason := u.phaseState()
	if u.damage != "" {
		reason = strings.TrimSuffix(u.damage+"; "+reason, "; ")
	}
	return s, reason
}

func (u *unit) phaseState() (observed.State, string) {
	switch u.m.phase {
	case stopped:
		switch {
		case u.first != "":
			return observed.Pending, "about to be started"
		case u.told != nil && u.told.Hold != "":
			return observed.Stopped, "held: " + u.told.Hold
		}
		return observed.Stopped, ""
	case starting:
		if u.m.cause != nil {
			return observed.Pending, "starting, after: " + u.m.cause.Text
		}
		return observed.Pending, "starting"
	case running:
		return observed.Running, u.runningReason()
	case stopping:
		if u.m.renew != "" {
			return observed.Running, "being stopped, to be started afresh"
		}
		return observed.Running, "being stopped"
	case killing:
		if u.m.cause != nil {
			return observed.Pending, u.m.cause.Text + ": being killed"
		}
		return observed.Running, "being killed"
	case backoff:
		why := "ended"
		if u.m.cause != nil {
			why = u.m.cause.Text
		}
		if u.m.noHeal {
			return observed.Crashed, "healing is suspended: " + why
		}
		return observed.Crashed, why + "; tried again at " + u.m.due.Local().Format("15:04:05")
	}
	return observed.Failed, u.failedText()
}

// helperTrouble is why a broker or an archiver is not what it should be, though its process runs.
func (u *unit) helperTrouble() string {
	switch {
	case u.broker != nil:
		s := u.broker.current()
		return s.trouble()
	case u.archiver != nil:
		s := u.archiver.current()
		return s.trouble()
	}
	return ""
}

// helperVersion is the version of zeekrec that a broker or an archiver says it is; empty where it does not say.
func (u *unit) helperVersion() string {
	switch {
	case u.broker != nil:
		return u.broker.current().version
	case u.archiver != nil:
		return u.archiver.current().version()
	}
	return ""
}

func (u *unit) runningReason() string {
	switch {
	case u.watch.trouble() != "":
		return u.watch.trouble()
	case u.helperTrouble() != "":
		return u.helperTrouble()
	case u.unwritten != "":
		return u.unwritten
	case u.unshown != "":
		return u.unshown
	case u.untaken != "":
		return u.untaken
	case u.told == nil:
		return "orphaned: nothing says that it should run"
	case len(u.warnings) > 0:
		return strings.Join(u.warnings, "; ")
	}
	return ""
}

func (u *unit) failedText() string {
	f := u.m.cause
	if f == nil {
		return "failed"
	}
	if f.Permanent {
		return f.Text
	}
	return fmt.Sprintf("%d times within %s, lastly: %s", len(u.m.crashes), u.m.timings.CrashWindow, f.Text)
}

// parts are those of the last start with what was told since, or of what is told where it never started.
func (u *unit) parts() observed.Parts {
	if u.last != nil {
		return u.last.parts()
	}
	return (&runningRecord{Resource: *u.about()}).parts()
}

// parts of a process: what it was started with, and what it was told since.
func (r *runningRecord) parts() observed.Parts {
	out := make(map[string][]string, len(r.Resource.Parts))
	for _, p := range r.Resource.Parts {
		if r.Live == nil || p.Relation != desired.Live && p.Relation != desired.Follow && (p.Relation != desired.Tune || r.Resource.Tunable == nil) {
			out[p.Field] = p.Values
		}
	}
	maps.Copy(out, r.Live)
	maps.Copy(out, r.Known)
	return observed.PartsOf(out)
}

func clusterOf(key string) string {
	cluster, _, _ := strings.Cut(key, "/")
	return cluster
}

// portOf is the port that a resource is assigned; 0 for none. Of a broker it is the first of the two.
func portOf(r *desired.Resource) int {
	if r.Broker != nil {
		if i := strings.LastIndexByte(r.Broker.XPub, ':'); i >= 0 {
			port, _ := strconv.Atoi(r.Broker.XPub[i+1:])
			return port
		}
	}
	if r.Node == nil {
		return 0
	}
	for _, n := range r.Node.Layout.Nodes {
		if n.Name == r.Name {
			return n.Port
		}
	}
	return 0
}
