//go:build linux

package main

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const systemd = "/lib/systemd/systemd"

// becomeInit makes the machine's mounts and executes systemd, as the first process of its PID namespace.
func becomeInit(root string, shares []string) error {
	runtime.LockOSThread() // a cgroup namespace is a thread's until it executes something
	g, err := newGroups(os.Getenv(groupsEnv))
	if err != nil {
		return err
	}
	if err := g.join(); err != nil {
		return err
	}
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		return fmt.Errorf("cannot make a cgroup namespace: %w", err)
	}
	if err := mountAll(root, shares, g.all); err != nil {
		return err
	}
	if err := unix.Chdir(root); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("cannot change to its files: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("cannot leave the host's files: %w", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return err
	}
	env := []string{"container=systemdtest", "PATH=" + os.Getenv("PATH")}
	err = unix.Exec(systemd, []string{systemd, "--system", "--log-target=journal", "--show-status=no"}, env)
	return fmt.Errorf("cannot execute %s: %w", systemd, err)
}

func mountAll(root string, shares []string, all []hierarchy) error {
	at := func(path string) string { return filepath.Join(root, path) }
	// Shared folders are opened before something is mounted above them.
	open := make([]int, len(shares))
	for i, s := range shares {
		fd, err := unix.Open(s, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("cannot share %s: %w", s, err)
		}
		open[i] = fd
	}
	devices := []string{"null", "zero", "full", "random", "urandom", "tty"}
	type mount struct {
		what, where, kind string
		flags             uintptr
		data              string
	}
	mounts := []mount{
		{"proc", "/proc", "proc", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
		{at("/proc/sys"), "/proc/sys", "", unix.MS_BIND, ""},
		{"", "/proc/sys", "", unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY, ""},
		{"sysfs", "/sys", "sysfs", unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
		{"tmpfs", "/dev", "tmpfs", unix.MS_NOSUID, "mode=0755"},
		{"tmpfs", "/run", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=0755"},
		{"tmpfs", "/tmp", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=1777"},
		{"tmpfs", "/var/tmp", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=1777"},
		{"devpts", "/dev/pts", "devpts", unix.MS_NOSUID | unix.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620"},
		{"tmpfs", "/dev/shm", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=1777"},
	}
	cgroups := ""
	for _, h := range all {
		switch {
		case h.options != "":
			mounts = append(mounts, mount{"cgroup", h.mount, "cgroup", 0, h.options})
		default:
			mounts = append(mounts, mount{"cgroup2", h.mount, "cgroup2", 0, ""})
		}
		if h.mount != "/sys/fs/cgroup" {
			cgroups = "/sys/fs/cgroup"
		}
	}
	for _, m := range mounts {
		if strings.HasPrefix(m.where, cgroups+"/") && cgroups != "" {
			// Version 1 has its hierarchies in a tmpfs.
			if err := unix.Mount("tmpfs", at(cgroups), "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755"); err != nil {
				return fmt.Errorf("cannot mount %s: %w", cgroups, err)
			}
			cgroups = ""
		}
		if err := os.MkdirAll(at(m.where), 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.what, at(m.where), m.kind, m.flags, m.data); err != nil {
			return fmt.Errorf("cannot mount %s: %w", m.where, err)
		}
	}
	for _, d := range devices {
		if err := bindFile(filepath.Join("/dev", d), at(filepath.Join("/dev", d))); err != nil {
			return err
		}
	}
	if err := bindFile("/dev/null", at("/dev/console")); err != nil {
		return err
	}
	for link, to := range map[string]string{"ptmx": "pts/ptmx", "fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2"} {
		if err := os.Symlink(to, at(filepath.Join("/dev", link))); err != nil {
			return err
		}
	}
	for i, s := range shares {
		if err := os.MkdirAll(at(s), 0o755); err != nil {
			return err
		}
		// The host's /proc has no folder for a process of this PID namespace; the machine's has.
		from := at("/proc/self/fd/" + strconv.Itoa(open[i]))
		if err := unix.Mount(from, at(s), "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("cannot share %s: %w", s, err)
		}
	}
	if err := newBootID(at("/run/boot-id"), at("/proc/sys/kernel/random/boot_id")); err != nil {
		return err
	}
	// pivot_root wants a mount point.
	return unix.Mount(root, root, "", unix.MS_BIND|unix.MS_REC, "")
}

// newBootID gives each boot an identity of its own, as a kernel would.
func newBootID(file, id string) error {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		return err
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80 // a random UUID, as RFC 9562 marks it
	text := fmt.Sprintf("%x-%x-%x-%x-%x\n", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
	if err := os.WriteFile(file, []byte(text), 0o444); err != nil {
		return err
	}
	if err := unix.Mount(file, id, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("cannot give the boot an identity: %w", err)
	}
	return nil
}

func bindFile(from, to string) error {
	f, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("cannot mount %s: %w", to, err)
	}
	return nil
}
