package reconciler_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/reconciler"
)

// TestOptions: which nodes restart for a line of [zeekrec.options], and which are told, with the reasons.
func TestOptions(t *testing.T) {
	rate, json := "Weird::sampling_rate", "LogAscii::use_json"
	for _, tt := range []struct {
		name     string
		old, new string
		// seen are names that the processes can be told; nil: they were started by an older zeekrec. known are those that
		// are known to be tunable: of all nodes, and of all but the logger.
		seen, known, others []string
		want                string
	}{
		{"an option", rate + " = 1", rate + " = 2", []string{}, []string{rate}, nil, "update logger-1 options 1, update manager options 1, update worker-1 options 1"},
		{"a new option", "", rate + " = 2", []string{}, []string{rate}, nil, "update logger-1 options 1, update manager options 1, update worker-1 options 1"},
		{"an option that is gone", rate + " = 1", "", []string{rate}, nil, nil, "update logger-1 options 1, update manager options 1, update worker-1 options 1"},
		{"a constant", json + " = T", json + " = F", []string{}, []string{rate}, nil, "restart logger-1 constants 1, restart manager constants 1, restart worker-1 constants 1"},
		{"a constant that only loggers use", "", json + " = F", []string{}, nil, []string{json}, "restart logger-1 constants 1, update manager options 1, update worker-1 options 1"},
		{"both", "", json + " = F; " + rate + " = 2", []string{}, []string{rate}, []string{json},
			"restart logger-1 constants 1, update manager options 2, update worker-1 options 2"},
		{"another order", json + " = F; " + rate + " = 2", rate + " = 2; " + json + " = F", []string{}, nil, nil, "update logger-1 told 1, update manager told 1, update worker-1 told 1"},
		{"nothing is known", rate + " = 1", rate + " = 2", []string{}, nil, nil, "restart logger-1 constants 1, restart manager constants 1, restart worker-1 constants 1"},
		{"an older zeekrec's, the same", rate + " = 1; " + json + " = F", rate + " = 1; " + json + " = F", nil, []string{rate}, nil, ""},
		{"an older zeekrec's", rate + " = 1", rate + " = 2", nil, []string{rate}, nil, "restart logger-1 options 1, restart manager options 1, restart worker-1 options 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			with := func(lines string) *desired.Cluster {
				c := sixNodes(desired.BackendZeroMQ)
				remove("proxy-1")(c)
				remove("worker-2")(c)
				remove("worker-3")(c)
				for l := range strings.SplitSeq(lines, "; ") {
					if name, value, ok := strings.Cut(l, " = "); ok {
						c.Settings.Options = append(c.Settings.Options, desired.Option{Name: name, Value: value})
					}
				}
				return c
			}
			in := input(t, with(tt.old), with(tt.new))
			rs := in.Instances["agent-a"].Resources
			for i := range rs {
				if rs[i].Type == string(desired.TypeNode) {
					rs[i].Tunable = tt.seen
				}
			}
			for i := range in.Want {
				if w := &in.Want[i]; w.Node != nil {
					if w.Tunable = append([]string{}, tt.known...); w.Role != desired.RoleLogger {
						w.Tunable = append(w.Tunable, tt.others...)
					}
				}
			}
			var got []string
			for _, a := range reconciler.Diff(in).Actions {
				for _, r := range a.Reasons {
					n := 1 + strings.Count(r.To, ", ")
					got = append(got, fmt.Sprintf("%s %s %s %d", a.Kind, strings.TrimPrefix(a.Resource, "dmz/"), r.Field, n))
				}
			}
			sorted := strings.Join(slices.Sorted(slices.Values(got)), ", ")
			if d := cmp.Diff(tt.want, sorted); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}
