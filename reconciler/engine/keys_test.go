package engine_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/observed"
	"github.com/zeekrec/zeekrec/reconciler/engine"
)

// ring is a store of keys: k1, k2, … of all clusters.
type ring struct {
	mu   sync.Mutex
	made int
	has  map[string][]string
	// fail of all calls; failWrites of those that change something.
	fail, failWrites error
	gate             func() error // asked before each change
	retire           func(keep string)
}

func (r *ring) IDs(cluster string) ([]string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.has[cluster]), r.fail
}

func (r *ring) Ensure(cluster string) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.has[cluster]) > 0 {
		return r.has[cluster][0], r.fail
	}
	return r.add(cluster)
}

func (r *ring) Rotate(cluster string) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.has[cluster]) > 1 {
		return "", errors.New("a rotation is under way")
	}
	return r.add(cluster)
}

func (r *ring) add(cluster string) (string, error) {
	if err := r.mayWrite(); err != nil {
		return "", err
	}
	r.made++
	id := fmt.Sprintf("k%d", r.made)
	if r.has == nil {
		r.has = map[string][]string{}
	}
	r.has[cluster] = append([]string{id}, r.has[cluster]...)
	return id, nil
}

func (r *ring) mayWrite() error {
	if r.gate != nil {
		if err := r.gate(); err != nil {
			return err
		}
	}
	return errors.Join(r.fail, r.failWrites)
}

func (r *ring) Retire(cluster, keep string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.mayWrite(); err != nil {
		return err
	}
	if !slices.Contains(r.has[cluster], keep) {
		return fmt.Errorf("%s is not there", keep)
	}
	if r.retire != nil {
		r.retire(keep)
	}
	r.has[cluster] = []string{keep}
	return nil
}

// of is what a cluster has.
func (r *ring) of(cluster string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.has[cluster], " ")
}

func (r *ring) set(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

const sealed = "!broker !curve manager logger-1 proxy-1 worker-1 worker-2"

// curves is which keys the processes use, the broker first.
func (h *hosts) curves() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []string
	for _, k := range slices.Sorted(maps.Keys(h.res)) {
		s := h.res[k]
		out = append(out, strings.TrimPrefix(k, "dmz/")+"="+strings.Join(slices.Concat(s.Parts.Get("accepts"), s.Parts.Get("curve")), "+"))
	}
	return strings.Join(out, " ")
}

const (
	allOld = "broker=k1 logger-1=k1 manager=k1 proxy-1=k1 worker-1=k1 worker-2=k1"
	allNew = "broker=k2 logger-1=k2 manager=k2 proxy-1=k2 worker-1=k2 worker-2=k2"
)

// watchKeys fails the test where a node gets keys that the broker does not accept, or loses one that a process
// uses or is told to use.
func (b *bench) watchKeys() {
	b.hosts.behave(func() {
		b.hosts.doErr = func(o desired.Order) error {
			broker := b.hosts.res["dmz/broker"]
			for _, p := range o.Resource.Parts {
				switch {
				case p.Field == "curve" && o.Verb != desired.Stop && broker != nil && !slices.Contains(broker.Parts.Get("accepts"), p.Values[0]):
					b.t.Errorf("%s %s with %s, and the broker accepts %v", o.Verb, o.Resource.Key(), p.Values[0], broker.Parts.Get("accepts"))
				case p.Field == "accepts":
					for _, s := range b.hosts.res {
						if c := s.Parts.Get("curve"); len(c) > 0 && !slices.Contains(p.Values, c[0]) {
							b.t.Errorf("the broker is told to accept %v, and %s uses %s", p.Values, s.Name, c[0])
						}
					}
				}
			}
			return nil
		}
	})
	b.keys.retire = func(keep string) {
		for _, who := range strings.Fields(b.hosts.curves()) {
			if _, ids, _ := strings.Cut(who, "="); ids != keep {
				b.t.Errorf("keys other than %s are removed, and there is %s", keep, who)
			}
		}
	}
}

func (b *bench) rotate() error {
	_, err := b.e.RotateKeys(b.ctx, "dmz", "monthly", "anna", false)
	return err
}

// keyRecords are the records about keys: "keys-rotated k2 k1 by anna: monthly".
func (b *bench) keyRecords() string {
	var out []string
	for _, k := range []engine.Kind{engine.KindKeysMade, engine.KindKeysRotated, engine.KindKeysRetired} {
		for _, r := range b.journal.kinds(k) {
			out = append(out, fmt.Sprintf("%s %s by %s: %s", k, strings.Join(r.Keys, " "), r.By, r.Reason))
		}
	}
	return strings.Join(out, "\n")
}

func TestKeysAreMadeForThoseWhoNeedThem(t *testing.T) {
	run(t, func(b *bench) {
		b.see(map[string]string{"dmz": sealed, "lab": "manager"})
		b.want("dmz", b.keys.of("dmz"), "k1")
		b.want("lab", b.keys.of("lab"), "")
		b.want("records", b.keyRecords(), "keys-made k1 by zeekrec: ")
		if s := b.status("dmz"); !s.Synced || s.Keys == nil || s.Keys.ID != "k1" || s.Keys.Rotation != nil {
			t.Errorf("status %+v, keys %+v", s, s.Keys)
		}
		if s := b.status("lab"); !s.Synced || s.Keys != nil {
			t.Errorf("status of lab %+v", s)
		}
		b.hosts.took()
		b.stop()
		b.start()
		b.see(map[string]string{"dmz": sealed, "lab": "manager"})
		b.want("after a restart", b.hosts.took()+b.keys.of("dmz"), "k1")
	})
}

func TestRotation(t *testing.T) {
	run(t, func(b *bench) {
		b.see(map[string]string{"dmz": sealed})
		b.want("before", b.hosts.curves(), allOld)
		b.hosts.took()
		b.watchKeys()
		if err := b.rotate(); err != nil {
			t.Fatal(err)
		}
		if s := b.status("dmz"); s.Keys.Rotation == nil || s.Keys.Rotation.By != "anna" || !strings.Contains(s.Reason, "rotated to k2") {
			t.Errorf("status %+v, keys %+v", s, s.Keys)
		}
		if err := b.rotate(); err == nil || !strings.Contains(err.Error(), "a rotation to k2 is under way") {
			t.Errorf("a second one: %v", err)
		}
		b.settle()
		b.want("orders", b.hosts.took(), "restart dmz/logger-1, restart dmz/manager, restart dmz/proxy-1, restart dmz/worker-1, restart dmz/worker-2")
		b.want("after", b.hosts.curves(), allNew)
		b.want("store", b.keys.of("dmz"), "k2")
		b.want("records", b.keyRecords(), "keys-made k1 by zeekrec: \nkeys-rotated k2 k1 by anna: monthly\nkeys-retired k2 by zeekrec: every node uses the new ones")
		if s := b.status("dmz"); !s.Synced || !s.Healthy || s.Keys.ID != "k2" || s.Keys.Rotation != nil || s.Reason != "" {
			t.Errorf("status %+v, keys %+v", s, s.Keys)
		}
		if r := b.journal.kinds(engine.KindRollout); r[1].Rollout.Cause != "asked" {
			t.Errorf("rollout %+v", r[1].Rollout)
		}
		b.settle()
		b.want("orders later", b.hosts.took(), "")
		if err := b.rotate(); err != nil {
			t.Errorf("the next one: %v", err)
		}
	})
}

// TestRotationSurvivesACrashAtAnyPoint: zeekrec is killed before each single thing that it does for a rotation: a
// change of the store, a record, an order. The next one always comes to the same end.
func TestRotationSurvivesACrashAtAnyPoint(t *testing.T) {
	errDead := errors.New("killed")
	for point, reached := 0, true; reached; point++ {
		if point > 100 {
			t.Fatal("it does not come to an end")
		}
		run(t, func(b *bench) {
			b.see(map[string]string{"dmz": sealed})
			b.hosts.took()
			b.watchKeys()
			var mu sync.Mutex
			left, dead := point, false
			gate := func() error {
				mu.Lock()
				defer mu.Unlock()
				if left--; left < 0 {
					dead = true
					return errDead
				}
				return nil
			}
			b.journal.gate = gate
			b.keys.set(func() { b.keys.gate = gate })
			b.hosts.behave(func() {
				check := b.hosts.doErr
				b.hosts.doErr = func(o desired.Order) error {
					if err := gate(); err != nil {
						return err
					}
					return check(o)
				}
			})
			asked := b.rotate()
			b.settle()
			reached = dead
			b.stop()

			b.journal.gate = nil
			b.keys.set(func() { b.keys.gate = nil })
			b.watchKeys()
			b.start()
			b.settle()
			b.settle()
			if point == 0 {
				if asked == nil {
					t.Error("done, and nothing was written")
				}
				b.want("not even begun", b.hosts.curves()+b.keys.of("dmz"), allOld+"k1")
				return
			}
			b.want(fmt.Sprintf("point %d", point), b.hosts.curves(), allNew)
			b.want(fmt.Sprintf("store at point %d", point), b.keys.of("dmz"), "k2")
			if s := b.status("dmz"); !s.Synced || s.Keys.Rotation != nil || len(s.Keys.Accepted) != 1 {
				t.Errorf("point %d: status %+v, keys %+v", point, s, s.Keys)
			}
			for _, r := range b.hosts.res {
				if r.Incarnation > 2 || r.Type == "broker" && r.Incarnation != 1 {
					t.Errorf("point %d: %s was started %d times", point, r.Name, r.Incarnation)
				}
			}
		})
	}
}

func TestRotationWaitsForASuspension(t *testing.T) {
	run(t, func(b *bench) {
		b.see(map[string]string{"dmz": sealed})
		b.hosts.took()
		b.watchKeys()
		if err := b.e.Suspend(b.ctx, "dmz", "freeze", "anna", time.Time{}); err != nil {
			t.Fatal(err)
		}
		if err := b.rotate(); err != nil {
			t.Fatal(err)
		}
		b.settle()
		b.want("suspended", b.hosts.took()+b.hosts.curves(), allOld)
		b.want("store", b.keys.of("dmz"), "k2 k1")
		if s := b.status("dmz"); s.Keys.Rotation == nil || s.Synced || !strings.Contains(s.Reason, "freeze") {
			t.Errorf("status %+v", s)
		}
		if err := b.e.Resume(b.ctx, "dmz", "anna"); err != nil {
			t.Fatal(err)
		}
		b.settle()
		b.want("resumed", b.hosts.curves(), allNew)
		b.want("store", b.keys.of("dmz"), "k2")
	})
}

// TestHeldClusterKeepsOldKeysWhileSuspended: with everything stopped there is nothing to roll out, and the end of
// the rotation waits all the same.
func TestHeldClusterKeepsOldKeysWhileSuspended(t *testing.T) {
	run(t, func(b *bench) {
		b.see(map[string]string{"dmz": sealed})
		if err := errors.Join(b.e.Hold(b.ctx, []string{"dmz"}, "", "anna", time.Time{}), b.e.Suspend(b.ctx, "*", "freeze", "anna", time.Time{})); err != nil {
			t.Fatal(err)
		}
		b.settle()
		b.want("up", b.hosts.up(), "")
		if err := b.rotate(); err != nil {
			t.Fatal(err)
		}
		b.settle()
		b.want("suspended", b.keys.of("dmz"), "k2 k1")
		if err := b.e.Resume(b.ctx, "*", "anna"); err != nil {
			t.Fatal(err)
		}
		b.settle()
		b.want("resumed", b.keys.of("dmz"), "k2")
		b.hosts.took()
		if err := b.e.Release(b.ctx, []string{"dmz"}, "anna"); err != nil {
			t.Fatal(err)
		}
		b.settle()
		b.want("started", b.hosts.curves(), allNew)
	})
}

// TestRotationWithASuspendedNode: the node keeps the old keys, which are accepted as long as it does.
func TestRotationWithASuspendedNode(t *testing.T) {
	run(t, func(b *bench) {
		b.see(map[string]string{"dmz": sealed})
		b.watchKeys()
		if err := b.e.Suspend(b.ctx, "dmz/worker-2", "being looked at", "anna", time.Time{}); err != nil {
			t.Fatal(err)
		}
		b.settle()
		if err := b.rotate(); err != nil {
			t.Fatal(err)
		}
		b.settle()
		b.want("meanwhile", b.hosts.curves(), "broker=k2+k1 logger-1=k2 manager=k2 proxy-1=k2 worker-1=k2 worker-2=k1")
		b.want("store", b.keys.of("dmz"), "k2 k1")
		if s := b.status("dmz"); s.Keys.Rotation == nil || !strings.Contains(s.Keys.Rotation.Waiting, "worker-2 still runs with the keys k1") {
			t.Errorf("keys %+v", s.Keys.Rotation)
		}
		if err := b.e.Resume(b.ctx, "dmz/worker-2", "anna"); err != nil {
			t.Fatal(err)
		}
		b.settle()
		b.want("after", b.hosts.curves()+b.keys.of("dmz"), allNew+"k2")
	})
}

func TestRotationThatFails(t *testing.T) {
	run(t, func(b *bench) {
		b.see(map[string]string{"dmz": sealed})
		b.hosts.took()
		b.watchKeys()
		b.hosts.behave(func() {
			b.hosts.fails = func(r *desired.Resource) string {
				if r.Name == "proxy-1" && r.Node.Curve == "k2" {
					return "exited with status 1"
				}
				return ""
			}
		})
		if err := b.rotate(); err != nil {
			t.Fatal(err)
		}
		for i := 0; i < 600 && !strings.Contains(b.hosts.curves(), "proxy-1=k2"); i++ {
			time.Sleep(100 * time.Millisecond)
		}
		b.hosts.set("dmz/proxy-1", func(r *observed.Resource) { r.State = observed.Failed })
		b.settle()
		b.want("outcomes", b.journal.outcomes(), "Succeeded Failed")
		b.want("orders", b.hosts.took(), "restart dmz/logger-1, restart dmz/manager, restart dmz/proxy-1")
		b.want("both are accepted", b.hosts.curves(), "broker=k2+k1 logger-1=k2 manager=k2 proxy-1=k2 worker-1=k1 worker-2=k1")
		s := b.status("dmz")
		if s.Keys.Rotation == nil || s.Quarantined != "" || s.Healthy || !strings.Contains(s.Reason, "exited with status 1") || !strings.Contains(s.Reason, "those before are accepted too") {
			t.Errorf("status %+v", s)
		}
		// The cause is gone: it is tried again, by itself.
		b.hosts.behave(func() { b.hosts.fails = nil })
		b.hosts.set("dmz/proxy-1", func(r *observed.Resource) { r.State, r.Healthy, r.PID = observed.Running, true, 7 })
		for range 6 {
			b.settle()
		}
		b.want("after", b.hosts.curves()+b.keys.of("dmz"), allNew+"k2")
		if s := b.status("dmz"); !s.Synced || !s.Healthy || s.Keys.Rotation != nil {
			t.Errorf("status %+v", s)
		}
	})
}

// TestLastNodeFailsWithNewKeys: nothing is left to do, and still the old keys are not given up.
func TestLastNodeFailsWithNewKeys(t *testing.T) {
	run(t, func(b *bench) {
		b.see(map[string]string{"dmz": sealed})
		b.watchKeys()
		b.hosts.behave(func() {
			b.hosts.fails = func(r *desired.Resource) string {
				if r.Name == "worker-2" {
					return "exited with status 1"
				}
				return ""
			}
		})
		if err := b.rotate(); err != nil {
			t.Fatal(err)
		}
		b.settle()
		b.settle()
		b.want("store", b.keys.of("dmz"), "k2 k1")
		if s := b.status("dmz"); s.Keys.Rotation == nil || !strings.Contains(s.Keys.Rotation.Waiting, "worker-2 is not healthy") {
			t.Errorf("keys %+v", s.Keys)
		}
		b.hosts.set("dmz/worker-2", func(r *observed.Resource) { r.State, r.Healthy, r.PID = observed.Running, true, 7 })
		b.settle()
		b.want("after", b.hosts.curves()+b.keys.of("dmz"), allNew+"k2")
	})
}

// TestStraysKeepOldKeys: what runs with the old keys and is not even wanted is not cut off.
func TestStraysKeepOldKeys(t *testing.T) {
	run(t, func(b *bench) {
		b.see(map[string]string{"dmz": sealed})
		b.hosts.behave(func() {
			s := *b.hosts.res["dmz/worker-2"]
			s.Name, s.PID, s.State = "worker-9", 0, observed.Crashed // its agent will start it again
			b.hosts.res["dmz/worker-9"] = &s
		})
		b.watchKeys()
		if err := b.rotate(); err != nil {
			t.Fatal(err)
		}
		b.settle()
		b.want("store", b.keys.of("dmz"), "k2 k1")
		if s := b.status("dmz"); s.Keys.Rotation == nil || s.Keys.Rotation.Waiting != "worker-9 still runs with the keys k1" {
			t.Errorf("keys %+v", s.Keys)
		}
		// Nor is a broker that may have to start with them.
		b.hosts.behave(func() {
			s := *b.hosts.res["dmz/worker-9"]
			s.Name, s.Type, s.Role, s.Parts = "broker-9", "broker", "broker", observed.Parts{{Field: "accepts", Values: []string{"k2", "k1"}}}
			delete(b.hosts.res, "dmz/worker-9")
			b.hosts.res["dmz/broker-9"] = &s
			b.hosts.touch()
		})
		b.settle()
		b.want("journal", b.keyRecords(), "keys-made k1 by zeekrec: \nkeys-rotated k2 k1 by anna: monthly\nkeys-retired k2 by zeekrec: every node uses the new ones")
		b.want("store", b.keys.of("dmz"), "k2 k1")
		b.hosts.behave(func() { delete(b.hosts.res, "dmz/broker-9"); b.hosts.touch() })
		b.settle()
		b.want("after", b.hosts.curves()+b.keys.of("dmz"), allNew+"k2")
	})
}

// TestSilentAgentKeepsOldKeys: of an instance that says nothing, nothing is known.
func TestSilentAgentKeepsOldKeys(t *testing.T) {
	run(t, func(b *bench) {
		b.see(map[string]string{"dmz": sealed})
		b.hosts.behave(func() { b.hosts.silent = true })
		b.settle()
		if err := b.rotate(); err != nil {
			t.Fatal(err)
		}
		b.settle()
		b.want("meanwhile", b.hosts.curves()+b.keys.of("dmz"), allOld+"k2 k1")
		b.hosts.behave(func() { b.hosts.silent = false; b.hosts.touch() })
		b.settle()
		b.want("after", b.hosts.curves()+b.keys.of("dmz"), allNew+"k2")
	})
}

func TestKeysThatCannotBeRead(t *testing.T) {
	run(t, func(b *bench) {
		b.see(map[string]string{"dmz": sealed})
		b.hosts.took()
		b.keys.set(func() { b.keys.fail = errors.New("cannot use the keys: it is damaged") })
		for range 2 { // found out while running, and by a new zeekrec
			b.settle()
			b.settle()
			b.want("nothing is done", b.hosts.took()+b.hosts.curves(), allOld)
			if s := b.status("dmz"); !s.Synced || !s.Healthy || !strings.Contains(s.Reason, "it is damaged") || s.Keys.Error == "" {
				t.Errorf("status %+v", s)
			}
			if err := b.rotate(); err == nil || !strings.Contains(err.Error(), "it is damaged") {
				t.Errorf("rotation: %v", err)
			}
			b.stop()
			b.start()
		}
		// A change that has nothing to do with it is still rolled out.
		b.see(map[string]string{"dmz": strings.Replace(sealed, "worker-2", "worker-2=x", 1)})
		b.want("a change", b.hosts.took(), "restart dmz/worker-2")
		b.keys.set(func() { b.keys.fail = nil })
		b.settle()
		b.settle()
		if s := b.status("dmz"); s.Reason != "" || s.Keys.Error != "" {
			t.Errorf("status %+v", s)
		}
		b.want("store", b.keys.of("dmz"), "k1")
	})
}

// TestKeysThatAreLost are not replaced by new ones without being asked for.
func TestKeysThatAreLost(t *testing.T) {
	run(t, func(b *bench) {
		b.see(map[string]string{"dmz": sealed})
		b.hosts.took()
		b.keys.set(func() { b.keys.has = nil })
		b.stop()
		b.start()
		b.see(map[string]string{"dmz": sealed})
		b.want("nothing is done", b.hosts.took()+b.hosts.curves()+b.keys.of("dmz"), allOld)
		if s := b.status("dmz"); !strings.Contains(s.Reason, "the keys k1, which the cluster uses, are not in the state folder any more") {
			t.Errorf("status %+v", s)
		}
		if err := b.rotate(); err != nil {
			t.Fatal(err)
		}
		b.settle()
		b.want("asked for", b.hosts.curves()+b.keys.of("dmz"), allNew+"k2")
		if s := b.status("dmz"); !s.Synced || s.Reason != "" {
			t.Errorf("status %+v", s)
		}
	})
}

func TestFirstKeysThatCannotBeMade(t *testing.T) {
	run(t, func(b *bench) {
		b.keys.set(func() { b.keys.failWrites = errors.New("no space left on device") })
		b.see(map[string]string{"dmz": sealed, "lab": "manager"})
		b.want("orders", b.hosts.took(), "start lab/manager")
		if s := b.status("dmz"); s.Synced || !strings.Contains(s.Reason, "no space left on device") {
			t.Errorf("status %+v", s)
		}
		b.keys.set(func() { b.keys.failWrites = nil })
		b.settle()
		b.want("after", b.hosts.curves(), allOld+" lab/manager=")
	})
}

// TestKeysThatAreThereAlready: of an earlier source, or made by a zeekrec that was killed before it could say so.
func TestKeysThatAreThereAlready(t *testing.T) {
	run(t, func(b *bench) {
		b.keys.set(func() { b.keys.made, b.keys.has = 2, map[string][]string{"dmz": {"k2", "k1"}} })
		b.see(map[string]string{"dmz": sealed})
		b.settle()
		b.want("curves", b.hosts.curves()+b.keys.of("dmz"), allNew+"k2")
		b.want("records", b.keyRecords(), "keys-made k2 k1 by zeekrec: found in the state folder\nkeys-retired k2 by zeekrec: every node uses the new ones")
	})
}

// TestEncryptionCannotBeginWithoutKeys: the cluster runs on in plain text, as it did.
func TestEncryptionCannotBeginWithoutKeys(t *testing.T) {
	run(t, func(b *bench) {
		plain := strings.Replace(sealed, "!curve ", "", 1)
		b.see(map[string]string{"dmz": plain})
		b.hosts.took()
		b.keys.set(func() { b.keys.failWrites = errors.New("no space left on device") })
		b.see(map[string]string{"dmz": sealed})
		b.want("orders", b.hosts.took(), "")
		b.want("up", b.hosts.up(), "broker logger-1 manager proxy-1 worker-1 worker-2")
		b.keys.set(func() { b.keys.failWrites = nil })
		b.settle()
		b.want("after", b.hosts.curves(), allOld)
	})
}

func TestRotationIsRefused(t *testing.T) {
	run(t, func(b *bench) {
		b.see(map[string]string{"dmz": "manager", "lab": "!external !curve manager"})
		for cluster, want := range map[string]string{
			"dmz": "its traffic is not encrypted", "lab": "its broker is somebody else's", "hall": "there is no cluster",
		} {
			if _, err := b.e.RotateKeys(b.ctx, cluster, "", "anna", false); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v", cluster, err)
			}
		}
		if id, err := b.e.RotateKeys(b.ctx, "lab", "", "anna", true); err != nil || id != "k2" {
			t.Errorf("with force: %s, %v", id, err)
		}
		b.settle()
		b.want("store of lab", b.keys.of("lab"), "k2")
	})
}

// TestRotationThatIsNotRecorded is as if it had not been asked for.
func TestRotationThatIsNotRecorded(t *testing.T) {
	run(t, func(b *bench) {
		b.see(map[string]string{"dmz": sealed})
		b.hosts.took()
		b.journal.mu.Lock()
		b.journal.fail = errors.New("no space left on device")
		b.journal.mu.Unlock()
		if err := b.rotate(); err == nil || !strings.Contains(err.Error(), "cannot write the journal") {
			t.Errorf("rotation: %v", err)
		}
		b.journal.mu.Lock()
		b.journal.fail = nil
		b.journal.mu.Unlock()
		b.settle()
		b.want("nothing is done", b.hosts.took()+b.hosts.curves()+b.keys.of("dmz"), allOld+"k1")
	})
}

// TestPlansBeforeThereAreKeys: a plan needs none, and with those of the state it is the same as the engine's.
func TestPlansBeforeThereAreKeys(t *testing.T) {
	snapshot := observation(map[string]string{"dmz": sealed}).Snapshot
	none := func([]*desired.Cluster) []desired.Diagnostic { return nil }
	p := engine.Preview(engine.EmptyWorld("agent-a", time.Now()), snapshot, true, parse, none)
	if desired.HasErrors(p.Diagnostics) || p.Summary.Start != 6 {
		t.Errorf("plan %+v %v", p.Summary, p.Diagnostics)
	}
	changed := observation(map[string]string{"dmz": sealed + "=x"}).Snapshot
	if p, _ := engine.Compare(snapshot, changed, "agent-a", parse, none, time.Now()); p.Summary.Restart != 1 || p.Summary.Start != 0 {
		t.Errorf("comparison %+v %v", p.Summary, p.Diagnostics)
	}
	run(t, func(b *bench) {
		b.see(map[string]string{"dmz": sealed})
		w, err := b.e.World(b.ctx)
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(w) // as it comes to the command
		if err != nil {
			t.Fatal(err)
		}
		w = &engine.World{}
		if err := json.Unmarshal(text, w); err != nil {
			t.Fatal(err)
		}
		w.State.Init()
		if p := engine.Preview(w, snapshot, true, parse, none); !p.Empty() {
			t.Errorf("plan %+v", p.Clusters)
		}
	})
}
