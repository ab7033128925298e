// Package systemdtest boots the real systemd as PID 1 in namespaces of its own, for tests.
//
// A [Machine] has the files of the host it runs on, as the lower layer of an overlay: what is written in it,
// a package that is installed for example, is gone with it. It has its own processes, network, host name,
// /run, /tmp and cgroups. The cgroups are a leaf of the caller's in each hierarchy that the host has mounted,
// seen through a cgroup namespace as if it were the root: limits are the kernel's and really hold, with
// version 2 as well as with version 1 or both beside each other.
//
//	m := systemdtest.Boot(t, systemdtest.Config{Share: []string{dir}})
//	out := m.Run(t, "systemctl", "is-system-running")
//	m.PowerOff(t)          // as a machine is switched off
//	m.PowerOn(t)           // and on again, with the files that it had
//
// # Invariants
//
//   - Nothing is left behind: the machine ends with the test, and with the test's process, whatever becomes of it.
//   - Nothing of the host is changed but what is below a shared folder, which has the same path on both sides.
//   - Where it cannot be, without root or without systemd, [Boot] skips the test and says why.
package systemdtest
