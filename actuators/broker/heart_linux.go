package broker

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// sending asks the kernel; ok is false for what is no TCP connection.
func sending(conn net.Conn) (p progress, ok bool) {
	c, is := conn.(*net.TCPConn)
	if !is {
		return progress{}, false
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return progress{}, false
	}
	var info *unix.TCPInfo
	err = raw.Control(func(fd uintptr) {
		info, err = unix.GetsockoptTCPInfo(int(fd), syscall.IPPROTO_TCP, unix.TCP_INFO)
	})
	if err != nil || info == nil {
		return progress{}, false
	}
	return progress{info.Bytes_acked, info.Unacked > 0 || info.Notsent_bytes > 0}, true
}
