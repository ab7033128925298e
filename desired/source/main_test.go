package source

import (
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/zeekrec/zeekrec/desired"
)

func TestMain(m *testing.M) {
	flag.Parse()
	_ = flag.Set("test.parallel", "16") // these tests wait, they do not compute
	goleak.VerifyTestMain(m)
}

// quick are options for tests: everything that waits waits less.
var quick = Options{
	Quiet: 80 * time.Millisecond, MaxWait: 2 * time.Second, Hold: 6 * time.Second,
	Rescan: 20 * time.Second, Poll: 100 * time.Millisecond, Timeout: 10 * time.Second,
}

// patience is how long tests wait for what must come.
const patience = 8 * time.Second

// follow runs a Folder until the test ends.
func follow(t *testing.T, f *Folder) *Folder {
	t.Helper()
	done := make(chan error)
	go func() { done <- f.Run(t.Context()) }()
	t.Cleanup(func() { // t.Context() has ended by now
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(patience):
			t.Error("Run has not ended with its context")
		}
	})
	return f
}

// await takes updates until one is as wanted. Each is seen by check, when that is given.
func await(t *testing.T, f *Folder, what string, wanted func(Update) bool, checks ...func(Update)) Update {
	t.Helper()
	var last Update
	deadline := time.After(patience)
	for {
		select {
		case last = <-f.Updates():
			if (last.Err == nil) != (last.Snapshot != nil) {
				t.Fatalf("an update has either a snapshot or an error, not %+v", last)
			}
			for _, check := range checks {
				check(last)
			}
			if wanted(last) {
				return last
			}
		case <-deadline:
			t.Fatalf("no update in which %s; the last one: %s", what, describe(last))
		}
	}
}

// none fails if an update comes within d which is not merely a refresh of the last.
func none(t *testing.T, f *Folder, last Update, d time.Duration) {
	t.Helper()
	deadline := time.After(d)
	for {
		select {
		case u := <-f.Updates():
			if u.Snapshot != last.Snapshot || text(u.Err) != text(last.Err) {
				t.Fatalf("an update though nothing is to be told: %s", describe(u))
			}
		case <-deadline:
			return
		}
	}
}

func describe(u Update) string {
	if u.Err != nil {
		return "error: " + u.Err.Error()
	}
	if u.Snapshot == nil {
		return "none"
	}
	var b strings.Builder
	for _, cf := range u.Snapshot.Files {
		fmt.Fprintf(&b, "%s(%d bytes, %d files, %v) ", cf.Name, len(cf.Data), len(cf.Tree), cf.Err)
	}
	return fmt.Sprintf("%spending %v, degraded %v", b.String(), u.Pending, u.Degraded)
}

// holds wants a cluster's file to be data, and readable.
func holds(cluster, data string) func(Update) bool {
	return func(u Update) bool {
		cf, ok := find(u, cluster)
		return ok && cf.Err == nil && string(cf.Data) == data
	}
}

func failed(kind Kind) func(Update) bool {
	return func(u Update) bool { return kindOfError(u.Err) == kind }
}

func find(u Update, cluster string) (desired.ClusterFile, bool) {
	if u.Snapshot == nil {
		return desired.ClusterFile{}, false
	}
	return u.Snapshot.Find(cluster)
}

func kindOfError(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return ""
}

// text of some size that shows whether it is whole, so that no half of one, and no mixture of two, passes.
func marked(n, lines int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# begin %d\n", n)
	for i := range lines {
		fmt.Fprintf(&b, "[worker-%d-%d]\nrole = worker\n", n, i)
	}
	return fmt.Sprintf("%s# end %x\n", b.String(), sha256.Sum256([]byte(b.String())))
}

func isWhole(data []byte) bool {
	body, sum, ok := strings.Cut(string(data), "# end ")
	return ok && sum == fmt.Sprintf("%x\n", sha256.Sum256([]byte(body)))
}

func write(t *testing.T, path, data string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(t, os.WriteFile(path, []byte(data), 0o644))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
