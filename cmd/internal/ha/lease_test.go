package ha

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"
)

// short is a lease for tests: a holder stops 2 s after its last renewal, and is followed after 2.5 s.
func short(name string) LeaseConfig {
	return LeaseConfig{Name: name, TTL: 3 * time.Second, Margin: time.Second}
}

func openLease(t *testing.T, s *Store, cfg LeaseConfig) *Lease {
	t.Helper()
	l, err := s.Lease(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func campaign(t *testing.T, l *Lease) *Term {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	term, err := l.Campaign(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return term
}

func resign(t *testing.T, term *Term) {
	t.Helper()
	if err := term.Resign(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestLeaseConfig(t *testing.T) {
	for _, c := range []struct {
		cfg  LeaseConfig
		want string
	}{
		{LeaseConfig{}, "cannot campaign for the lead without a name"},
		{LeaseConfig{Name: "a", TTL: 3 * time.Second}, "cannot keep a lease of 3s with a margin of 2s: the margin has to be less than half of it"},
	} {
		if _, err := (&Store{}).Lease(t.Context(), c.cfg); err == nil || err.Error() != c.want {
			t.Errorf("%+v: %v", c.cfg, err)
		}
	}
}

// Whoever waits has the lead at once when it is given up, and every epoch is higher than the one before.
func TestResign(t *testing.T) {
	url := urls(servers(t, 1))
	a, b := openLease(t, openStore(t, url, Config{}), short("a")), openLease(t, openStore(t, url, Config{}), short("b"))
	if name, _, err := a.Leader(t.Context()); err != nil || name != "" {
		t.Fatalf("before all %q leads, %v", name, err)
	}
	term := campaign(t, a)
	var slowest time.Duration
	for i := range 5 {
		if name, since, err := b.Leader(t.Context()); err != nil || name != term.value.Holder || !since.Equal(term.Since()) {
			t.Fatalf("%q leads since %v, %v", name, since, err)
		}
		l := []*Lease{b, a}[i%2]
		next := make(chan *Term)
		go func() { term, _ := l.Campaign(t.Context()); next <- term }()
		pause(t.Context(), 100*time.Millisecond) // for the watch; without it, the test would be as strict
		began := time.Now()
		resign(t, term)
		if err := term.Err(); !errors.Is(err, ErrResigned) {
			t.Errorf("after it: %v", err)
		}
		following := <-next
		slowest = max(slowest, time.Since(began))
		if following == nil || following.Epoch() <= term.Epoch() || following.Err() != nil {
			t.Fatalf("%+v follows %+v", following, term)
		}
		resign(t, term) // once more does no harm
		term = following
	}
	t.Logf("handed over within %v", slowest)
	if slowest > 2*time.Second {
		t.Errorf("it took %v to hand over", slowest)
	}
	resign(t, term)
	if name, _, err := a.Leader(t.Context()); err != nil || name != "" {
		t.Errorf("in the end %q leads, %v", name, err)
	}
}

// Also where the mark of a resignation is gone, nobody waits for a term that was given up; a floor is stepped over.
func TestAfterwards(t *testing.T) {
	t.Parallel()
	s := openStore(t, urls(servers(t, 1)), Config{})
	a := openLease(t, s, short("a"))
	first := campaign(t, a)
	resign(t, first)
	st, err := s.js.Stream(t.Context(), "KV_zeekrec-lease")
	if err != nil {
		t.Fatal(err)
	}
	empty := func() {
		t.Helper()
		if err := st.Purge(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	empty()
	cfg := short("b")
	cfg.Floor = 1000
	began := time.Now()
	term := campaign(t, openLease(t, s, cfg))
	if took := time.Since(began); term.Epoch() != 1001 || took > 2*time.Second {
		t.Errorf("epoch %d after %v", term.Epoch(), took)
	}
	// But where it was not given up, the absence of the entry is no proof: a server's clock may be wrong.
	empty()
	began = time.Now()
	next := campaign(t, a)
	if took := time.Since(began); took < a.stale() {
		t.Errorf("followed after %v", took)
	}
	if err, ok := errors.AsType[*Lost](term.Err()); !ok {
		t.Errorf("the term before: %v", err)
	}
	if next.Epoch() != 1002 {
		t.Errorf("epoch %d", next.Epoch())
	}
	resign(t, term) // does not touch what is another's
	if next.Err() != nil {
		t.Error(next.Err())
	}
	resign(t, next)
}

func TestCampaignEnds(t *testing.T) {
	nodes := servers(t, 1)
	a, b := openLease(t, openStore(t, urls(nodes), Config{}), short("a")), openLease(t, openStore(t, urls(nodes), Config{}), short("b"))
	term := campaign(t, a)
	ctx, cancel := context.WithTimeoutCause(t.Context(), 200*time.Millisecond, errors.New("it is enough"))
	defer cancel()
	if _, err := b.Campaign(ctx); err == nil || err.Error() != "cannot become the leader: it is enough" {
		t.Errorf("error %v", err)
	}
	resign(t, term)
}

// reign is when a term was live, by its own account.
type reign struct {
	name       string
	epoch      uint64
	began, end time.Time
}

// watchers make several controllers campaign again and again, and note their terms.
type watchers struct {
	mu     sync.Mutex
	reigns []reign
}

func (w *watchers) run(ctx context.Context, l *Lease) {
	for ctx.Err() == nil {
		term, err := l.Campaign(ctx)
		if err != nil {
			return
		}
		r := reign{name: l.cfg.Name, epoch: term.Epoch(), began: time.Now()}
		select {
		case <-term.Done():
		case <-ctx.Done():
		}
		r.end = time.Now()
		w.mu.Lock()
		w.reigns = append(w.reigns, r)
		w.mu.Unlock()
		rctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 500*time.Millisecond)
		_ = term.Resign(rctx)
		cancel()
	}
}

func (w *watchers) check(t *testing.T) {
	t.Helper()
	for i, a := range w.reigns {
		for _, b := range w.reigns[:i] {
			if a.epoch == b.epoch {
				t.Errorf("epoch %d was there twice", a.epoch)
			}
			if first, second := b, a; first.epoch > second.epoch {
				first, second = a, b
			} else if second.began.Before(first.end) {
				t.Errorf("%s led with epoch %d from %v, while %s led with %d until %v", second.name, second.epoch, second.began, first.name, first.epoch, first.end)
			}
		}
	}
}

// A leader that is cut off from NATS stops before the next begins, also while its requests hang; with delays in between.
func TestPartition(t *testing.T) {
	t.Parallel()
	nodes := servers(t, 1)
	p := newProxy(t, nodes[0])
	a, b := openLease(t, openStore(t, p.url(), Config{}), short("a")), openLease(t, openStore(t, urls(nodes), Config{}), short("b"))
	p.slow(20 * time.Millisecond)
	term := campaign(t, a)
	next := make(chan *Term)
	go func() { term, _ := b.Campaign(t.Context()); next <- term }()
	pause(t.Context(), a.cfg.TTL/2) // so that it has renewed
	if term.Err() != nil {
		t.Fatal(term.Err())
	}
	p.hold(true)
	cut := time.Now()
	<-term.Done()
	stopped := time.Now()
	if err := term.Err(); err == nil || err.Error() != "the lead is lost: it could not be renewed for 2s" {
		t.Errorf("error %v", err)
	}
	following := <-next
	if following == nil {
		t.Fatal("nobody follows")
	}
	t.Logf("cut off, the leader stopped after %v, and the next led after %v", stopped.Sub(cut), time.Since(cut))
	if following.value.Since.Before(stopped.Add(-time.Millisecond)) {
		t.Errorf("the next began at %v, and the one before stopped at %v", following.value.Since, stopped)
	}
	p.hold(false) // what was sent comes late
	pause(t.Context(), 300*time.Millisecond)
	if following.Err() != nil || following.Epoch() <= term.Epoch() {
		t.Errorf("the one who follows has epoch %d after %d, %v", following.Epoch(), term.Epoch(), following.Err())
	}
	resign(t, term)
	resign(t, following)
}

// Two that campaign at the same time over bad connections never lead both.
func TestRivals(t *testing.T) {
	t.Parallel()
	nodes := servers(t, 1)
	p := newProxy(t, nodes[0])
	cfg := func(name string) LeaseConfig {
		return LeaseConfig{Name: name, TTL: 900 * time.Millisecond, Margin: 300 * time.Millisecond}
	}
	a, b := openLease(t, openStore(t, p.url(), Config{}), cfg("a")), openLease(t, openStore(t, urls(nodes), Config{}), cfg("b"))
	var w watchers
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second)
	defer cancel()
	var all sync.WaitGroup
	for _, l := range []*Lease{a, b} {
		all.Go(func() { w.run(ctx, l) })
	}
	// b stops now and then so that a has its turn; a is slow, mute, cut off in turn.
	for i := 0; pause(ctx, 350*time.Millisecond); i++ {
		switch i % 4 {
		case 0:
			p.hold(true)
		case 1:
			p.hold(false)
		case 2:
			p.slow(time.Duration(10*i) * time.Millisecond)
		case 3:
			p.drop()
			if v, err := b.look(ctx); err == nil && v.Holder == "b" {
				_, _ = put(ctx, b.lease, leaseKey, holding{}, v.rev, time.Second) // as if by hand: it is taken from b
			}
		}
	}
	p.hold(false)
	all.Wait()
	if len(w.reigns) < 2 {
		t.Errorf("only %d terms", len(w.reigns))
	}
	w.check(t)
	t.Logf("%d terms", len(w.reigns))
}

// An attempt whose answer was lost is a term all the same, in the time that it has.
func TestAnswerToCampaignLost(t *testing.T) {
	t.Parallel()
	nodes := servers(t, 1)
	p := newProxy(t, nodes[0])
	cfg := LeaseConfig{Name: "a", TTL: 6 * time.Second, Margin: 2 * time.Second}
	l := openLease(t, openStore(t, p.url(), Config{}), cfg)
	direct := openLease(t, openStore(t, urls(nodes), Config{}), cfg).lease
	c := &candidate{Lease: l, alive: l.now()}
	p.lose()
	c.began, c.mine = l.now(), holding{Holder: "a", Epoch: 1, ID: "mine"}
	if _, err := put(t.Context(), l.lease, leaseKey, c.mine, 0, 200*time.Millisecond); err == nil {
		t.Fatal("an answer came")
	}
	p.heal()
	var term *Term
	until(t, "the attempt is found", func() bool { term, _, _ = c.step(t.Context()); return term != nil })
	if term.Epoch() != 1 || term.value.ID != "mine" {
		t.Errorf("%+v", term.value)
	}
	// A renewal whose answer is lost does not end the term either.
	before := term.revision()
	p.lose()
	until(t, "it is renewed without an answer", func() bool {
		e, err := direct.Get(t.Context(), leaseKey)
		return err == nil && e.Revision() > before
	})
	p.heal()
	until(t, "it is renewed again", func() bool { return term.Err() != nil || term.revision() > before+1 })
	if err := term.Err(); err != nil {
		t.Error(err)
	}
	resign(t, term)
}

// TestTakeovers kills the controller that leads, with the servers' leader of the lease in turn, in a cluster of three.
func TestTakeovers(t *testing.T) {
	t.Parallel()
	nodes := servers(t, 3)
	cfg := Config{Replicas: 3}
	type controller struct {
		s *Store
		l *Lease
	}
	start := func(i int) controller {
		s := openStore(t, urls(nodes), cfg)
		return controller{s, openLease(t, s, short(fmt.Sprintf("c%d", i)))}
	}
	leader := start(0)
	term := campaign(t, leader.l)
	var took []time.Duration
	for i := range 3 {
		next := start(i + 1)
		following := make(chan *Term)
		go func() { term, _ := next.l.Campaign(t.Context()); following <- term }()
		pause(t.Context(), 200*time.Millisecond)
		killed := time.Now()
		leader.s.js.Conn().Close() // nothing that it says is heard any more
		var down *node
		if i == 1 {
			for _, n := range nodes {
				if n.JetStreamIsStreamLeader("$G", "KV_zeekrec-lease") {
					down = n
					n.kill()
					break
				}
			}
		}
		after := <-following
		if after == nil || after.Epoch() <= term.Epoch() {
			t.Fatalf("%+v follows %+v", after, term)
		}
		took = append(took, time.Since(killed))
		if err := term.Err(); err == nil {
			t.Error("the one that was killed leads still")
		}
		if down != nil {
			down.start()
			until(t, "the server is back", func() bool { return down.JetStreamIsCurrent() })
		}
		term, leader = after, next
	}
	t.Logf("with a lease of 3 s, the next led after %v (in the second case a server of three was killed, too)", took)
	for _, d := range took {
		if d > 15*time.Second {
			t.Errorf("it took %v", d)
		}
	}
	resign(t, term)
}
