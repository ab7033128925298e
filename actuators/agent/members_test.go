//go:build linux

package agent

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/desired/launch"
	"github.com/zeekrec/zeekrec/observed"
)

// following is the resource dmz/w1, whose membership is live, in a cluster with these proxies.
func following(proxies ...string) desired.Resource {
	return worker(members(proxies...), part(desired.PartMembership, desired.Later, "live"), part("proxies", desired.Follow, proxies...),
		func(r *desired.Resource) { r.Node.Membership = desired.MembershipLive })
}

// restarting is the same with membership = restart.
func restarting(proxies ...string) desired.Resource {
	return worker(members(proxies...), part("proxies", desired.Cover, proxies...))
}

func members(proxies ...string) func(*desired.Resource) {
	return func(r *desired.Resource) {
		for _, p := range proxies {
			r.Node.Layout.Nodes = append(r.Node.Layout.Nodes, desired.LayoutNode{Name: p, Role: desired.RoleProxy, Address: "127.0.0.1"})
		}
		part("layout", desired.Live, proxies...)(r)
	}
}

// table of the node; empty where there is none.
func (w *world) table() string {
	w.t.Helper()
	b, err := os.ReadFile(w.folder("dmz", "w1").members())
	if err != nil && !os.IsNotExist(err) {
		w.t.Fatal(err)
	}
	return string(b)
}

func (w *world) tableIs(r *desired.Resource) {
	w.t.Helper()
	if got, want := w.table(), string(launch.Members(r.Node.Layout)); got != want {
		w.t.Errorf("the table is %q, want %q", got, want)
	}
}

func TestMembersWhileItRuns(t *testing.T) {
	w := newWorld(t)
	one, two, three := following("p1"), following("p1", "p2"), following()
	w.do(order(desired.Start, one, ""))
	was := w.untilState(observed.Running)
	w.tableIs(&one)
	info, err := os.Stat(w.folder("dmz", "w1").members())
	if err != nil || info.Mode() != 0o644 {
		t.Errorf("%v, %v: its reader may be another user", info.Mode(), err)
	}
	seconds := []int64{info.ModTime().Unix()}
	told := one
	for _, r := range []desired.Resource{two, three, one, three, two} { // fast
		w.do(order(desired.Update, r, told.ID))
		told = r
		w.tableIs(&r)
		now, _ := w.get("dmz/w1")
		if now.PID != was.PID || !now.Healthy || now.Told != r.ID || len(now.Outdated) > 0 || !slices.Equal(now.Parts.Get("proxies"), r.Part("proxies")) ||
			!slices.Equal(now.Parts.Get("membership"), []string{"live"}) {
			t.Errorf("%+v", now)
		}
		info, err := os.Stat(w.folder("dmz", "w1").members())
		if err != nil {
			t.Fatal(err)
		}
		seconds = append(seconds, info.ModTime().Unix())
	}
	// That and the inode, which is used again, are what Zeek looks at.
	if !slices.IsSorted(seconds) || len(slices.Compact(slices.Clone(seconds))) != len(seconds) {
		t.Errorf("the tables are of the seconds %d", seconds)
	}
	w.do(order(desired.Update, two, three.ID)) // repeated
	if again, err := os.Stat(w.folder("dmz", "w1").members()); err != nil || again.ModTime().Unix() != seconds[len(seconds)-1] {
		t.Errorf("written again without a change: %v, %v", again.ModTime(), err)
	}

	// The agent may have ended before it was written, and a crash is healed with the newest.
	w.stop()
	if err := os.Remove(w.folder("dmz", "w1").members()); err != nil {
		t.Fatal(err)
	}
	w.start()
	w.eventually("the table is there", func() bool { return w.table() == string(launch.Members(two.Node.Layout)) })
	killPID(t, was.PID)
	now := w.until("replaced", func(r observed.Resource) bool { return r.Incarnation == 2 && r.State == observed.Running })
	w.tableIs(&two)
	if now.Started != two.ID || !slices.Equal(now.Parts.Get("proxies"), []string{"p1", "p2"}) {
		t.Errorf("%+v", now)
	}
}

// A table that cannot be written is tried again until it can.
func TestMembersCannotBeWritten(t *testing.T) {
	w := newWorld(t)
	one, two := following("p1"), following("p1", "p2")
	w.do(order(desired.Start, one, ""))
	was := w.untilState(observed.Running)
	file := w.folder("dmz", "w1").members()
	block := func() {
		t.Helper()
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(file, "x"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	block()
	w.do(order(desired.Update, two, one.ID))
	now, _ := w.get("dmz/w1")
	if now.Healthy || now.State != observed.Running || !strings.Contains(now.Reason, "cannot tell it the nodes of its cluster") || now.Told != two.ID {
		t.Errorf("%+v", now)
	}
	// Nor does it keep a process from being started.
	killPID(t, was.PID)
	now = w.until("replaced", func(r observed.Resource) bool { return r.Incarnation == 2 && r.State == observed.Running })
	if now.Healthy {
		t.Errorf("%+v", now)
	}
	if err := os.RemoveAll(file); err != nil {
		t.Fatal(err)
	}
	w.until("healthy", func(r observed.Resource) bool { return r.Healthy && r.Reason == "" })
	w.tableIs(&two)
	block()
	three := following("p3")
	w.do(order(desired.Restart, three, two.ID))
	now = w.until("restarted", func(r observed.Resource) bool { return r.Incarnation == 3 && r.State == observed.Running })
	if now.Healthy {
		t.Errorf("%+v", now)
	}
	if err := os.RemoveAll(file); err != nil {
		t.Fatal(err)
	}
	w.until("healthy", func(r observed.Resource) bool { return r.Healthy })
	w.tableIs(&three)
}

// A process that was started without the table is told by its next start, and has to cover what it is to know meanwhile.
func TestMembershipSwitches(t *testing.T) {
	w := newWorld(t)
	one, two := restarting("p1", "p2"), following("p1")
	w.do(order(desired.Start, one, ""))
	was := w.untilState(observed.Running)
	w.do(order(desired.Update, two, one.ID))
	now, _ := w.get("dmz/w1")
	if now.PID != was.PID || w.table() != "" || now.Parts.Get("membership") != nil || !slices.Equal(now.Parts.Get("proxies"), []string{"p1", "p2"}) ||
		!slices.Equal(now.Outdated, []string{"membership restart -> live"}) || !now.Healthy {
		t.Errorf("%+v, table %q", now, w.table())
	}
	o := order(desired.Restart, two, two.ID)
	o.Incarnation = 1
	w.do(o)
	now = w.until("restarted", func(r observed.Resource) bool { return r.Incarnation == 2 && r.State == observed.Running })
	w.tableIs(&two)
	if !slices.Equal(now.Parts.Get("proxies"), []string{"p1"}) || !slices.Equal(now.Parts.Get("membership"), []string{"live"}) || len(now.Outdated) > 0 {
		t.Errorf("%+v", now)
	}

	// And the other way round: it knows what it was told last, and is told no more.
	three, four, five := following("p2"), restarting("p2"), following("p2", "p3")
	w.do(order(desired.Update, three, two.ID))
	w.do(order(desired.Update, four, three.ID))
	now, _ = w.get("dmz/w1")
	if !slices.Equal(now.Parts.Get("proxies"), []string{"p2"}) || !slices.Equal(now.Outdated, []string{"membership live -> restart"}) {
		t.Errorf("%+v", now)
	}
	w.tableIs(&three)
	w.do(order(desired.Update, five, four.ID))
	now, _ = w.get("dmz/w1")
	if !slices.Equal(now.Parts.Get("proxies"), []string{"p2", "p3"}) || len(now.Outdated) > 0 || now.Incarnation != 2 {
		t.Errorf("%+v", now)
	}
	w.tableIs(&five)
}

func TestPutMembers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "members.tsv")
	at := time.Unix(1_700_000_000, 999)
	for i, tt := range []struct {
		content string
		now     time.Time
		want    int64
	}{
		{"a", at, at.Unix()},
		{"b", at, at.Unix() + 1},
		{"b", at.Add(time.Hour), at.Unix() + 1},
		{"c", at.Add(time.Hour), at.Unix() + 3600},
		{"d", at.Add(-time.Hour), at.Unix() + 3601}, // a clock that was set back
	} {
		if err := putTable(path, []byte(tt.content), tt.now); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil || string(b) != tt.content || info.ModTime().Unix() != tt.want {
			t.Errorf("%d: %q of %d, want %q of %d (%v)", i, b, info.ModTime().Unix(), tt.content, tt.want, err)
		}
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
