package agent

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestPassable(t *testing.T) {
	root, err := os.MkdirTemp("", "passable")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	inner := filepath.Join(root, "clusters", "dmz")
	if err := os.MkdirAll(inner, 0o755); err != nil {
		t.Fatal(err)
	}
	me, mine := uint32(os.Getuid()), uint32(os.Getgid())
	stranger := &syscall.Credential{Uid: me + 4711, Gid: mine + 4711}
	member := &syscall.Credential{Uid: me + 4711, Gid: mine + 4711, Groups: []uint32{mine}}
	for _, tt := range []struct {
		name string
		mode os.FileMode
		who  *syscall.Credential
		ok   bool
	}{
		{"zeekrec's own user", 0o700, nil, true},
		{"others may enter", 0o711, stranger, true},
		{"others may not", 0o700, stranger, false},
		{"others may read, which is not enough", 0o704, stranger, false},
		{"by a group", 0o710, member, true},
		{"the group may not, whatever others may", 0o701, member, false},
	} {
		if err := os.Chmod(root, tt.mode); err != nil {
			t.Fatal(err)
		}
		err := passable(filepath.Join(inner, "not", "there", "yet"), tt.who)
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
		if err != nil && !strings.Contains(err.Error(), root+" (mode") {
			t.Errorf("%s: the error does not say which folder: %v", tt.name, err)
		}
	}
}
