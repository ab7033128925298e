package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// freePort finds a port that nobody listens on.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func TestSaysThatItIsAStandIn(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"--version"}, {"-v", "--", "ignored"}, {"--help"}} {
		p, exit := newWorld(t, nil).run(args...)
		if exit != 0 || !strings.Contains(p.stdout.String(), "zeek version 8.2.2 (zeekrec stand-in, not Zeek)\n") || p.stderr.Len() > 0 {
			t.Errorf("%v: exit %d, stdout %q, stderr %q", args, exit, p.stdout.String(), p.stderr.String())
		}
	}
}

func TestHelpNamesThePath(t *testing.T) {
	t.Parallel()
	const line = "    $ZEEKPATH                       | file search path (%s)\n"
	const prefix = "/opt/zeek-stand-in/share/zeek"
	for _, c := range []struct {
		env  []string
		path string
	}{
		{nil, ".:" + prefix + ":" + prefix + "/policy:" + prefix + "/site:" + prefix + "/builtin-plugins"},
		{[]string{"ZEEKPATH=/x:" + prefix}, "/x:" + prefix},
	} {
		p, _ := newWorld(t, nil, c.env...).run("--help")
		if want := fmt.Sprintf(line, c.path); !strings.Contains(p.stdout.String(), want) {
			t.Errorf("no %q in %s", want, p.stdout.String())
		}
		for _, v := range faultVariables {
			if !strings.Contains(p.stdout.String(), v.name+" ") {
				t.Errorf("%s is not explained", v.name)
			}
		}
	}
}

func TestEndsOrderly(t *testing.T) {
	t.Parallel()
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		p := newWorld(t, nil).start("-U", "status", "-i", "lo", "local")
		p.waitFor(stateRunning)
		p.signal(s)
		if exit := p.wait(); exit != 0 {
			t.Errorf("%v: exit %d", s, exit)
		}
		if got := p.status(); got != stateTerminated {
			t.Errorf("%v: status %q", s, got)
		}
		want := "listening on lo\n\nreceived termination signal\n0 packets received on interface lo, 0 (0.00%) dropped, 0 (0.00%) not processed\n"
		if got := p.stderr.String(); got != want {
			t.Errorf("%v: stderr %q", s, got)
		}
	}
}

func TestSignalsThatKill(t *testing.T) {
	t.Parallel()
	for _, s := range []syscall.Signal{syscall.SIGKILL, syscall.SIGSEGV, syscall.SIGABRT, syscall.SIGUSR1} {
		p := newWorld(t, nil).start("-U", "status", "-i", "lo")
		p.waitFor(stateRunning)
		p.signal(s)
		if exit := p.wait(); exit != -int(s) {
			t.Errorf("%v: exit %d", s, exit)
		}
		if got := p.status(); got != stateRunning {
			t.Errorf("%v: status %q", s, got)
		}
	}
}

func TestTermDuringTheStartKills(t *testing.T) {
	t.Parallel()
	p := newWorld(t, nil, "ZEEK_STANDIN_SLOW=1h").start("-U", "status", "-i", "lo")
	p.waitFor(stateInitializing)
	p.signal(syscall.SIGTERM)
	if exit := p.wait(); exit != -int(syscall.SIGTERM) {
		t.Errorf("exit %d", exit)
	}
	if got := p.status(); got != stateInitializing {
		t.Errorf("status %q", got)
	}
}

func TestHupChangesTheStatusAlone(t *testing.T) {
	t.Parallel()
	p := newWorld(t, nil).start("-U", "status", "-i", "lo")
	p.waitFor(stateRunning)
	p.signal(syscall.SIGHUP)
	p.waitFor(stateSignalled)
	select {
	case <-p.ended:
		t.Fatal("HUP ended it")
	case <-time.After(50 * time.Millisecond): // that it goes on has no event to wait for
	}
	p.signal(syscall.SIGTERM)
	if exit := p.wait(); exit != 0 || p.status() != stateTerminated {
		t.Errorf("exit %d, status %q", exit, p.status())
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		env    []string
		exit   int
		status string
		stderr string
	}{
		{"crash at once", []string{"ZEEK_STANDIN_CRASH=now"}, -int(syscall.SIGSEGV), stateInitializing, ""},
		{"crash later", []string{"ZEEK_STANDIN_CRASH=0.05"}, -int(syscall.SIGSEGV), stateRunning, "listening on lo\n\n"},
		{"exit at once", []string{"ZEEK_STANDIN_EXIT=7"}, 7, stateTerminated, ""},
		{"exit later", []string{"ZEEK_STANDIN_EXIT=8@0.05"}, 8, stateTerminated, "listening on lo\n\n"},
		{"with words", []string{"ZEEK_STANDIN_EXIT=1", "ZEEK_STANDIN_STDERR=fatal error: no luck"}, 1, stateTerminated, "fatal error: no luck\n"},
		{"misunderstood", []string{"ZEEK_STANDIN_HANG=yes"}, 1, "", "ERROR: ZEEK_STANDIN_HANG: cannot understand \"yes\"\n"},
		{"file is there", []string{"ZEEK_STANDIN_EXIT=9", "ZEEK_STANDIN_WHEN=."}, 9, stateTerminated, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p, exit := newWorld(t, nil, c.env...).run("-U", "status", "-i", "lo")
			if exit != c.exit || p.status() != c.status || p.stderr.String() != c.stderr {
				t.Errorf("exit %d, status %q, stderr %q", exit, p.status(), p.stderr.String())
			}
		})
	}
}

func TestFaultOnlyWhileAFileExists(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "ZEEK_STANDIN_CRASH=now", "ZEEK_STANDIN_WHEN=bad")
	p := w.start("-U", "status", "-i", "lo")
	p.waitFor(stateRunning)
	p.signal(syscall.SIGTERM)
	if exit := p.wait(); exit != 0 {
		t.Errorf("exit %d without the file", exit)
	}
	if err := os.WriteFile(filepath.Join(w.dir, "bad"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, exit := w.run("-U", "status", "-i", "lo"); exit != -int(syscall.SIGSEGV) {
		t.Errorf("exit %d with the file", exit)
	}
}

func TestHangs(t *testing.T) {
	t.Parallel()
	p := newWorld(t, nil, "ZEEK_STANDIN_HANG=stop").start("-U", "status", "-i", "lo")
	p.waitFor(stateRunning)
	p.signal(syscall.SIGTERM)
	p.waitFor(stateSignalled)
	p.signal(syscall.SIGKILL)
	if exit := p.wait(); exit != -int(syscall.SIGKILL) {
		t.Errorf("stop: exit %d", exit)
	}

	p = newWorld(t, nil, "ZEEK_STANDIN_HANG=start").start("-U", "status", "-i", "lo")
	p.waitFor(stateInitializing)
	select {
	case <-p.ended:
		t.Error("start: ended")
	case <-time.After(150 * time.Millisecond): // three times what a start takes
	}
	if got := p.status(); got != stateInitializing {
		t.Errorf("start: status %q", got)
	}
}

func TestSlowStop(t *testing.T) {
	t.Parallel()
	p := newWorld(t, nil, "ZEEK_STANDIN_SLOW_STOP=100ms").start("-U", "status", "-i", "lo")
	p.waitFor(stateRunning)
	p.signal(syscall.SIGTERM)
	p.waitFor(stateTerminating)
	if exit := p.wait(); exit != 0 {
		t.Errorf("exit %d", exit)
	}
}

// A lock on an inherited descriptor lasts as long as the process: that is how
// zeekrec knows that a node lives.
func TestKeepsInheritedDescriptors(t *testing.T) {
	t.Parallel()
	lock := filepath.Join(t.TempDir(), "node.lock")
	take := func() (*os.File, error) {
		f, err := os.OpenFile(lock, os.O_CREATE|os.O_RDWR, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		return f, syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	}
	held, err := take()
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, nil)
	p := w.prepare("-U", "status", "-i", "lo")
	p.cmd.ExtraFiles = []*os.File{held}
	p.begin()
	held.Close()
	p.waitFor(stateRunning)

	f, err := take()
	f.Close()
	if err == nil {
		t.Error("the lock was free beside a running process")
	}
	p.signal(syscall.SIGKILL)
	p.wait()
	f, err = take()
	f.Close()
	if err != nil {
		t.Errorf("the lock outlived the process: %v", err)
	}
}

func TestListensWhereANodeWould(t *testing.T) {
	t.Parallel()
	port, metrics, xpub, xsub := freePort(t), freePort(t), freePort(t), freePort(t)
	files := map[string]string{
		"cluster-layout.zeek": layout(port, metrics),
		"endpoints.zeek": fmt.Sprintf("redef Cluster::Backend::ZeroMQ::listen_xpub_endpoint = \"tcp://127.0.0.1:%d\";\n"+
			"redef Cluster::Backend::ZeroMQ::listen_xsub_endpoint = \"tcp://127.0.0.1:%d\";\n", xpub, xsub),
	}
	open := func(port int) bool {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			c.Close()
		}
		return err == nil
	}
	for _, c := range []struct {
		node string
		want [4]bool // port, metrics, xpub, xsub
	}{
		{"worker-1", [4]bool{}},
		{"logger-1", [4]bool{true, true, false, false}},
		{"manager", [4]bool{false, false, true, true}},
	} {
		p := newWorld(t, files, "CLUSTER_NODE="+c.node).start("-U", "status", zeromq, "endpoints")
		p.waitFor(stateRunning)
		if got := [4]bool{open(port), open(metrics), open(xpub), open(xsub)}; got != c.want {
			t.Errorf("%s: open %v, want %v", c.node, got, c.want)
		}
		if c.node == "logger-1" {
			body := get(t, metrics, "/metrics")
			if !strings.HasPrefix(body, "HTTP/1.1 200 OK\r\n") || !strings.Contains(body, `zeek_version_info{version_string=`) || !strings.Contains(body, `node="logger-1"} 1`) {
				t.Errorf("metrics: %q", body)
			}
			if body := get(t, metrics, "/"); !strings.HasPrefix(body, "HTTP/1.1 404 Not Found\r\n") {
				t.Errorf("/: %q", body)
			}
		}
		p.signal(syscall.SIGTERM)
		if exit := p.wait(); exit != 0 {
			t.Errorf("%s: exit %d", c.node, exit)
		}
	}
}

func get(t *testing.T, port int, path string) string {
	t.Helper()
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", path)
	answer, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(answer)
}

// Hundreds run at a time in other tests.
func TestIsSmall(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil, "logger-1", "worker-1")
	c.start("worker-1")
	c.running["worker-1"].waitFor(stateRunning)
	for what, p := range map[string]*process{
		"alone":        newWorld(t, nil).start("-U", "status", "-i", "lo", "local"),
		"in a cluster": c.running["worker-1"],
	} {
		p.waitFor(stateRunning)
		isSmall(t, what, p)
	}
}

func isSmall(t *testing.T, what string, p *process) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(data), "VmRSS:")
	kib := 0
	if _, err := fmt.Sscan(after, &kib); err != nil || kib == 0 || kib > 12*1024 {
		t.Errorf("%s: resident: %d KiB (%v), want at most 12 MiB", what, kib, err)
	}
}
