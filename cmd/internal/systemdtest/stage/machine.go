//go:build linux

package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// units that would touch the host beyond the namespaces, wait for devices that are not there, or only cost time.
var masked = []string{
	"getty.target", "console-getty.service", "systemd-logind.service", "systemd-udevd.service", "systemd-udevd-control.socket",
	"systemd-udevd-kernel.socket", "systemd-udev-trigger.service", "systemd-sysctl.service", "systemd-modules-load.service",
	"systemd-binfmt.service", "systemd-hwdb-update.service", "systemd-remount-fs.service", "systemd-pstore.service",
	"systemd-random-seed.service", "systemd-update-utmp.service", "systemd-update-utmp-runlevel.service",
	"systemd-firstboot.service", "systemd-machine-id-commit.service", "systemd-boot-system-token.service",
	"systemd-journald-audit.socket", "systemd-timesyncd.service", "kmod-static-nodes.service",
	"proc-sys-fs-binfmt_misc.automount", "dev-hugepages.mount", "sys-kernel-config.mount", "sys-kernel-debug.mount",
	"sys-kernel-tracing.mount", "sys-fs-fuse-connections.mount", "e2scrub_reap.service", "networking.service", "systemd-tmpfiles-clean.timer",
}

// machine keeps the files of one from its first boot to its last. dir is an empty folder of the host's.
func machine(dir string, shares []string) error {
	// A signal is for who started the test. It ends that one, and so this one's input; then there is something to clear away.
	signal.Notify(make(chan os.Signal, 1), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	runtime.LockOSThread() // the machine ends with this thread: see Pdeathsig
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("cannot keep mounts to itself: %w", err)
	}
	if err := unix.Mount("machine", dir, "tmpfs", 0, "mode=0755"); err != nil {
		return fmt.Errorf("cannot make a tmpfs: %w", err)
	}
	root := filepath.Join(dir, "root")
	for _, d := range []string{"upper", "work", "root"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			return err
		}
	}
	layers := fmt.Sprintf("lowerdir=/,upperdir=%s,workdir=%s", filepath.Join(dir, "upper"), filepath.Join(dir, "work"))
	if err := unix.Mount("machine", root, "overlay", 0, layers); err != nil {
		return fmt.Errorf("cannot make an overlay of /: %w", err)
	}
	if err := prepareEtc(root); err != nil {
		return fmt.Errorf("cannot prepare its /etc: %w", err)
	}
	groups, err := newGroups(fmt.Sprintf("zeekrec-systemd-%d", os.Getpid()))
	if err != nil {
		return err
	}
	defer groups.remove()
	fmt.Println("ready")
	lines := make(chan string)
	go func() {
		defer close(lines)
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			lines <- in.Text()
		}
	}()
	for line := range lines {
		if line != "boot" {
			return fmt.Errorf("unknown order %q", line)
		}
		if err := boot(root, shares, groups, lines); err != nil {
			return err
		}
	}
	return nil
}

// boot runs the machine until it is off, or the input ends.
func boot(root string, shares []string, groups *groups, lines <-chan string) error {
	if err := groups.make(); err != nil {
		return err
	}
	pid1 := exec.Command("/proc/self/exe", slices.Concat([]string{"init", root}, shares)...)
	pid1.Stdout, pid1.Stderr = os.Stderr, os.Stderr
	pid1.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", groupsEnv + "=" + groups.name}
	pid1.SysProcAttr = &syscall.SysProcAttr{
		Pdeathsig:  unix.SIGKILL,
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWNET,
	}
	if err := pid1.Start(); err != nil {
		return fmt.Errorf("cannot make its namespaces: %w", err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = pid1.Wait() // ended by its own reboot(2), it looks as if it was killed
	}()
	fmt.Printf("up %d\n", pid1.Process.Pid)
	select {
	case <-ended:
	case _, more := <-lines:
		// The first process of a PID namespace takes all others with it.
		if err := pid1.Process.Kill(); err != nil {
			return err
		}
		<-ended
		if more {
			return fmt.Errorf("it is on already")
		}
	}
	groups.remove()
	fmt.Println("off")
	return nil
}

// prepareEtc leaves of the host's units and identity what every machine has.
func prepareEtc(root string) error {
	system := filepath.Join(root, "etc/systemd/system")
	if err := os.RemoveAll(system); err != nil {
		return err
	}
	if err := os.MkdirAll(system, 0o755); err != nil {
		return err
	}
	for _, unit := range masked {
		if err := os.Symlink("/dev/null", filepath.Join(system, unit)); err != nil {
			return err
		}
	}
	if err := os.Symlink("/lib/systemd/system/multi-user.target", filepath.Join(system, "default.target")); err != nil {
		return err
	}
	for name, text := range map[string]string{
		"etc/fstab": "",
		// /tmp is a fresh one anyway, and what is shared may be below it.
		"etc/tmpfiles.d/tmp.conf": "",
		"etc/hostname":            "machine\n",
		"etc/machine-id":          "00000000000000000000000000000001\n",
		// The journal is asked for the order in which things happened, and for all of them.
		"etc/systemd/journald.conf": "[Journal]\nStorage=persistent\nRateLimitBurst=0\nSyncIntervalSec=1s\n",
	} {
		path := filepath.Join(root, name)
		if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil { //nolint:gosec // as everywhere
			return err
		}
	}
	return os.RemoveAll(filepath.Join(root, "var/log/journal"))
}
