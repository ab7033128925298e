package engine_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/observed"
)

// many are hosts so many that to look at their reports takes 10 ms.
type many struct {
	*hosts
	looks atomic.Int32
}

func (m *many) Reports() []*observed.Report {
	m.looks.Add(1)
	time.Sleep(10 * time.Millisecond)
	return m.hosts.Reports()
}

// Where a step takes long, what is reported within a tenth of a second is one step's work; nothing that is reported goes unseen, and
// people do not wait.
func TestReportsOfManyHostsAreHeardTogether(t *testing.T) {
	run(t, func(b *bench) {
		b.stop()
		m := &many{hosts: b.hosts}
		b.startOn(m, parse)
		b.see(map[string]string{"dmz": "manager logger-1"})
		before := m.looks.Load()
		for range 500 { // two seconds
			m.touch()
			time.Sleep(4 * time.Millisecond)
		}
		if n := m.looks.Load() - before; n < 15 || n > 22 {
			t.Errorf("500 changes within 2 s led to %d steps, want one in 110 ms", n)
		}
		m.set("dmz/logger-1", func(r *observed.Resource) { r.PID = 4711 })
		time.Sleep(130 * time.Millisecond)
		began := time.Now()
		if got := b.status("dmz").Resources[0].PID; got != 4711 {
			t.Errorf("the logger is seen as %d", got)
		}
		if took := time.Since(began); took > 10*time.Millisecond {
			t.Errorf("the status took %s", took)
		}
	})
}
