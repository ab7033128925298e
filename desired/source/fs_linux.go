package source

import (
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Magic numbers that x/sys/unix has no name for.
const (
	magicLustre = 0x0bd00bd0
	magicGPFS   = 0x47504653
	magicVBoxSF = 0x786f4256
	magicGFS2   = 0x01161970
)

// isRemote reports whether changes may be made to the folder's file system that no event of this
// machine's kernel tells of.
func isRemote(folder *os.File) bool {
	conn, err := folder.SyscallConn()
	if err != nil {
		return false
	}
	var st unix.Statfs_t
	err = conn.Control(func(fd uintptr) {
		if unix.Fstatfs(int(fd), &st) != nil {
			st.Type = 0
		}
	})
	if err != nil {
		return false
	}
	switch uint32(st.Type) {
	case unix.NFS_SUPER_MAGIC, unix.SMB_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC,
		unix.FUSE_SUPER_MAGIC, unix.V9FS_MAGIC, unix.AFS_SUPER_MAGIC, unix.AFS_FS_MAGIC,
		unix.CEPH_SUPER_MAGIC, unix.CODA_SUPER_MAGIC, unix.NCP_SUPER_MAGIC, unix.OCFS2_SUPER_MAGIC,
		magicLustre, magicGPFS, magicVBoxSF, magicGFS2:
		return true
	}
	return false
}

// deviceOf says which file system something is on; 0 where that is unknown.
func deviceOf(fi fs.FileInfo) uint64 {
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		return st.Dev
	}
	return 0
}
