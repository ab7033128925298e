package engine_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/reconciler/engine"
)

// withTree is an observation of one cluster that has files.
func withTree(text string, files map[string]string) engine.Observation {
	o := observation(map[string]string{"dmz": text})
	t := desired.Tree{}
	for n, d := range files {
		t[n] = desired.TreeFile{Data: []byte(d)}
	}
	o.Snapshot.Files[0].Tree = t
	return o
}

// TestOnlyWhoLoadsItRestarts: a script restarts those who load it; data restart nobody, and reach everybody.
func TestOnlyWhoLoadsItRestarts(t *testing.T) {
	run(t, func(b *bench) {
		b.hosts.behave(func() {
			b.hosts.loads = func(r *desired.Resource) []string {
				if r.Role == desired.RoleWorker {
					return []string{"local.zeek", "workers.zeek"}
				}
				return []string{"local.zeek"}
			}
		})
		files := map[string]string{"local.zeek": "1", "workers.zeek": "1", "unused.zeek": "1", "intel.dat": "1", "x.sig": "1"}
		push := func() {
			b.obs <- withTree("manager logger-1 worker-1 worker-2", files)
			b.settle()
		}
		push()
		b.hosts.took()
		update := func(name string) string {
			files[name] += "+"
			push()
			told := len(strings.Fields(b.hosts.updates()))
			got := fmt.Sprintf("%s; %d updated", b.hosts.took(), told)
			if s := b.status("dmz"); !s.Synced || !s.Healthy {
				t.Errorf("after %s: %+v", name, s)
			}
			return got
		}
		asked := b.hosts.loadsAsked
		b.want("data", update("intel.dat"), "; 4 updated")
		if b.hosts.loadsAsked != asked {
			t.Error("it asked who loads what, where only data had changed")
		}
		b.want("a script that nobody loads", update("unused.zeek"), "; 4 updated")
		b.want("a script of workers", update("workers.zeek"), "restart dmz/worker-1, restart dmz/worker-2; 2 updated")
		b.want("a script of all", update("local.zeek"), "restart dmz/logger-1, restart dmz/manager, restart dmz/worker-1, restart dmz/worker-2; 0 updated")
		b.want("a signature", update("x.sig"), "restart dmz/logger-1, restart dmz/manager, restart dmz/worker-1, restart dmz/worker-2; 0 updated")

		// Restarted, zeekrec knows from the journal what it was told.
		asked = b.hosts.loadsAsked
		b.stop()
		b.start()
		push()
		b.want("after a restart of zeekrec", b.hosts.took(), "")
		if b.hosts.loadsAsked != asked {
			t.Error("it asked again about a revision that it knows")
		}
		// Another worker's environment is no reason to ask about the others' scripts, once it is known again.
		b.obs <- withTree("manager logger-1 worker-1=x worker-2", files)
		b.settle()
		b.want("an environment", b.hosts.took(), "restart dmz/worker-1")
		// Nor is a worker more, which loads what the others do, unless scripts know nodes by their names.
		asked = b.hosts.loadsAsked
		b.obs <- withTree("manager logger-1 worker-1=x worker-2 worker-3", files)
		b.settle()
		if !strings.Contains(b.hosts.took(), "start dmz/worker-3") || b.hosts.loadsAsked != asked {
			t.Errorf("a worker more: asked %d times", b.hosts.loadsAsked-asked)
		}
		files["local.zeek"] = "@if ( Cluster::node == \"worker-4\" )"
		b.obs <- withTree("manager logger-1 worker-1=x worker-2 worker-3", files)
		b.settle()
		asked = b.hosts.loadsAsked
		b.obs <- withTree("manager logger-1 worker-1=x worker-2 worker-3 worker-4", files)
		b.settle()
		if b.hosts.loadsAsked != asked+1 {
			t.Errorf("a worker more, whose name may matter: asked %d times", b.hosts.loadsAsked-asked)
		}
	})
}

// TestAllCountsWhereNobodyCanSay: then each file of NAME/ is a restart, and zeekrec's own restart is still none.
func TestAllCountsWhereNobodyCanSay(t *testing.T) {
	run(t, func(b *bench) {
		b.obs <- withTree("manager worker-1", map[string]string{"local.zeek": "1", "intel.dat": "1"})
		b.settle()
		b.hosts.took()
		b.stop()
		b.start()
		b.hosts.behave(func() { b.hosts.loads = func(*desired.Resource) []string { return []string{"local.zeek"} } })
		b.obs <- withTree("manager worker-1", map[string]string{"local.zeek": "1", "intel.dat": "1"})
		b.settle()
		b.want("the same revision", b.hosts.took(), "")
		b.hosts.behave(func() { b.hosts.loads = nil })
		b.obs <- withTree("manager worker-1", map[string]string{"local.zeek": "1", "intel.dat": "2"})
		b.settle()
		b.want("data", b.hosts.took(), "restart dmz/manager, restart dmz/worker-1")
	})
}

// TestOptionsBesideFiles: Zeek is asked for what it loads and for its names; neither the want of an answer nor a late one restarts anybody
// while NAME/ stays.
func TestOptionsBesideFiles(t *testing.T) {
	answer := func(*desired.Resource) []string { return []string{"local.zeek"} }
	for _, c := range []struct {
		name        string
		then, later func(*desired.Resource) []string
		data        string // what a change of data disturbs in the end
	}{
		{"answered", answer, answer, ""},
		{"not answered any more", answer, nil, ""},
		{"answered late", nil, answer, "restart dmz/manager, restart dmz/worker-1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			run(t, func(b *bench) {
				weird(b)
				files := map[string]string{"local.zeek": "1", "intel.dat": "1"}
				see := func(rate string) {
					b.obs <- withTree("manager worker-1 !option=Weird::rate="+rate, files)
					b.settle()
				}
				b.hosts.behave(func() { b.hosts.loads = c.then })
				see("5")
				b.hosts.took()
				b.hosts.behave(func() { b.hosts.loads = c.later })
				see("6")
				b.want("told", b.hosts.updates(), "manager worker-1")
				b.want("disturbed", b.hosts.took(), "")
				b.stop()
				b.start()
				see("7")
				b.want("told by the next zeekrec", b.hosts.updates(), "manager worker-1")
				b.want("disturbed by the next zeekrec", b.hosts.took(), "")
				files["intel.dat"] = "2"
				if c.data == "" {
					// What was heard of Zeek's names holds for the same scripts.
					b.hosts.behave(func() { b.hosts.namesErr = errors.New("busy") })
				}
				see("8")
				b.want("data", b.hosts.took(), c.data)
				if s := b.status("dmz"); !s.Synced || !s.Healthy {
					t.Errorf("status %+v", s)
				}
			})
		})
	}
}

// TestPreviewTakesScriptsToStay: what a plan says of files beforehand is what is done.
func TestPreviewTakesScriptsToStay(t *testing.T) {
	run(t, func(b *bench) {
		b.hosts.behave(func() { b.hosts.loads = func(*desired.Resource) []string { return []string{"local.zeek"} } })
		b.obs <- withTree("manager worker-1", map[string]string{"local.zeek": "1", "intel.dat": "1"})
		b.settle()
		w, err := b.e.World(b.ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			files map[string]string
			want  string
		}{
			{map[string]string{"local.zeek": "1", "intel.dat": "1"}, ""},
			{map[string]string{"local.zeek": "1", "intel.dat": "2"}, "update update"},
			{map[string]string{"local.zeek": "2", "intel.dat": "1"}, "restart restart"},
		} {
			p := engine.Preview(w, withTree("manager worker-1", c.files).Snapshot, true, parse, func([]*desired.Cluster) []desired.Diagnostic { return nil })
			var got []string
			for _, a := range p.Clusters[0].Actions {
				got = append(got, string(a.Kind))
			}
			b.want(fmt.Sprint(c.files), strings.Join(got, " "), c.want)
		}
	})
}

// TestOneClusterWaitsAlone: a Zeek that does not say which scripts it loads holds up no other cluster of the same push, and its own only for so long.
func TestOneClusterWaitsAlone(t *testing.T) {
	run(t, func(b *bench) {
		silent := make(chan struct{})
		defer close(silent)
		b.hosts.behave(func() { b.hosts.loadsWait = silent })
		both := func(n string) engine.Observation {
			o := observation(map[string]string{"dmz": "manager worker-1=" + n, "lab": "manager worker-1=" + n})
			o.Snapshot.Files[0].Tree = desired.Tree{"local.zeek": {Data: []byte(n)}}
			return o
		}
		b.obs <- both("1")
		b.settle()
		if s := b.status("lab"); !s.Synced || !s.Healthy {
			t.Errorf("lab waits, too: %+v", s)
		}
		b.want("begun", b.hosts.took(), "start lab/manager, start lab/worker-1")
		b.settle() // no answer within Timings.Check
		b.settle()
		if s := b.status("dmz"); !s.Synced || !s.Healthy {
			t.Errorf("dmz waits for ever: %+v", s)
		}
	})
}

// TestNotSyncedWhileZeekIsAsked: a commit counts before it is known what it takes; until then its cluster is not synced, and says so.
func TestNotSyncedWhileZeekIsAsked(t *testing.T) {
	run(t, func(b *bench) {
		push := func(text string) {
			o := observation(map[string]string{"dmz": "manager worker-1"})
			o.Snapshot.Files[0].Tree = desired.Tree{"local.zeek": {Data: []byte(text)}}
			b.obs <- o
		}
		push("1")
		b.settle()
		if s := b.status("dmz"); !s.Synced {
			t.Fatalf("%+v", s)
		}
		answer := make(chan struct{})
		b.hosts.behave(func() { b.hosts.loadsWait = answer })
		push("2")
		synctest.Wait()
		if s := b.status("dmz"); s.Synced || s.Reason != "Zeek is asked what the newest revision takes" {
			t.Errorf("synced %t: %q", s.Synced, s.Reason)
		}
		close(answer)
		b.settle()
		if s := b.status("dmz"); !s.Synced || s.Reason != "" {
			t.Errorf("afterwards: synced %t: %q", s.Synced, s.Reason)
		}
	})
}

// TestCompareTakesDataForData: with nothing running, a plan says that scripts are restarts and other files are none.
func TestCompareTakesDataForData(t *testing.T) {
	before := withTree("manager worker-1", map[string]string{"local.zeek": "1", "intel.dat": "1"})
	for _, c := range []struct {
		files map[string]string
		want  string
	}{
		{map[string]string{"local.zeek": "1", "intel.dat": "1"}, ""},
		{map[string]string{"local.zeek": "1", "intel.dat": "2"}, "update update"},
		{map[string]string{"local.zeek": "2", "intel.dat": "1"}, "restart restart"},
		{map[string]string{"local.zeek": "1", "intel.dat": "1", "x.sig": "1"}, "restart restart"},
	} {
		p, ds := engine.Compare(before.Snapshot, withTree("manager worker-1", c.files).Snapshot, "agent-a", parse, func([]*desired.Cluster) []desired.Diagnostic { return nil }, before.CheckedAt)
		if len(ds) > 0 {
			t.Fatal(ds)
		}
		var got []string
		for _, a := range p.Clusters[0].Actions {
			got = append(got, string(a.Kind))
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%v: the plan is %q, want %q", c.files, s, c.want)
		}
	}
}
