package ha

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/reconciler/engine"
)

// TestServersKilled kills servers of a cluster of three, one at a time, while a controller appends: what was acknowledged is there once
// and in its order, and nothing else but what was said to be unknown.
func TestServersKilled(t *testing.T) {
	t.Parallel()
	nodes := servers(t, 3)
	s := openStore(t, urls(nodes), Config{Replicas: 3, RollAt: 20_000})
	j, _ := openJournal(t, s, 1)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	dice := rand.New(rand.NewPCG(seed, 0))

	stop, ended := make(chan struct{}), make(chan struct{})
	var kills int
	go func() {
		defer close(ended)
		for kills < 3 {
			if !pause(t.Context(), time.Duration(200+dice.IntN(800))*time.Millisecond) {
				return
			}
			n := nodes[dice.IntN(3)]
			for _, other := range nodes {
				if kills == 0 && other.JetStreamIsStreamLeader("$G", "zeekrec-journal") {
					n = other // the one that hurts most
				}
			}
			n.kill()
			kills++
			pause(t.Context(), time.Duration(dice.IntN(800))*time.Millisecond)
			n.start()
			// A majority is there at any time, also of what was stored meanwhile.
			for end := time.Now().Add(within); !n.JetStreamIsCurrent() && time.Now().Before(end); {
				pause(t.Context(), 20*time.Millisecond)
			}
		}
		close(stop)
	}()

	var acked []string
	unknown := map[string]bool{}
	epoch, slowest := uint64(1), time.Duration(0)
	for n := 0; ; n++ {
		select {
		case <-stop:
			<-ended
			t.Logf("%d records acknowledged, %d unknown, %d servers killed, the slowest append took %v", len(acked), len(unknown), kills, slowest)
			got := history(t, s)
			var known []string
			seen := map[string]bool{}
			for _, r := range got {
				if seen[r] {
					t.Errorf("%s is there twice", r)
				}
				seen[r] = true
				if !unknown[r] {
					known = append(known, r)
				}
			}
			// The oldest are gone by then: the journal rolls.
			if len(known) == 0 || len(known) > len(acked) {
				t.Fatalf("%d records are there, and %d were acknowledged", len(known), len(acked))
			}
			for i, want := range acked[len(acked)-len(known):] {
				if known[i] != want {
					t.Fatalf("record %s is there in the place of %s", known[i], want)
				}
			}
			state, err := s.Load(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if state.Seq < int64(len(acked)) || state.Seq > int64(len(acked)+len(unknown)) {
				t.Errorf("the state is at %d", state.Seq)
			}
			return
		default:
		}
		a, b := accept(fmt.Sprint(n, "a")), accept(fmt.Sprint(n, "b"))
		began := time.Now()
		err := j.Append(t.Context(), a, b)
		slowest = max(slowest, time.Since(began))
		if err == nil {
			acked = append(acked, a.Revision, b.Revision)
			continue
		}
		t.Logf("append %d: %v", n, err)
		if _, ok := errors.AsType[*Broken](err); !ok {
			continue
		}
		unknown[a.Revision], unknown[b.Revision] = true, true
		epoch++
		for j = nil; j == nil; {
			var state *engine.State
			if j, state, err = s.Open(t.Context(), epoch, "test"); err != nil {
				t.Logf("open: %v", err)
			} else if state.Seq < int64(len(acked)) {
				t.Fatalf("opened at %d, and %d were acknowledged", state.Seq, len(acked))
			}
		}
	}
}
