package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// doorPoll is how often a door is looked at that is being closed.
const doorPoll = 3 * time.Millisecond

// TCP states (include/net/tcp_states.h) in which the peer has not said yet that nothing more comes.
var tcpOpen = []uint8{unix.BPF_TCP_ESTABLISHED, unix.BPF_TCP_SYN_RECV, unix.BPF_TCP_FIN_WAIT1, unix.BPF_TCP_FIN_WAIT2}

// CloseDoor lets a process that collects what others send to its TCP port finish: nobody new gets in, those who are
// connected are told that they should go, and what they have sent by then is read by the process. It returns when it has
// read all of it, or with an error when ctx ends before, or the sockets cannot be had, which takes the right to trace the
// process. It returns how many there were.
//
// The process itself knows nothing of it: the sockets are duplicated by pidfd_getfd(2). A filter on the listener drops
// all that comes to it; shutdown(SHUT_WR) sends the others the end of the stream, at which a peer that writes as soon as it can,
// such as libzmq, has nothing left to send but what was written already.
//
// The process has a closed door from then on. OpenDoor opens it again.
func CloseDoor(ctx context.Context, id Identity, port int) (int, error) {
	d, err := openDoor(id, port)
	if err != nil {
		return 0, err
	}
	defer d.close()
	for {
		waiting, err := d.step()
		if err != nil {
			return len(d.told), err
		}
		if waiting == 0 {
			return len(d.told), nil
		}
		select {
		case <-ctx.Done():
			return len(d.told), fmt.Errorf("cannot wait until process %d has read everything: %d of %d connections are left: %w", id.PID, waiting, len(d.told), context.Cause(ctx))
		case <-time.After(doorPoll):
		}
	}
}

// OpenDoor takes back CloseDoor, as far as somebody may get in.
func OpenDoor(id Identity, port int) error {
	d, err := openDoor(id, port)
	if err != nil {
		return err
	}
	defer d.close()
	return d.each(func(s tcpSocket, fd int) error {
		if !s.listens {
			return nil
		}
		err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0)
		if errors.Is(err, unix.ENOENT) { // it has none
			return nil
		}
		return err
	})
}

// Visitors counts the connections that a process has at its TCP port of which it has read more than greeting bytes.
func Visitors(id Identity, port int, greeting uint64) (n int, err error) {
	d, err := openDoor(id, port)
	if err != nil {
		return 0, err
	}
	defer d.close()
	err = d.each(func(s tcpSocket, fd int) error {
		if s.listens {
			return nil
		}
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil {
			return err
		}
		unread, err := unix.IoctlGetInt(fd, unix.SIOCINQ)
		if err != nil {
			return err
		}
		if info.State == unix.BPF_TCP_ESTABLISHED && info.Bytes_received > greeting && uint64(unread) < info.Bytes_received-greeting {
			n++
		}
		return nil
	})
	return n, err
}

// door of a process: its sockets on a port.
type door struct {
	pid, port int
	pidfd     int
	// told has duplicates of the sockets that are being emptied, by inode.
	told map[uint64]int
	// all is set when nobody new was found behind a closed door.
	all bool
}

func openDoor(id Identity, port int) (*door, error) {
	fd, err := unix.PidfdOpen(id.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil, fmt.Errorf("cannot find process %d: %w", id.PID, ErrGone)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open process %d: %w", id.PID, err)
	}
	d := &door{pid: id.PID, port: port, pidfd: fd, told: map[uint64]int{}}
	// Compared after opening, as in Open.
	if now, err := Identify(id.PID); err != nil || now != id {
		d.close()
		return nil, fmt.Errorf("cannot find process %d: %w", id.PID, ErrGone)
	}
	return d, nil
}

func (d *door) close() {
	for _, fd := range d.told {
		_ = unix.Close(fd)
	}
	_ = unix.Close(d.pidfd)
}

// step tells whoever is not told yet, and returns how many connections may still bring something.
func (d *door) step() (waiting int, err error) {
	if !d.all {
		before := len(d.told)
		if err := d.tell(); err != nil {
			return 0, err
		}
		if d.all = before == len(d.told); !d.all {
			return len(d.told), nil // look once more: one may have come in just before
		}
	}
	for _, fd := range d.told {
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil {
			return 0, fmt.Errorf("cannot ask for a connection of process %d: %w", d.pid, err)
		}
		unread, err := unix.IoctlGetInt(fd, unix.SIOCINQ)
		if err != nil {
			return 0, fmt.Errorf("cannot ask for a connection of process %d: %w", d.pid, err)
		}
		if unread > 0 || slices.Contains(tcpOpen, info.State) {
			waiting++
		}
	}
	return waiting, nil
}

// tell closes the door, and tells whoever is inside and is not told yet.
func (d *door) tell() error {
	return d.each(func(s tcpSocket, fd int) error {
		if s.listens {
			return dropAll(fd)
		}
		if _, done := d.told[s.inode]; done {
			return nil
		}
		if err := unix.Shutdown(fd, unix.SHUT_WR); err != nil && !errors.Is(err, unix.ENOTCONN) {
			return err
		}
		kept, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return err
		}
		d.told[s.inode] = kept
		return nil
	})
}

// dropAll attaches a filter to a socket that takes nothing.
func dropAll(fd int) error {
	nothing := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &nothing})
}

// tcpSocket is a line of /proc/PID/net/tcp.
type tcpSocket struct {
	inode   uint64
	listens bool
}

// each calls f with a duplicate of each of the process's sockets on the port, listeners first.
func (d *door) each(f func(s tcpSocket, fd int) error) error {
	sockets, err := d.sockets()
	if err != nil {
		return fmt.Errorf("cannot list the sockets of process %d: %w", d.pid, err)
	}
	held, err := d.descriptors()
	if err != nil {
		return fmt.Errorf("cannot list the descriptors of process %d: %w", d.pid, err)
	}
	for _, listens := range []bool{true, false} {
		for _, s := range sockets {
			theirs, ok := held[s.inode]
			if !ok || s.listens != listens {
				continue
			}
			fd, err := unix.PidfdGetfd(d.pidfd, theirs, 0)
			if errors.Is(err, unix.EBADF) { // closed meanwhile
				continue
			}
			if err != nil {
				return fmt.Errorf("cannot have a socket of process %d: %w", d.pid, err)
			}
			err = f(s, fd)
			_ = unix.Close(fd)
			if err != nil {
				return fmt.Errorf("cannot close or open port %d of process %d: %w", d.port, d.pid, err)
			}
		}
	}
	return nil
}

// sockets on the port in the process's network, whoever they belong to.
func (d *door) sockets() ([]tcpSocket, error) {
	var out []tcpSocket
	for _, table := range []string{"tcp", "tcp6"} {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", d.pid, table))
		if errors.Is(err, os.ErrNotExist) && table == "tcp6" {
			continue // a machine without IPv6
		}
		if err != nil {
			return nil, err
		}
		out = append(out, parseTCP(string(b), d.port)...)
	}
	return out, nil
}

// parseTCP reads /proc/net/tcp: "sl local rem st tx:rx tr:when retrnsmt uid timeout inode", in hex but for the inode.
func parseTCP(table string, port int) (out []tcpSocket) {
	const listen = 0x0A
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) < 10 {
			continue
		}
		_, p, ok := strings.Cut(f[1], ":")
		if !ok {
			continue
		}
		local, err1 := strconv.ParseUint(p, 16, 16)
		state, err2 := strconv.ParseUint(f[3], 16, 8)
		inode, err3 := strconv.ParseUint(f[9], 10, 64)
		if errors.Join(err1, err2, err3) != nil || int(local) != port || inode == 0 {
			continue
		}
		out = append(out, tcpSocket{inode: inode, listens: state == listen})
	}
	return out
}

// descriptors are the process's sockets, by inode.
func (d *door) descriptors() (map[uint64]int, error) {
	dir := fmt.Sprintf("/proc/%d/fd", d.pid)
	es, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	out := map[uint64]int{}
	for _, e := range es {
		to, err := os.Readlink(dir + "/" + e.Name())
		if err != nil {
			continue // closed meanwhile
		}
		rest, ok := strings.CutPrefix(to, "socket:[")
		if !ok {
			continue
		}
		inode, err1 := strconv.ParseUint(strings.TrimSuffix(rest, "]"), 10, 64)
		fd, err2 := strconv.Atoi(e.Name())
		if errors.Join(err1, err2) == nil {
			out[inode] = fd
		}
	}
	return out, nil
}
