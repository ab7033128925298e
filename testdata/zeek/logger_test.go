package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// loggerScript has a logger rotate into queue/, named for the archiver.
const loggerScript = `
@if ( Cluster::local_node_type() == Cluster::LOGGER )
redef Log::default_rotation_interval = %s;
redef Log::default_rotation_dir = "queue";
redef Log::rotation_format_func = archiver_rotation_format_func;
redef archiver_log_metadata += { ["log_suffix"] = Cluster::node };
redef LogAscii::enable_leftover_log_rotation = T;
redef Log::default_rotation_postprocessor_cmd = "";
@endif
`

func newLogger(t *testing.T, interval string, env ...string) *world {
	t.Helper()
	return newWorld(t, map[string]string{
		"cluster-layout.zeek": layout(freePort(t), 0),
		"logging.zeek":        fmt.Sprintf(loggerScript, interval),
	}, append(env, "CLUSTER_NODE=logger-1")...)
}

// list returns the names in a folder, the numbers of their times made zeros, each once.
func list(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	digits := regexp.MustCompile(`\d{4}-\d\d-\d\d-\d\d-\d\d-\d\d`)
	var names []string
	for _, e := range entries {
		name := digits.ReplaceAllString(e.Name(), "TIME")
		if len(names) == 0 || names[len(names)-1] != name {
			names = append(names, name)
		}
	}
	return names
}

// uids collects the uids of all conn logs in a folder.
func uids(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "conn*.log"))
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			if !strings.HasPrefix(line, "#") {
				found = append(found, strings.Split(line, "\t")[1])
			}
		}
	}
	return found
}

func TestLoggerWritesRotatesAndLeavesStats(t *testing.T) {
	t.Parallel()
	w := newLogger(t, "1 sec", "ZEEK_STANDIN_LOG_RATE=200")
	p := w.start("-U", "status", zeromq, "logging", "local")
	p.waitFor(stateRunning)
	queue := filepath.Join(w.dir, "queue")
	eventually(t, "a second rotated conn.log", func() bool {
		found, err := filepath.Glob(filepath.Join(queue, "conn__*.log"))
		return err == nil && len(found) >= 2
	})
	if header := p.file("conn.log"); header != "" && !strings.HasPrefix(header, "#separator \\x09\n") {
		t.Errorf("conn.log begins %.40q", header)
	}
	p.signal(syscall.SIGTERM)
	if exit := p.wait(); exit != 0 {
		t.Errorf("exit %d, stderr %q", exit, p.stderr.String())
	}
	want := []string{
		"conn__TIME__TIME__log_suffix=logger-1__.log",
		"dns__TIME__TIME__log_suffix=logger-1__.log",
		"reporter__TIME__TIME__log_suffix=logger-1__.log",
	}
	if diff := cmp.Diff(want, list(t, queue)); diff != "" {
		t.Errorf("queue, -want +got:\n%s", diff)
	}
	want = []string{".shadow.stats.log", ".shadow.telemetry.log", "cluster-layout.zeek", "logging.zeek", "queue", "stats.log", "status", "telemetry.log"}
	if diff := cmp.Diff(want, list(t, w.dir)); diff != "" {
		t.Errorf("folder, -want +got:\n%s", diff)
	}
	for i, uid := range uids(t, queue) {
		if !strings.HasSuffix(uid, fmt.Sprintf("%07d", i)) {
			t.Fatalf("line %d has uid %s", i, uid)
		}
	}
}

func TestKilledLoggersLogsAreRotatedAtTheNextStart(t *testing.T) {
	t.Parallel()
	w := newLogger(t, "1 hr")
	p := w.start("-U", "status", zeromq, "logging")
	eventually(t, "a line in conn.log", func() bool { return strings.Contains(p.file("conn.log"), "stand-in") })
	p.signal(syscall.SIGKILL)
	p.wait()

	p = w.start("-U", "status", zeromq, "logging")
	eventually(t, "rotation of what was left", func() bool { return len(uids(t, filepath.Join(w.dir, "queue"))) > 0 })
	p.waitFor(stateRunning)
	p.signal(syscall.SIGTERM)
	if exit := p.wait(); exit != 0 {
		t.Errorf("exit %d", exit)
	}
	said := regexp.MustCompile(`Rotated/postprocessed leftover log '.*/conn.log' -> 'queue/conn__[-\d]+__[-\d]+__log_suffix=logger-1__.log' \n`)
	if !said.MatchString(p.stderr.String()) {
		t.Errorf("stderr %q", p.stderr.String())
	}
}

func TestLeftoverThatCannotBeMovedIsFatal(t *testing.T) {
	t.Parallel()
	w := newLogger(t, "1 hr")
	for name, content := range map[string]string{"conn.log": "x\n", ".shadow.conn.log": ".log\n\n", "queue": "no folder"} {
		if err := os.WriteFile(filepath.Join(w.dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p, exit := w.run("-U", "status", zeromq, "logging")
	want := "fatal error: Found leftover/unprocessed log '" + w.dir + "/conn.log', but failed to rotate it: Not a directory\n"
	if exit != 1 || p.stderr.String() != want || p.status() != stateFatal {
		t.Errorf("exit %d, status %q, stderr %q", exit, p.status(), p.stderr.String())
	}
}

// Without a redef of Log::default_rotation_postprocessor_cmd, a logger calls
// archive-log, which is not there: a forgotten line in a generated script shows.
func TestPostprocessorIsCalled(t *testing.T) {
	t.Parallel()
	w := newWorld(t, map[string]string{"cluster-layout.zeek": layout(freePort(t), 0)}, "CLUSTER_NODE=logger-1")
	p := w.start("-U", "status", zeromq)
	eventually(t, "a line in conn.log", func() bool { return strings.Contains(p.file("conn.log"), "stand-in") })
	p.signal(syscall.SIGTERM)
	if exit := p.wait(); exit != 0 || !strings.Contains(p.stderr.String(), "archive-log") {
		t.Errorf("exit %d, stderr %q", exit, p.stderr.String())
	}

	p = w.start("-U", "status", zeromq, `Log::default_rotation_postprocessor_cmd="echo >>called"`)
	eventually(t, "a line in conn.log", func() bool { return strings.Contains(p.file("conn.log"), "stand-in") })
	p.signal(syscall.SIGTERM)
	if exit := p.wait(); exit != 0 {
		t.Errorf("exit %d, stderr %q", exit, p.stderr.String())
	}
	call := regexp.MustCompile(`(?m)^conn\.[-\d]+\.log conn [-\d_.]+ [-\d_.]+ 1 ascii$`)
	if !call.MatchString(p.file("called")) {
		t.Errorf("called with %q", p.file("called"))
	}
}

func TestWorkersDoNotLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t, map[string]string{"cluster-layout.zeek": layout(1, 1)}, "CLUSTER_NODE=worker-1")
	p := w.start("-U", "status", "-i", "lo", zeromq, "local")
	p.waitFor(stateRunning)
	p.signal(syscall.SIGTERM)
	p.wait()
	if diff := cmp.Diff([]string{"cluster-layout.zeek", "status"}, list(t, w.dir)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
