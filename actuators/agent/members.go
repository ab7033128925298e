package agent

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"time"

	"github.com/google/renameio/v2"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/desired/launch"
)

// follows reports whether the process was started to follow the table of its cluster's nodes.
func (u *unit) follows() bool {
	return u.proc != nil && u.last != nil && u.last.Resource.Node != nil && u.last.Resource.Node.Membership == desired.MembershipLive
}

// tellMembers lets the process know the nodes of its cluster as they were told last.
func (u *unit) tellMembers() {
	u.unwritten = ""
	if u.follows() {
		u.writeMembers()
	}
}

// writeMembers renews the table where it is to be followed. Where that fails it is tried again at each tick, and until
// then the process is not healthy; one that starts has the layout, at least.
func (u *unit) writeMembers() {
	u.unwritten = ""
	if u.told == nil || u.told.Resource.Node == nil || u.told.Resource.Node.Membership != desired.MembershipLive {
		return
	}
	if err := putTable(u.dir.members(), launch.Members(u.told.Resource.Node.Layout), u.now()); err != nil {
		u.unwritten = "cannot tell it the nodes of its cluster: " + err.Error()
	}
}

// putTable replaces a table in one piece, and leaves one alone that says the same. Zeek sees a change by the inode and
// the second of the last change, and the inode of the one before last may be used again: so no two tables that follow
// each other are of the same second.
func putTable(path string, content []byte, now time.Time) error {
	old, err := os.ReadFile(path)
	if err == nil && bytes.Equal(old, content) {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if info, err := os.Stat(path); err == nil && now.Unix() <= info.ModTime().Unix() {
		now = info.ModTime().Add(time.Second)
	}
	f, err := renameio.NewPendingFile(path, renameio.WithStaticPermissions(0o644)) // its reader may be another user
	if err != nil {
		return err
	}
	defer func() { _ = f.Cleanup() }()
	if _, err := f.Write(content); err != nil {
		return err
	}
	if err := os.Chtimes(f.Name(), now, now); err != nil {
		return err
	}
	return f.CloseAtomicallyReplace()
}
