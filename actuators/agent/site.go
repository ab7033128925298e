package agent

import (
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"

	"github.com/zeekrec/zeekrec/desired/launch"
)

// showFiles lets the node's link to NAME/ lead to what it was told. A process that loaded other scripts from there gets them with its
// next start: until then it, and whatever takes its place after a crash, sees what belongs together. Where it fails it is tried again
// at each tick.
func (u *unit) showFiles() {
	u.unshown = ""
	if u.told == nil || u.told.Resource.Node == nil {
		return
	}
	n := u.told.Resource.Node
	if n.Loaded == "" || n.Files == "" {
		return
	}
	if u.proc != nil && (u.last == nil || u.last.Resource.Node == nil || u.last.Resource.Node.Loaded != n.Loaded) {
		return
	}
	link, target := launch.SiteOf(string(u.dir)), filepath.Join(u.dir.cluster(), "files", n.Files)
	if is, err := os.Readlink(link); err == nil && is == target {
		return
	}
	if err := renameio.Symlink(target, link); err != nil {
		u.unshown = "cannot show it the files of its cluster: " + err.Error()
	}
}
