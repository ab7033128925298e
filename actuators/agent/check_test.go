//go:build linux

package agent

import (
	"context"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

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
			{Resource: "dmz/w1", Message: "interface eth9 does not exist\nfatal error: problem with interface af_packet::eth9 (pcap_error)"},
			{Resource: "dmz/w2", Message: "interface eth1 is down\nfatal error: problem with interface eth1 (pcap_error)"}}},
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
			got, err := w.Check(t.Context(), tt.rs)
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
	if got, err := w.Check(t.Context(), []desired.Resource{r}); err != nil || len(got) > 0 {
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
		got, err := w.Check(t.Context(), []desired.Resource{worker(part("metrics", desired.Equal, at))})
		if err != nil || len(got) != want {
			t.Errorf("%s: %+v, %v; want %d problems", at, got, err, want)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.Check(ended, []desired.Resource{r}); err == nil {
		t.Error("no error though it was not carried through")
	}
}

// TestCheckRemembers: what parsed is parsed again when a file has changed that it may come from, and not otherwise.
func TestCheckRemembers(t *testing.T) {
	site, plugins := t.TempDir(), t.TempDir()
	local := filepath.Join(site, "local.zeek")
	write := func(path, content string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(local, "@load base\n")
	w := newWorld(t, func(c *Config) {
		c.AskZeek = func(_ context.Context, path string) desired.ZeekFacts {
			return desired.ZeekFacts{Path: path, Version: "8.2.2", ZeekPath: ".:" + site, Plugins: plugins}
		}
	})
	w.links.set(up("eth0", 2))
	// While there is such a file, the fake Zeek refuses its scripts. It is none of those that it says it reads, so only who runs
	// it comes to know.
	refuse := filepath.Join(t.TempDir(), "refuse")
	like := func(change ...func(*desired.Resource)) desired.Resource {
		return worker(append([]func(*desired.Resource){fake(refuse)}, change...)...)
	}
	settle := func() {
		t.Helper()
		roots := []string{site, plugins}
		w.eventually("files are old enough", func() bool {
			p, err := lookAt(roots, nil)
			return err == nil && p.settled(time.Now())
		})
	}
	parses := func(why string, want bool, r desired.Resource) {
		t.Helper()
		write(refuse, "")
		got, err := w.Check(t.Context(), []desired.Resource{r})
		if err != nil {
			t.Fatal(err)
		}
		if (len(got) > 0) != want {
			t.Errorf("%s: parsed: %t, want %t; %+v", why, !want, want, got)
		}
		if err := os.Remove(refuse); err != nil {
			t.Fatal(err)
		}
		settle()
		if got, err := w.Check(t.Context(), []desired.Resource{r}); err != nil || len(got) > 0 {
			t.Fatalf("%s: %+v, %v", why, got, err)
		}
	}
	settle()
	parses("the first time", true, like())
	parses("the second time", false, like())
	parses("another interface and name", false, like(func(r *desired.Resource) { r.Name, r.Node.Interface = "w2", "netmap::x" }))
	parses("another script", true, like(func(r *desired.Resource) { r.Node.Scripts = append(r.Node.Scripts, "misc/stats") }))
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	parses("another user", true, like(func(r *desired.Resource) { r.Node.User = me.Username }))
	write(local, "@load bas\n")
	parses("a script is changed", true, like())
	write(filepath.Join(plugins, "new.so"), "")
	parses("a plugin is new", true, like())
	parses("again", false, like())

	// A change just before a parse may hide another one just after it.
	write(local, "@load base\n")
	if got, err := w.Check(t.Context(), []desired.Resource{like()}); err != nil || len(got) > 0 {
		t.Fatalf("%+v, %v", got, err)
	}
	if p, err := lookAt([]string{plugins, site, "/etc/ld.so.cache"}, nil); err == nil && !p.settled(time.Now()) {
		parses("a young file", true, like())
	}
	write(local, "@load /opt/elsewhere\n")
	settle()
	parses("from elsewhere", true, like())
	parses("from elsewhere again", true, like())
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
--help) echo "    \$ZEEKPATH                       | file search path (.:/nonexistent:` + site + `)
    \$ZEEK_PLUGIN_PATH               | plugin search path (/usr/lib/zeek/plugins)" >&2; exit 1;;
esac`)
	t.Setenv("ZEEKPATH", "/not/this")
	want := desired.ZeekFacts{Path: good, Version: "8.2.2", ZeekPath: ".:/nonexistent:" + site, Plugins: "/usr/lib/zeek/plugins"}
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
