package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/zeekrec/zeekrec/actuators/process"
)

func TestClassify(t *testing.T) {
	one := process.Exit{Known: true, Status: 1}
	for _, tt := range []struct {
		name      string
		exit      process.Exit
		stderr    string
		kind      faultKind
		permanent bool
		text      string
	}{
		{"syntax", one, "error in /x/local.zeek, line 3: syntax error, at or near \"}\"", faultScript, true, "exited with status 1: error in /x/local.zeek, line 3: syntax error"},
		{"missing script", one, "fatal error: can't find nosuch", faultScript, true, "exited with status 1: fatal error: can't find nosuch"},
		{"identifier", one, "error in x.zeek, line 1: unknown identifier Foo::bar, at or near \"Foo::bar\"", faultScript, true, "unknown identifier"},
		{"no interface", one, "fatal error: problem with interface eth9 (eth9: No such device exists (pcap_activate))", faultInterface, true, "No such device exists"},
		{"interface down", one, "fatal error: problem with interface eth1 (eth1: That device is not up (pcap_activate))", faultInterface, true, "not up"},
		{"af_packet", one, "fatal error: problem with interface af_packet::eth1 (Network is down)", faultInterface, true, "Network is down"},
		{"permission", one, "fatal error: problem with interface eth0 (eth0: You don't have permission to capture on that device (socket: Operation not permitted))", faultPermission, true, "setcap cap_net_raw,cap_net_admin=eip /opt/zeek/bin/zeek"},
		{"port", one, "fatal error: Failed to setup Prometheus endpoint: null context when constructing CivetServer. Attempted to bind to 127.0.0.1:9000.", faultPort, false, "9000"},
		{"address", one, "error: [zeromq] bind: Address already in use", faultPort, false, "Address already in use"},
		{"filter", one, "fatal error: Bad pcap filter 'foo bar'", faultFilter, true, "foo bar"},
		{"disk", process.Exit{Known: true, Signal: unix.SIGABRT}, "safe_write error: No space left on device", faultDisk, false, "killed by SIGABRT: safe_write error"},
		{"abort", process.Exit{Known: true, Signal: unix.SIGABRT, Core: true}, "assertion failed", faultOther, false, "killed by SIGABRT, core dumped"},
		{"kill, with old words", process.Exit{Known: true, Signal: unix.SIGKILL}, "warning: Address already in use", faultOther, false, "killed by SIGKILL"},
		{"by itself", process.Exit{Known: true}, "error: whatever", faultOther, false, "exited with status 0"},
		{"unknown words", one, "listening on eth0\nerror: the moon is full\nbye", faultOther, false, "exited with status 1: error: the moon is full"},
		{"two lines", one, "error: ZeroMQ: Failed to bind pull socket tcp://127.0.0.1:1: Address already in use\nfatal error in main.zeek, line 538: Failed initialize ZeroMQ backend", faultPort, false, "Failed to bind"},
		{"option", one, "ERROR: Unrecognized option --bogus\nTry 'ZEEK --help' for more information.", faultCommand, true, "--bogus"},
		{"source", one, "fatal error: type of packet source 'foo' not recognized, or mode not supported", faultCommand, true, "foo"},
		{"leftover", one, "fatal error: Found leftover/unprocessed log 'conn.log', but failed to rotate it: No such file or directory", faultOther, false, "leftover"},
		{"no words", one, "", faultOther, false, "exited with status 1"},
		{"adopted", process.Exit{}, "fatal error: can't find nosuch", faultScript, false, "ended with an unknown status: fatal error"},
		{"adopted, no error", process.Exit{}, "listening on eth0", faultOther, false, "ended with an unknown status"},
		{"the most telling line", one, "error in x, line 1: y\nfatal error: problem with interface eth9 (gone)", faultInterface, true, "problem with interface eth9"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var tail []string
			if tt.stderr != "" {
				tail = strings.Split(tt.stderr, "\n")
			}
			f := classify(tt.exit, false, tail, "/opt/zeek/bin/zeek")
			if f.Kind != tt.kind || f.Permanent != tt.permanent || !strings.Contains(f.Text, tt.text) {
				t.Errorf("got %+v", f)
			}
			if f := classify(tt.exit, true, tail, "/opt/zeek/bin/zeek"); f.Permanent {
				t.Errorf("permanent, though it was ready: %+v", f)
			}
		})
	}
}

func TestLastOutput(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stderr")
	write := func(s string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := lastOutput(path); got != nil {
		t.Errorf("of no file: %q", got)
	}
	write("old\n# 2026-11-21T00:00:00Z zeekrec: started pid 1, incarnation 1\none\r\n\ntwo \xff\n")
	if got := lastOutput(path); !slices.Equal(got, []string{"one", "two ?"}) {
		t.Errorf("%q", got)
	}
	write(strings.Repeat("é", 400))
	if got := lastOutput(path); len(got) != 1 || len(got[0]) > 510 || !strings.HasSuffix(got[0], "é…") {
		t.Errorf("%q", got)
	}
	var b strings.Builder
	for i := range 20000 {
		fmt.Fprintf(&b, "line %d\n", i)
	}
	write(b.String())
	if got := lastOutput(path); len(got) != tailLines || got[tailLines-1] != "line 19999" {
		t.Errorf("%q", got)
	}
}
