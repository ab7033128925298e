package agent

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// A logger is stopped when those who send to it have somebody else, or after a while.
func TestUntilOthersHave(t *testing.T) {
	count := func(ns ...int) func() (int, error) { // the last one for ever; below 0: an error
		return func() (int, error) {
			n := ns[0]
			if len(ns) > 1 {
				ns = ns[1:]
			}
			if n < 0 {
				return 0, errors.New("gone")
			}
			return n, nil
		}
	}
	for _, c := range []struct {
		name   string
		mine   func() (int, error)
		others []func() (int, error)
		want   time.Duration
	}{
		{"nobody sends", count(0), []func() (int, error){count(0)}, 0},
		{"it is gone", count(-1), []func() (int, error){count(0)}, 0},
		{"they have somebody", count(4), []func() (int, error){count(4)}, othersPoll},
		{"one is late", count(4), []func() (int, error){count(3, 3, 3, 4)}, 4 * othersPoll},
		{"one comes and goes", count(4), []func() (int, error){count(4, 3, 4, 4)}, 3 * othersPoll},
		{"the second other one has them", count(2), []func() (int, error){count(-1), count(1), count(2)}, othersPoll},
		{"they leave", count(2, 2, 0), []func() (int, error){count(0)}, 2 * othersPoll},
		{"somebody does not know the others", count(4), []func() (int, error){count(3)}, othersWait},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				untilOthersHave(t.Context(), c.mine, c.others)
				if took := time.Since(began); took != c.want {
					t.Errorf("after %v, want %v", took, c.want)
				}
			})
		})
	}
}
