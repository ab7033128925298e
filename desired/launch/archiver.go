package launch

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"time"

	"github.com/zeekrec/zeekrec/desired"
)

// HelperFiles are where a process of zeekrec's own, a broker or an archiver, is told what it is to be.
type HelperFiles struct {
	// Admin is its local socket.
	Admin string
	// Settings is read when it starts; whoever starts it writes it before.
	Settings string
}

// ArchiverFilesOf the archiver whose folder is nodeDir (Place.NodeDir).
func ArchiverFilesOf(nodeDir string) HelperFiles {
	work := filepath.Join(nodeDir, "work")
	return HelperFiles{Admin: filepath.Join(work, "admin.sock"), Settings: filepath.Join(work, "settings.json")}
}

// QueueDir is where the loggers of a cluster put rotated logs, and its archiver takes them from.
func QueueDir(clusterDir string) string { return filepath.Join(clusterDir, "queue") }

// renderArchiver makes the launch of zeekrec's own archiver. What can be changed while it runs is not on the command
// line, so that a change of it leaves nothing outdated.
func renderArchiver(r *desired.Resource, p Place) (Launch, error) {
	if !filepath.IsAbs(p.Self) {
		return Launch{}, fmt.Errorf("cannot render %s: the path of zeekrec, %q, is not absolute", r.Key(), p.Self)
	}
	s := r.Archiver
	f := ArchiverFilesOf(p.NodeDir)
	if n := len(f.Admin); n > longestSocket {
		return Launch{}, fmt.Errorf("cannot render %s: its socket %s has a path of %d bytes, and %d is the limit: use a state folder with a shorter one", r.Key(), f.Admin, n, longestSocket)
	}
	l := Launch{
		Dir:        filepath.Join(p.NodeDir, "work"),
		QueueDir:   QueueDir(p.ClusterDir),
		StatusFile: statusFile(p),
		Files:      map[string]string{},
		User:       cmp.Or(s.User, p.User), CPUs: s.CPUs, Nice: s.Nice, OpenFiles: s.OpenFiles,
	}
	l.Argv = []string{p.Self, "archive", "--admin", f.Admin, "--settings", f.Settings, "-U", l.StatusFile}
	if s.MetricsPort != 0 {
		l.Argv = append(l.Argv, "--metrics", net.JoinHostPort(s.MetricsAddress, strconv.Itoa(s.MetricsPort)))
	}
	l.Argv = append(l.Argv, l.QueueDir)
	l.Env = variables(map[string]string{
		"PATH": systemPath,
		"HOME": l.Dir,
		"LANG": "C.UTF-8",
	})
	l.Hash = l.hash("")
	l.GenDir = filepath.Join(p.ClusterDir, "gen", l.Hash)
	return l, nil
}

// ArchiverSettings is the content of HelperFiles.Settings: the JSON of actuators/archive.Settings, with what is the default
// left out, and durations in nanoseconds. dir is the agent's default for who states none.
func ArchiverSettings(r *desired.Resource, dir string) []byte {
	s := r.Archiver
	if s.Dir != "" {
		dir = s.Dir
	}
	type share struct {
		Percent int   `json:"percent,omitempty"`
		Bytes   int64 `json:"bytes,omitempty"`
	}
	free := share{Bytes: int64(s.MinFree.N)}
	if s.MinFree.Percent {
		free = share{Percent: s.MinFree.N}
	}
	b, err := json.Marshal(struct {
		Root     string        `json:"root"`
		Compress string        `json:"compress,omitempty"`
		Keep     time.Duration `json:"keep,omitempty"`
		MinFree  share         `json:"min_free,omitzero"`
		Interval time.Duration `json:"interval,omitempty"`
		Command  string        `json:"command,omitempty"`
		Parallel int           `json:"parallel,omitempty"`
		Rate     int64         `json:"rate,omitempty"`
		UTC      bool          `json:"utc,omitempty"`
	}{
		desired.ArchiveRoot(dir, s.Layout, r.Cluster, r.Instance), s.Compress, time.Duration(s.KeepSeconds) * time.Second, free,
		time.Duration(s.IntervalSeconds) * time.Second, s.Command, s.Parallel, s.Rate, s.UTC,
	})
	if err != nil { // numbers and words can be marshalled
		return []byte("{}\n")
	}
	return append(b, '\n')
}
