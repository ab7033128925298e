package process

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Capability is what a process may do beyond what its user may, by its number (capabilities(7)).
type Capability int

// The capabilities that a process which captures packets has a use for.
const (
	CapNetAdmin Capability = unix.CAP_NET_ADMIN // to set up interfaces and the capture hardware
	CapNetRaw   Capability = unix.CAP_NET_RAW   // to capture at all
	CapSysNice  Capability = unix.CAP_SYS_NICE  // to place its threads and memory
)

// String is its name in capabilities(7).
func (c Capability) String() string {
	switch c {
	case CapNetAdmin:
		return "CAP_NET_ADMIN"
	case CapNetRaw:
		return "CAP_NET_RAW"
	case CapSysNice:
		return "CAP_SYS_NICE"
	}
	return fmt.Sprintf("capability %d", int(c))
}

// capBits are two words of 32 bits each, as the kernel has them.
type capBits [2]uint32

func bitsOf(cs []Capability) (b capBits) {
	for _, c := range cs {
		b[c/32] |= 1 << (c % 32)
	}
	return b
}

// permitted are those of cs that the calling thread may hand on, and a warning about the others.
func permitted(cs []Capability) (granted []Capability, warning string) {
	if len(cs) == 0 {
		return nil, ""
	}
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&head, &data[0]); err != nil {
		return nil, fmt.Sprintf("cannot tell which capabilities there are to hand on: %v", err)
	}
	var missing []string
	for _, c := range cs {
		if data[c/32].Permitted&(1<<(c%32)) != 0 {
			granted = append(granted, c)
		} else {
			missing = append(missing, c.String())
		}
	}
	if len(missing) > 0 {
		slices.Sort(missing)
		warning = "cannot hand on " + strings.Join(missing, ", ") + ": zeekrec itself does not have it"
	}
	return granted, warning
}

// keepCapabilities lets the calling thread keep what it may hand on when it gives up root. It is forgotten by exec.
func keepCapabilities() error {
	if err := unix.Prctl(unix.PR_SET_KEEPCAPS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("cannot keep capabilities: %w", err)
	}
	return nil
}

// handOn makes cs all that the calling thread has, and lets them outlive exec: as ambient ones, for which the program needs no mark in
// the file system, and which a library path does not have to be given up for.
func handOn(cs []Capability) error {
	bits := bitsOf(cs)
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	for i := range data {
		data[i] = unix.CapUserData{Effective: bits[i], Permitted: bits[i], Inheritable: bits[i]}
	}
	if err := unix.Capset(&head, &data[0]); err != nil {
		return fmt.Errorf("cannot hand on capabilities: %w", err)
	}
	for _, c := range cs {
		if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, uintptr(c), 0, 0); err != nil {
			return fmt.Errorf("cannot hand on %s: %w", c, err)
		}
	}
	return nil
}
