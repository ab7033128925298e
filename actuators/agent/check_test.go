//go:build linux

package agent

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/observed"
)

func TestCheck(t *testing.T) {
	w := newWorld(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.Addr().String()
	named := func(n string) func(*desired.Resource) { return func(r *desired.Resource) { r.Name = n } }
	on := func(i string) func(*desired.Resource) { return func(r *desired.Resource) { r.Node.Interface = i } }
	for _, tt := range []struct {
		name string
		rs   []desired.Resource
		want []observed.Problem
	}{
		{"nothing wrong", []desired.Resource{worker(), worker(named("w2"), on("af_packet::eth0")), worker(named("w3"), on("netmap::whatever"))}, nil},
		{"syntax, of two alike", []desired.Resource{worker(fake("syntax")), worker(fake("syntax"), named("w2"))}, []observed.Problem{
			{Resource: "dmz/w1", Permanent: true, Message: "error in /x/local.zeek, line 3: syntax error, at or near \"}\"\n(and 1 more like it)"}}},
		{"interface", []desired.Resource{worker(on("af_packet::eth9")), worker(named("w2"), on("eth1"))}, []observed.Problem{
			{Resource: "dmz/w1", Message: "interface eth9 does not exist"}, {Resource: "dmz/w2", Message: "interface eth1 is down"}}},
		{"port", []desired.Resource{worker(part("metrics", desired.Equal, port))}, []observed.Problem{
			{Resource: "dmz/w1", Message: "another program listens on " + port}}},
		{"address", []desired.Resource{worker(part("xpub", desired.Equal, "tcp://192.0.2.1:5555"))}, []observed.Problem{
			{Resource: "dmz/w1", Message: "cannot listen on 192.0.2.1:5555: this machine has no such address"}}},
		{"user", []desired.Resource{worker(func(r *desired.Resource) { r.Node.User = "nobody-of-that-name" })}, []observed.Problem{
			{Resource: "dmz/w1", Message: `cannot become user "nobody-of-that-name": user: unknown user nobody-of-that-name`}}},
		{"no node", []desired.Resource{{Cluster: "dmz", Name: "broker", Type: desired.TypeBroker}}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w.links.set(up("eth0", 2), net.Interface{Name: "eth1", Index: 3})
			got, err := w.Check(t.Context(), tt.rs, true)
			if err != nil {
				t.Fatal(err)
			}
			// The user's own problem shows in the check of its scripts as well.
			got = slices.Compact(got)
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %+v\nwant %+v", got, tt.want)
			}
		})
	}

	// A port that a process of the agent's own holds is no problem.
	r := worker(part("metrics", desired.Equal, port))
	w.do(order(desired.Start, r, ""))
	w.untilState(observed.Running)
	if got, err := w.Check(t.Context(), []desired.Resource{r}, true); err != nil || len(got) > 0 {
		t.Errorf("%+v, %v", got, err)
	}
	// Nor is all addresses with it; another address is one, if another program has it.
	_, number, err := net.SplitHostPort(port)
	if err != nil {
		t.Fatal(err)
	}
	beside, err := net.Listen("tcp", "127.0.0.2:"+number)
	if err != nil {
		t.Fatal(err)
	}
	defer beside.Close()
	for at, want := range map[string]int{"0.0.0.0:" + number: 0, "[::]:" + number: 0, "127.0.0.2:" + number: 1} {
		got, err := w.Check(t.Context(), []desired.Resource{worker(part("metrics", desired.Equal, at))}, true)
		if err != nil || len(got) != want {
			t.Errorf("%s: %+v, %v; want %d problems", at, got, err, want)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.Check(ended, []desired.Resource{r}, true); err == nil {
		t.Error("no error though it was not carried through")
	}
}

// TestCheckOfAStart: what parsed is parsed again when something is disturbed for what is to start, and not otherwise.
func TestCheckOfAStart(t *testing.T) {
	w := newWorld(t)
	w.links.set(up("eth0", 2))
	broken := filepath.Join(t.TempDir(), "broken")
	named := func(n string) desired.Resource { return worker(fake(broken), func(r *desired.Resource) { r.Name = n }) }
	check := func(disturbs bool, r desired.Resource) string {
		t.Helper()
		got, err := w.Check(t.Context(), []desired.Resource{r}, disturbs)
		if err != nil {
			t.Fatal(err)
		}
		var bad []string
		for _, p := range got {
			bad = append(bad, p.Resource)
		}
		return strings.Join(bad, " ")
	}
	if bad := check(true, named("w1")); bad != "" {
		t.Fatal(bad)
	}
	if err := os.WriteFile(broken, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if bad := check(false, named("w2")); bad != "" {
		t.Errorf("%s was looked at again", bad)
	}
	if bad := check(true, named("w2")); bad != "dmz/w2" {
		t.Errorf("something is stopped for it: %q has a problem", bad)
	}
	other := named("w3")
	other.Node.Scripts = append(other.Node.Scripts, "misc/stats")
	if bad := check(false, other); bad != "dmz/w3" {
		t.Errorf("another kind: %q has a problem", bad)
	}
}

func TestOverlap(t *testing.T) {
	for _, tt := range []struct {
		x, y string
		want bool
	}{
		{"127.0.0.1:80", "127.0.0.1:80", true},
		{"127.0.0.1:80", "127.0.0.1:81", false},
		{"127.0.0.1:80", "127.0.0.2:80", false},
		{"127.0.0.1:80", "localhost:80", true},
		{"127.0.0.1:80", "0.0.0.0:80", true},
		{"127.0.0.1:80", "0.0.0.0:81", false},
		{"[::1]:80", "[::]:80", true},
		{"[::1]:80", "[::2]:80", false},
		{":80", "192.0.2.1:80", true},
		{"no address", "0.0.0.0:80", false},
	} {
		if overlap(tt.x, tt.y) != tt.want || overlap(tt.y, tt.x) != tt.want {
			t.Errorf("%s and %s: want %t", tt.x, tt.y, tt.want)
		}
	}
}

func TestAskZeek(t *testing.T) {
	dir := t.TempDir()
	site := filepath.Join(dir, "site")
	if err := os.MkdirAll(site, 0o755); err != nil {
		t.Fatal(err)
	}
	script := func(body string) string {
		t.Helper()
		path := filepath.Join(t.TempDir(), "zeek")
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body), 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := script(`case $1 in
--version) echo "$0 version 8.2.2";;
--help) echo "    \$ZEEKPATH                       | file search path (.:/nonexistent:` + site + `)" >&2; exit 1;;
esac`)
	t.Setenv("ZEEKPATH", "/not/this")
	want := desired.ZeekFacts{Path: good, Version: "8.2.2", ZeekPath: ".:/nonexistent:" + site}
	if got := askZeek(t.Context(), good); got != want {
		t.Errorf("got %+v", got)
	}
	if err := os.WriteFile(filepath.Join(site, "local.zeek"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	want.HasLocal = true
	if got := askZeek(t.Context(), good); got != want {
		t.Errorf("got %+v", got)
	}
	for body, say := range map[string]string{
		`echo hello`:                         `it says "hello"`,
		`exit 3`:                             "cannot ask",
		`echo "zeek version 8.2.2 stand-in"`: "does not show $ZEEKPATH",
	} {
		if got := askZeek(t.Context(), script(body)); !strings.Contains(got.Err, say) {
			t.Errorf("%s: %+v", body, got)
		}
	}
}

func TestDiagHidesSecrets(t *testing.T) {
	w := newWorld(t)
	r := worker(func(r *desired.Resource) { r.Node.Env["TOKEN"] = "s3cret" }, part("env", desired.Equal, "TOKEN=s3cret"))
	w.do(order(desired.Start, r, ""))
	w.untilState(observed.Running)
	d, err := w.Diag("dmz", "w1")
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range d {
		if strings.Contains(string(b), "s3cret") {
			t.Errorf("%s shows a secret", name)
		}
	}
	for name, want := range map[string]string{
		"told.json": `"TOKEN": "(hidden)"`, "running.json": `"incarnation": 1`, "stderr": "listening on somewhere", "status": "RUNNING",
		"generated/cluster-layout.zeek": "Cluster::nodes", "proc/cmdline.json": "-U", "proc/status": "VmRSS", "folder": ".status",
	} {
		if !strings.Contains(string(d[name]), want) {
			t.Errorf("%s: %.300s", name, d[name])
		}
	}
	if _, err := w.Diag("dmz", "../w1"); err == nil {
		t.Error("a name that leads out was taken")
	}
	if _, _, err := w.Outputs("dmz", "w9"); err == nil || !strings.Contains(err.Error(), "never had it") {
		t.Errorf("%v", err)
	}
	if use := w.Usage()["dmz/w1"]; use.RSS == 0 || use.Threads == 0 {
		t.Errorf("usage %+v", use)
	}
}
