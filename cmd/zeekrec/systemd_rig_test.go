//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/cmd/internal/systemdtest"
	"github.com/zeekrec/zeekrec/reconciler/engine"
)

// unitRig is a machine with its own systemd, in which `zeekrec run` is a service.
type unitRig struct {
	*systemdtest.Machine
	t     *testing.T
	zeek  string // the program that nodes are
	share string // bin, zeek, clusters/: of the host, at the same path in the machine
}

// unitState is where zeekrec's state is in the machine.
const unitState = "/var/lib/zeekrec"

func newUnitRig(t *testing.T, zeek string, args ...string) *unitRig {
	t.Helper()
	if why := systemdtest.Missing(); why != "" {
		t.Skip(why)
	}
	r := &unitRig{t: t, share: t.TempDir()}
	if err := os.Mkdir(r.path("clusters"), 0o755); err != nil {
		t.Fatal(err)
	}
	if zeek == "" {
		r.copy(build(t, "./testdata/zeek", ""), "zeek")
		zeek = r.path("zeek")
	}
	r.zeek = zeek
	r.copy(build(t, "./cmd/zeekrec", "-X github.com/zeekrec/zeekrec/cmd/internal/cli.version=1.0.0"), "zeekrec")
	unit := fmt.Sprintf(`[Unit]
Description=zeekrec under test
[Service]
ExecStart=%s run %s --zeek %s --state-dir %s --name agent-test --archive-dir /var/log/zeek --log-level debug %s
KillMode=process
Restart=always
RestartSec=100ms
TimeoutStopSec=100
[Install]
WantedBy=multi-user.target
`, r.path("zeekrec"), r.path("clusters"), zeek, unitState, strings.Join(args, " "))
	r.Machine = systemdtest.Boot(t, systemdtest.Config{
		Share: []string{r.share},
		Files: map[string]string{"/etc/systemd/system/zeekrec.service": unit},
	})
	return r
}

func (r *unitRig) path(name string) string { return filepath.Join(r.share, name) }

func (r *unitRig) copy(from, name string) {
	r.t.Helper()
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(r.path(name), b, 0o755)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// save a cluster dmz, at once as editors do.
func (r *unitRig) save(content string) {
	r.t.Helper()
	tmp := r.path("clusters/.dmz.cfg.tmp")
	if err := os.WriteFile(tmp, []byte(content), 0o644); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Rename(tmp, r.path("clusters/dmz.cfg")); err != nil {
		r.t.Fatal(err)
	}
}

func (r *unitRig) zeekrec(args ...string) string {
	r.t.Helper()
	return r.Run(r.t, append([]string{r.path("zeekrec")}, append(args, "--state-dir", unitState)...)...)
}

func (r *unitRig) status() (*engine.Status, error) {
	ctx, cancel := context.WithTimeout(r.t.Context(), 10*time.Second)
	defer cancel()
	out, err := r.Command(ctx, r.path("zeekrec"), "status", "--json", "--state-dir", unitState).Output()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || len(out) == 0) {
		return nil, err
	}
	var s engine.Status
	return &s, json.Unmarshal(out, &s)
}

// cluster waits until ok says nil of the cluster dmz.
func (r *unitRig) cluster(what string, wait time.Duration, ok func(engine.ClusterStatus) error) engine.ClusterStatus {
	r.t.Helper()
	var last error
	for end := time.Now().Add(wait); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		s, err := r.status()
		if last = err; err != nil {
			continue
		}
		i := slices.IndexFunc(s.Clusters, func(c engine.ClusterStatus) bool { return c.Name == "dmz" })
		if last = errors.New("there is no cluster dmz"); i < 0 {
			continue
		}
		if last = ok(s.Clusters[i]); last == nil {
			return s.Clusters[i]
		}
	}
	r.t.Fatalf("%s: not within %s: %v", what, wait, last)
	panic("not reached")
}

func (r *unitRig) settled(before string) engine.ClusterStatus {
	r.t.Helper()
	return r.cluster("the cluster is synced and healthy", 3*waitLong, func(c engine.ClusterStatus) error {
		if !c.Synced || !c.Healthy || c.Revision.Running == before {
			return fmt.Errorf("synced %t, healthy %t, running %s (was %s), reason %q", c.Synced, c.Healthy, c.Revision.Running, before, c.Reason)
		}
		return nil
	})
}

// resource of a cluster by its name.
func resource(c engine.ClusterStatus, name string) engine.ResourceStatus {
	if i := slices.IndexFunc(c.Resources, func(r engine.ResourceStatus) bool { return r.Name == name }); i >= 0 {
		return c.Resources[i]
	}
	return engine.ResourceStatus{}
}

// kernel reads what the kernel has of a unit below zeek.slice, with version 1 or 2 of its cgroups.
func (r *unitRig) kernel(unit, v1, v2 string) string {
	r.t.Helper()
	controller, file, _ := strings.Cut(v1, "/")
	return strings.TrimSpace(r.Run(r.t, "sh", "-c", fmt.Sprintf(
		"cat /sys/fs/cgroup/%s/zeek.slice/%s/%s 2>/dev/null || cat /sys/fs/cgroup/zeek.slice/%s/%s", controller, unit, file, unit, v2)))
}

// unitCluster is a cluster of five, beside its broker and archiver.
func unitCluster(more string) string {
	return config{workers: map[string]string{"worker-1": "", "worker-2": ""}, all: more}.String()
}

// longSystemd is for what `make test` has no time for.
func longSystemd(t *testing.T) {
	t.Helper()
	if os.Getenv("ZEEKREC_E2E") == "" {
		t.Skip("part of make test-systemd")
	}
}
