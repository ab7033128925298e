package broker

import (
	"fmt"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zeekrec/zeekrec/actuators/broker/internal/rawpeer"
)

// TestWhatWasKeptArrives: after a restart publishers give at once what they had to keep, more than a queue holds, and
// nothing of it is dropped for somebody who reads, however slowly. Who reads nothing delays it by catchUpStall.
func TestWhatWasKeptArrives(t *testing.T) {
	for _, stuck := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			const hwm, publishers, each, pace = 10, 3, 30, 20 * time.Millisecond
			file := filepath.Join(t.TempDir(), "state.json")
			leaveState(t, file, true, "a", "b")
			r := newPipeRig(t, Config{StateFile: file, Settings: Settings{SndHWM: hwm, Heartbeat: -1}})
			for i := range publishers {
				p := r.join(rawpeer.XPUB(1), fmt.Sprint("10.0.0.7:1", i))
				p.listen()
				go func() {
					for n := range each {
						if p.Send("zeek.cluster.worker", fmt.Sprint(i, " ", n)) != nil {
							return
						}
					}
				}()
			}
			b := &zeekNode{r: r, name: "b", id: "zeromq_b_h_7_N", addr: "10.0.0.7:2"}
			if stuck {
				n := r.join(rawpeer.XSUB(1), b.addr)
				for _, topic := range b.topics() {
					n.must(n.Subscribe(topic))
				}
			} else {
				b.connectSub()
			}
			a := r.join(rawpeer.XSUB(1), "10.0.0.7:3")
			for _, topic := range (&zeekNode{name: "a", id: "zeromq_a_h_7_N"}).topics() {
				a.must(a.Subscribe(topic))
			}
			begun := time.Now()
			next := [publishers]int{}
			for range publishers * each {
				var from, n int
				if _, err := fmt.Sscan(a.message()[1], &from, &n); err != nil || n != next[from] {
					t.Fatalf("%d of publisher %d, %v, want %d", n, from, err, next[from])
				}
				next[from]++
				time.Sleep(pace)
			}
			limit := publishers*each*pace + time.Second
			if stuck {
				limit += catchUpStall
			}
			if took := time.Since(begun); took > limit {
				t.Errorf("stuck %v: it took %v", stuck, took)
			}
			if lost := r.peer("10.0.0.7:3").Dropped.Messages; lost != 0 {
				t.Errorf("stuck %v: %d were dropped", stuck, lost)
			}
		})
	}
}
