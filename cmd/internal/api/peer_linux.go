package api

import (
	"net"
	"os/user"
	"strconv"

	"golang.org/x/sys/unix"
)

// peer is the name of the user at the other end of a connection; empty where it cannot be told.
func peer(c net.Conn) string {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return ""
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return ""
	}
	var cred *unix.Ucred
	if err := raw.Control(func(fd uintptr) {
		cred, _ = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil || cred == nil {
		return ""
	}
	uid := strconv.FormatUint(uint64(cred.Uid), 10)
	if who, err := user.LookupId(uid); err == nil {
		return who.Username
	}
	return "uid " + uid
}
