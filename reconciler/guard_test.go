package reconciler_test

import (
	"fmt"
	"testing"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/reconciler"
)

// cluster of a manager, loggers and workers.
func nodes(loggers, workers int) []desired.Resource {
	rs := []desired.Resource{
		wants("broker", desired.RoleBroker, "a"), wants("manager", desired.RoleManager, "a"),
	}
	rs[0].Type = desired.TypeBroker
	for i := range loggers {
		rs = append(rs, wants(fmt.Sprintf("logger-%d", i), desired.RoleLogger, "a"))
	}
	for i := range workers {
		rs = append(rs, wants(fmt.Sprintf("worker-%02d", i), desired.RoleWorker, "a"))
	}
	return rs
}

func TestGuard(t *testing.T) {
	third := desired.Quantity{N: 30, Percent: true}
	renamed := nodes(1, 3)
	renamed[2].Name = "logger-x"
	turned := nodes(1, 3)
	for i := range turned {
		if turned[i].Role == desired.RoleWorker {
			turned[i].Role = desired.RoleProxy
		}
	}
	moved := nodes(1, 3)
	moved[3].Instance = "b"
	for _, tt := range []struct {
		name      string
		was, is   []desired.Resource
		threshold desired.Quantity
		removed   bool
		want      string
	}{
		{"the first revision", nil, nil, third, false, ""},
		{"nothing was there to remove", nil, nil, third, true, ""},
		{"the same", nodes(1, 8), nodes(1, 8), third, false, ""},
		{"two of three workers", nodes(1, 3), nodes(1, 1), third, false, ""},
		{"3 of 10 is 30%, not more", nodes(1, 8), nodes(1, 5), third, false, ""},
		{"4 of 13 is more, though it rounds to 30", nodes(1, 11), nodes(1, 7), third, false, "too-many"},
		{"4 of 10", nodes(1, 8), nodes(1, 4), third, false, "too-many"},
		{"a number", nodes(1, 8), nodes(1, 4), desired.Quantity{N: 4}, false, ""},
		{"more than a number", nodes(1, 8), nodes(1, 3), desired.Quantity{N: 4}, false, "too-many"},
		{"the last logger", nodes(1, 20), nodes(0, 20), third, false, "last-of-role"},
		{"the last logger, renamed", nodes(1, 3), renamed, third, false, ""},
		{"all workers become proxies", nodes(1, 3), turned, third, false, "last-of-role"},
		{"moved", nodes(1, 3), moved, third, false, ""},
		{"an empty file", nodes(1, 1), nil, third, false, "last-node"},
		{"nothing but the broker left", nodes(0, 1), nodes(0, 0)[:1], third, false, "last-node"},
		{"the manager becomes the broker", nodes(1, 3), nodes(1, 3)[1:], third, false, ""},
		{"the file removed", nodes(0, 0), nil, desired.Quantity{N: 100, Percent: true}, true, "removed"},
		{"removed, whatever is passed besides", nodes(1, 3), nodes(1, 3), third, true, "removed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := reconciler.Guard(tt.was, tt.is, tt.threshold, tt.removed)
			got := ""
			if h != nil {
				got = h.Code
				if h.Reason == "" || (len(h.Stops) == 0) != (tt.name == "all workers become proxies") || len(h.Stops) > h.Of {
					t.Errorf("hold says %+v", h)
				}
			}
			if got != tt.want {
				t.Errorf("got %q, want %q (%+v)", got, tt.want, h)
			}
		})
	}
}
