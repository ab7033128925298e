package source

import "strings"

const extension = ".cfg"

// ClusterName returns the cluster that a file directly in a source describes; ok is false where it describes none.
func ClusterName(file string) (name string, ok bool) { return clusterName(file) }

// Leftover reports whether a name is one that no source reads: hidden, a backup, a temporary file.
func Leftover(name string) bool { return leftover(name) }

// clusterName returns the cluster that a file in the source folder describes, if it describes one.
func clusterName(file string) (string, bool) {
	name, ok := strings.CutSuffix(file, extension)
	return name, ok && name != "" && !leftover(file)
}

// leftover reports whether a name is one that editors, copiers and version control leave beside the
// files that count: hidden files (.git, .dmz.cfg.swp, .#dmz.cfg, rsync's .dmz.cfg.x7Yz), backups (~),
// emacs's autosave (#…#), temporary files, JetBrains' safe write.
// Kubernetes' ..data is hidden, too: it counts by what links into it.
func leftover(name string) bool {
	if strings.HasPrefix(name, ".") || strings.HasPrefix(name, "#") && strings.HasSuffix(name, "#") {
		return true
	}
	for _, s := range [...]string{"~", ".swp", ".swo", ".swx", ".tmp", "___jb_tmp___", "___jb_old___"} {
		if strings.HasSuffix(name, s) {
			return true
		}
	}
	return false
}
