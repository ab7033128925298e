package agent

import (
	"os"
	"path/filepath"
	"strings"
	"time"
)

// sweep removes generated files and trees that no record names. What was made or asked for lately stays:
// it may be about to be used.
func (a *Agent) sweep() {
	clusters, err := os.ReadDir(filepath.Join(a.cfg.StateDir, "clusters"))
	if err != nil {
		a.log.Warn("cannot sweep", "error", err)
		return
	}
	for _, c := range clusters {
		used, err := a.used(c.Name())
		if err != nil {
			a.log.Warn("cannot sweep", "cluster", c.Name(), "error", err)
			continue
		}
		for _, kind := range []string{"gen", "files"} {
			a.sweepFolder(filepath.Join(a.clusterDir(c.Name()), kind), used)
		}
	}
}

// used are the folders that the records of a cluster's resources name. A record that cannot be read
// might name any.
func (a *Agent) used(cluster string) (map[string]bool, error) {
	used := map[string]bool{}
	nodes, err := os.ReadDir(filepath.Join(a.clusterDir(cluster), "nodes"))
	if err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	tree := func(hash string) { used[filepath.Join(a.clusterDir(cluster), "files", hash)] = true }
	for _, n := range nodes {
		f := a.folder(cluster, n.Name())
		told, err := readJSON[toldRecord](f.told())
		if err != nil {
			return nil, err
		}
		if told != nil && told.Resource.Node != nil {
			tree(told.Resource.Node.Files)
		}
		last, err := readJSON[runningRecord](f.running())
		if err != nil {
			return nil, err
		}
		if last != nil {
			used[last.Command.GenDir] = true
			if last.Resource.Node != nil {
				tree(last.Resource.Node.Files)
			}
		}
	}
	return used, nil
}

func (a *Agent) sweepFolder(dir string, used map[string]bool) {
	a.dirs.Lock()
	defer a.dirs.Unlock()
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		info, err := e.Info()
		if err != nil || used[path] || a.cfg.Now().Sub(info.ModTime()) < max(a.cfg.Timings.Sweep, time.Minute) {
			continue
		}
		if err := os.RemoveAll(path); err != nil {
			a.log.Warn("cannot sweep", "folder", path, "error", err)
		} else if !strings.HasPrefix(e.Name(), ".") {
			a.log.Debug("swept", "folder", path)
		}
	}
}
