package reconciler_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/observed"
	"github.com/zeekrec/zeekrec/reconciler"
)

// wants is a worker on agent-a, with parts as "field=value".
func wants(name string, role desired.Role, instance string, parts ...string) desired.Resource {
	r := desired.Resource{Cluster: "dmz", Name: name, Type: desired.TypeNode, Role: role, Instance: instance}
	relation := map[string]desired.Relation{"workers": desired.Cover, "layout": desired.Live}
	for _, p := range parts {
		f, v, _ := strings.Cut(p, "=")
		rel := relation[f]
		if rel == "" {
			rel = desired.Equal
		}
		r.Parts = append(r.Parts, &desired.Part{Field: f, Relation: rel, Values: strings.Split(v, ",")})
	}
	r.Seal()
	return r
}

// runs is r as an agent reports it when all is well.
func runs(r desired.Resource) observed.Resource {
	o := observed.Resource{
		Cluster: r.Cluster, Name: r.Name, Type: string(r.Type), Role: string(r.Role), State: observed.Running, Healthy: true,
		PID: 4711, Incarnation: 1, Told: r.ID, Started: r.ID,
	}
	for _, p := range r.Parts {
		o.Parts = o.Parts.With(p.Field, p.Values...)
	}
	return o
}

func but(o observed.Resource, change func(*observed.Resource)) observed.Resource {
	change(&o)
	return o
}

func on(rs ...observed.Resource) reconciler.Instance { return reconciler.Instance{Resources: rs} }

// short is a plan in lines: "1 restart worker-1@agent-a change interface: eth0 -> eth1".
func short(p reconciler.ClusterPlan) string {
	var b strings.Builder
	for _, a := range p.Actions {
		fmt.Fprintf(&b, "%d %s %s@%s %s", a.Wave, a.Kind, strings.TrimPrefix(a.Resource, "dmz/"), a.Instance, a.Cause)
		for i, r := range a.Reasons {
			sep := ";"
			if i == 0 {
				sep = ""
			}
			fmt.Fprintf(&b, "%s %s: %s -> %s", sep, r.Field, r.From, r.To)
		}
		b.WriteString("\n")
	}
	for _, k := range p.Orphaned {
		fmt.Fprintf(&b, "orphaned %s\n", k)
	}
	for _, w := range p.Waiting {
		fmt.Fprintf(&b, "%s waits: %s\n", w.Resource, w.Why)
	}
	return b.String()
}

func TestDiff(t *testing.T) {
	const W = desired.RoleWorker
	eth0, eth1 := wants("w", W, "a", "interface=eth0"), wants("w", W, "a", "interface=eth1")
	lay1, lay2 := wants("w", W, "a", "interface=eth0", "layout=1"), wants("w", W, "a", "interface=eth0", "layout=2")
	few, many := wants("m", desired.RoleManager, "a", "workers=w1,w3"), wants("m", desired.RoleManager, "a", "workers=w1,w2,w3,w4")
	rolling := lay1
	rolling.Node = &desired.NodeSpec{ZeekUpgrade: "rolling"}
	onB := wants("w", W, "b", "interface=eth0")
	down := func(s observed.State) func(*observed.Resource) {
		return func(o *observed.Resource) { o.State, o.PID, o.Healthy = s, 0, false }
	}

	for _, tt := range []struct {
		name string
		want []desired.Resource
		seen observed.Resource // on agent a
		set  func(*reconciler.Input)
		plan string
	}{
		{name: "unchanged", want: []desired.Resource{eth0}, seen: runs(eth0)},
		{name: "new", want: []desired.Resource{eth0}, plan: "1 start w@a change resource:  -> new\n"},
		{name: "the agent lost its record", want: []desired.Resource{eth0}, set: func(in *reconciler.Input) { in.From = in.To },
			plan: "1 start w@a drift resource: neither running nor told to run -> running\n"},
		{name: "identity changed", want: []desired.Resource{eth1}, seen: runs(eth0), plan: "1 restart w@a change interface: eth0 -> eth1\n"},
		{name: "a live part changed", want: []desired.Resource{lay2}, seen: runs(lay1), plan: "1 update w@a change layout: 1 -> 2\n"},
		{name: "a live part was told", want: []desired.Resource{lay2}, seen: but(runs(lay2), func(o *observed.Resource) { o.Started = lay1.ID })},
		{name: "a part was taken away", want: []desired.Resource{wants("w", W, "a")}, seen: runs(eth0), plan: "1 restart w@a change interface: eth0 -> \n"},
		{name: "a part the role does not read", want: []desired.Resource{wants("w", W, "a")},
			seen: but(runs(wants("w", W, "a")), func(o *observed.Resource) { o.Started, o.Parts = "other", o.Parts.With("novel", "x") })},
		{name: "fewer names to know", want: []desired.Resource{few}, seen: runs(many), plan: "1 update m@a change workers: -w2, -w4 -> \n"},
		{name: "fewer names to know, told", want: []desired.Resource{few}, seen: but(runs(many), func(o *observed.Resource) { o.Told = few.ID })},
		{name: "more names to know", want: []desired.Resource{many}, seen: runs(few), plan: "1 restart m@a change workers:  -> +w2, +w4\n"},
		{name: "no names to know", want: []desired.Resource{wants("m", desired.RoleManager, "a")},
			seen: but(runs(few), func(o *observed.Resource) { o.Told = wants("m", desired.RoleManager, "a").ID })},
		{name: "told other, runs as wanted", want: []desired.Resource{eth0}, seen: but(runs(eth0), func(o *observed.Resource) { o.Told = "f00" }),
			plan: "1 update w@a change told: f00 -> " + eth0.ID + "\n"},
		{name: "told, runs otherwise", want: []desired.Resource{eth1}, seen: but(runs(eth0), func(o *observed.Resource) { o.Told = eth1.ID }),
			plan: "1 restart w@a change interface: eth0 -> eth1\n"},
		{name: "crashed, its agent heals", want: []desired.Resource{eth0}, seen: but(runs(eth0), down(observed.Crashed))},
		{name: "crashed, told and not yet started so", want: []desired.Resource{eth1},
			seen: but(but(runs(eth0), down(observed.Crashed)), func(o *observed.Resource) { o.Told = eth1.ID })},
		{name: "failed, its agent tries again", want: []desired.Resource{eth0}, seen: but(runs(eth0), down(observed.Failed))},
		{name: "failed, and changed", want: []desired.Resource{eth1}, seen: but(runs(eth0), down(observed.Failed)), plan: "1 restart w@a change interface: eth0 -> eth1\n"},
		{name: "unknown", want: []desired.Resource{eth1}, seen: but(runs(eth0), func(o *observed.Resource) { o.State = observed.Unknown }),
			plan: "dmz/w waits: its state is unknown\n"},
		{name: "silent", want: []desired.Resource{eth1}, seen: runs(eth0),
			set: func(in *reconciler.Input) {
				in.Instances["a"] = reconciler.Instance{Silent: "a has not reported for 20s"}
			},
			plan: "dmz/w waits: a has not reported for 20s\n"},
		{name: "no agent", want: []desired.Resource{wants("w", W, "x")}, plan: "dmz/w waits: no agent of that name: x\n"},
		{name: "suspended node", want: []desired.Resource{eth1}, seen: runs(eth0), set: func(in *reconciler.Input) { in.Suspended["dmz/w"] = "suspended: lunch" },
			plan: "dmz/w waits: suspended: lunch\n"},
		{name: "suspended instance, nothing to do", want: []desired.Resource{eth0}, seen: runs(eth0),
			set: func(in *reconciler.Input) { i := in.Instances["a"]; i.Suspended = "x"; in.Instances["a"] = i }},
		{name: "foreign process", want: []desired.Resource{eth0}, seen: observed.Resource{Cluster: "dmz", Name: "w", State: observed.Stopped, Foreign: []int{99}},
			plan: "dmz/w waits: process 99 bears its mark and was not started by the agent\n"},
		{name: "hold", want: []desired.Resource{eth0}, seen: runs(eth0), set: func(in *reconciler.Input) { in.Held["dmz/w"] = "noise" }, plan: "1 stop w@a asked hold:  -> noise\n"},
		{name: "hold of what would be restarted", want: []desired.Resource{eth1}, seen: but(runs(eth0), down(observed.Crashed)),
			set: func(in *reconciler.Input) { in.Held["dmz/w"] = "noise" }, plan: "1 stop w@a asked hold:  -> noise\n"},
		{name: "held", want: []desired.Resource{eth1}, seen: but(but(runs(eth0), down(observed.Stopped)), func(o *observed.Resource) { o.Hold = "noise" }),
			set: func(in *reconciler.Input) { in.Held["dmz/w"] = "noise" }},
		{name: "hold ended", want: []desired.Resource{eth0}, seen: but(but(runs(eth0), down(observed.Stopped)), func(o *observed.Resource) { o.Hold = "noise" }),
			plan: "1 start w@a asked hold: noise -> \n"},
		{name: "restart asked", want: []desired.Resource{eth0}, seen: runs(eth0),
			set:  func(in *reconciler.Input) { in.Restart["dmz/w"] = reconciler.Request{Reason: "leak", Incarnation: 1} },
			plan: "1 restart w@a asked asked:  -> leak\n"},
		{name: "restart done", want: []desired.Resource{eth0}, seen: but(runs(eth0), func(o *observed.Resource) { o.Incarnation = 2 }),
			set: func(in *reconciler.Input) { in.Restart["dmz/w"] = reconciler.Request{Reason: "leak", Incarnation: 1} }},
		{name: "outdated, by hand", want: []desired.Resource{lay1}, seen: but(runs(lay1), func(o *observed.Resource) { o.Outdated = []string{"zeek 8.2.3"} })},
		{name: "outdated, rolling", want: []desired.Resource{rolling}, seen: but(runs(lay1), func(o *observed.Resource) { o.Version, o.Outdated = "8.2.2", []string{"zeek 8.2.3"} }),
			plan: "1 restart w@a change zeek_upgrade: 8.2.2 -> zeek 8.2.3\n"},
		{name: "outdated by zeekrec alone restarts nothing", want: []desired.Resource{rolling}, seen: but(runs(lay1), func(o *observed.Resource) { o.Outdated = []string{"zeekrec's files"} })},
		{name: "removed", seen: runs(eth0), set: func(in *reconciler.Input) { in.Known["w"] = desired.Placement{Instance: "a"} }, plan: "1 stop w@a change resource: old -> removed\n"},
		{name: "removed and gone", seen: observed.Resource{Cluster: "dmz", Name: "w", State: observed.Stopped}, set: func(in *reconciler.Input) { in.Known["w"] = desired.Placement{Instance: "a"} }},
		{name: "orphaned", seen: runs(eth0), plan: "orphaned dmz/w\n"},
		{name: "moved", want: []desired.Resource{onB}, seen: runs(eth0), set: func(in *reconciler.Input) { in.Known["w"] = desired.Placement{Instance: "a"} },
			plan: "1 stop w@a change instance: a -> b\n2 start w@b change instance: a -> b\n"},
		{name: "moved from a silent instance", want: []desired.Resource{onB}, seen: runs(eth0),
			set: func(in *reconciler.Input) {
				in.Known["w"] = desired.Placement{Instance: "a"}
				in.Instances["a"] = reconciler.Instance{Silent: "a has not reported for 9s", Resources: in.Instances["a"].Resources}
			},
			plan: "dmz/w waits: a has not reported for 9s\ndmz/w waits: it last ran on a: a has not reported for 9s\n"},
		{name: "moved from an instance that never reported", want: []desired.Resource{onB}, set: func(in *reconciler.Input) {
			in.Known["w"] = desired.Placement{Instance: "a"}
			delete(in.Instances, "a")
		}, plan: "dmz/w waits: it was last placed on a, which has not reported\n"},
		{name: "wanted here, orphaned there", want: []desired.Resource{onB}, seen: runs(eth0),
			plan: "orphaned dmz/w\ndmz/w waits: it runs on a, orphaned: no accepted revision had it\n"},
		{name: "moved to nowhere goes on", want: []desired.Resource{wants("w", W, "x", "interface=eth0")}, seen: runs(eth0),
			set: func(in *reconciler.Input) { in.Known["w"] = desired.Placement{Instance: "a"} }, plan: "dmz/w waits: no agent of that name: x\n"},
		{name: "other clusters are not ours", seen: but(runs(eth0), func(o *observed.Resource) { o.Cluster = "campus" })},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := reconciler.Input{
				Cluster: "dmz", From: "old", To: "new", Want: tt.want, MaxUnavailable: desired.Quantity{N: 1}, Relation: desired.Relations(),
				Instances: map[string]reconciler.Instance{"a": {}, "b": {}},
				Known:     map[string]desired.Placement{}, Held: map[string]string{}, Suspended: map[string]string{}, Restart: map[string]reconciler.Request{},
			}
			if tt.seen.Name != "" {
				in.Instances["a"] = on(tt.seen)
			}
			if tt.set != nil {
				tt.set(&in)
			}
			got := reconciler.Diff(in)
			if diff := cmp.Diff(tt.plan, short(got)); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
			if wantUnchanged := len(tt.want); tt.plan == "" && got.Unchanged != wantUnchanged {
				t.Errorf("unchanged %d, want %d", got.Unchanged, wantUnchanged)
			}
			for _, a := range got.Actions {
				if len(a.Reasons) == 0 {
					t.Errorf("%s without a reason", a.Kind)
				}
				if want := tt.seen.PID != 0 && (a.Kind == desired.Stop || a.Kind == desired.Restart); a.Disruptive != want {
					t.Errorf("%s disruptive %t, want %t", a.Kind, a.Disruptive, want)
				}
			}
		})
	}
}

// The JSON form is a promise (interfaces.md): what it names is there, spelt so, with what we add.
func TestPlanJSON(t *testing.T) {
	was, is := wants("w", desired.RoleWorker, "a", "interface=eth0"), wants("w", desired.RoleWorker, "a", "interface=eth1")
	c := reconciler.Diff(reconciler.Input{Cluster: "dmz", From: "1", To: "2", Want: []desired.Resource{is}, Instances: map[string]reconciler.Instance{"a": on(runs(was))}})
	c.Basis = "…"
	got, err := json.Marshal(reconciler.NewPlan([]reconciler.ClusterPlan{c}, nil))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"format_version":1,"clusters":[{"name":"dmz","revision":{"from":"1","to":"2"},"unchanged":0,` +
		`"actions":[{"wave":1,"kind":"restart","resource":"dmz/w","type":"node","role":"worker","instance":"a","disruptive":true,` +
		`"cause":"change","reasons":[{"field":"interface","from":"eth0","to":"eth1"}]}],"basis":"…"}],` +
		`"summary":{"start":0,"stop":0,"restart":1,"update":0,"unchanged":0},"diagnostics":[]}`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	empty, _ := json.Marshal(reconciler.NewPlan(nil, nil))
	if want := `{"format_version":1,"clusters":[],"summary":{"start":0,"stop":0,"restart":0,"update":0,"unchanged":0},"diagnostics":[]}`; string(empty) != want {
		t.Errorf("empty plan is %s", empty)
	}
}

// A saved plan is stale when anything moved that it was computed from, also what it does not show.
func TestDigest(t *testing.T) {
	r, other := wants("w", desired.RoleWorker, "a", "interface=eth0"), wants("x", desired.RoleWorker, "a", "interface=eth0")
	digest := func(to string, seen ...observed.Resource) string {
		c := reconciler.Diff(reconciler.Input{Cluster: "dmz", From: "1", To: to, Want: []desired.Resource{r, other}, Instances: map[string]reconciler.Instance{"a": on(seen...)}})
		return reconciler.NewPlan([]reconciler.ClusterPlan{c}, nil).Digest()
	}
	base := digest("2", runs(r), runs(other))
	if again := digest("2", runs(r), runs(other)); again != base {
		t.Error("the same input has two digests")
	}
	for name, d := range map[string]string{
		"revision":    digest("3", runs(r), runs(other)),
		"incarnation": digest("2", runs(r), but(runs(other), func(o *observed.Resource) { o.Incarnation++ })),
		"process":     digest("2", runs(r), but(runs(other), func(o *observed.Resource) { o.PID, o.State = 0, observed.Crashed })),
		"told":        digest("2", runs(r), but(runs(other), func(o *observed.Resource) { o.Told = "x" })),
		"started":     digest("2", runs(r), but(runs(other), func(o *observed.Resource) { o.Started = "x" })),
		"gone":        digest("2", runs(r)),
	} {
		if d == base {
			t.Errorf("%s moved, the digest did not", name)
		}
	}
}

func TestOrder(t *testing.T) {
	r := wants("w", desired.RoleWorker, "a", "interface=eth0")
	deadline := time.Unix(100, 0)
	c := reconciler.Diff(reconciler.Input{Cluster: "dmz", From: "1", Known: map[string]desired.Placement{"w": {Instance: "a"}}, Instances: map[string]reconciler.Instance{"a": on(runs(r))}})
	got := c.Actions[0].Order("p1", deadline)
	want := desired.Order{
		Plan: "p1", Verb: desired.Stop, Expect: r.ID, Incarnation: 1, Deadline: deadline, Reason: "resource: 1 -> removed",
		Resource: desired.Resource{Cluster: "dmz", Name: "w", Type: desired.TypeNode, Role: desired.RoleWorker, Instance: "a"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
