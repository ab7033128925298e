//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestSystemdJournal: what nodes write is in the journal under their names, each line once and in order, whatever becomes of zeekrec; and so is
// zeekrec's own log, with its priorities.
func TestSystemdJournal(t *testing.T) {
	longSystemd(t)
	r := newUnitRig(t, "")
	r.save(unitCluster(""))
	r.Run(t, "systemctl", "enable", "--now", "zeekrec")
	r.settled("")
	r.Run(t, "systemctl", "restart", "zeekrec")
	c := r.settled("")
	r.Run(t, "systemctl", "kill", "-s", "KILL", "--kill-who=main", "zeekrec")
	r.Run(t, "kill", "-9", strconv.Itoa(pids(c)["worker-1"])) // while nobody looks, or nearly
	r.Eventually(t, "it is another process", func() bool { return r.Property(t, "zeekrec", "NRestarts") == "1" })
	r.settled("")
	r.zeekrec("restart", "dmz/worker-2")
	c = r.settled("")

	for name := range pids(c) {
		for _, stream := range []string{"stdout", "stderr"} {
			var want []string
			for line := range strings.Lines(r.Run(t, "cat", unitState+"/clusters/dmz/nodes/"+name+"/"+stream)) {
				if line = strings.TrimRight(line, "\n"); strings.TrimSpace(line) != "" {
					want = append(want, line)
				}
			}
			if len(want) == 0 {
				t.Errorf("the %s of %s has nothing", stream, name)
			}
			var got []string
			r.Eventually(t, fmt.Sprintf("the journal has the %s of %s", stream, name), func() bool {
				out := strings.TrimSuffix(r.Run(t, "journalctl", "--no-pager", "-o", "cat", "ZEEK_NODE="+name, "ZEEK_CLUSTER=dmz", "ZEEK_STREAM="+stream), "\n")
				got = strings.Split(out, "\n")
				return len(got) >= len(want)
			})
			if !slices.Equal(got, want) {
				t.Errorf("the %s of %s: the journal has\n%s\nand the file\n%s", stream, name, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
	}
	out := r.Run(t, "journalctl", "--no-pager", "-o", "json", "-n", "1", "ZEEK_NODE=worker-2", "ZEEK_STREAM=stderr")
	var e map[string]string
	if err := json.Unmarshal([]byte(out), &e); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for field, want := range map[string]string{
		"SYSLOG_IDENTIFIER": "zeek-dmz-worker-2", "OBJECT_PID": strconv.Itoa(pids(c)["worker-2"]), "ZEEK_ROLE": "worker", "PRIORITY": "6",
		"OBJECT_SYSTEMD_UNIT": "zeek-dmz-worker.scope",
	} {
		if e[field] != want {
			t.Errorf("%s is %q, want %q, in %s", field, e[field], want, out)
		}
	}
	own := r.Run(t, "journalctl", "--no-pager", "-o", "cat", "-t", "zeekrec", "-p", "info", "-n", "500")
	if !strings.Contains(own, "msg=\"Accepted a revision\" cluster=dmz") || strings.Contains(own, "level=") || strings.Contains(own, "time=") {
		t.Errorf("its own log:\n%s", own)
	}
	if debug := r.Run(t, "journalctl", "--no-pager", "-o", "cat", "-t", "zeekrec", "-p", "debug"); len(debug) <= len(own) {
		t.Error("priorities make no difference")
	}
}
