package native

import (
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	maxConnections = 1024 // zmqpeer's MAX_SOCKETS
	line           = 64
)

// counter is one of a connection, on a cache line of its own.
type counter struct {
	atomic.Uint64
	_ [line - 8]byte
}

// counters of all connections, of this process or, mapped, of those that subscribe.
type counters []counter

func (c counters) total() uint64 {
	var n uint64
	for i := range c {
		n += c[i].Load()
	}
	return n
}

func (c counters) least() uint64 {
	n := c[0].Load()
	for i := range c {
		n = min(n, c[i].Load())
	}
	return n
}

// SharedSize is how large a file of shared counters is.
const SharedSize = maxConnections * line

// mapCounters maps a file of SharedSize bytes for as long as the process lives.
func mapCounters(path string) (counters, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := unix.Mmap(int(f.Fd()), 0, SharedSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("cannot map %s: %w", path, err)
	}
	return unsafe.Slice((*counter)(unsafe.Pointer(&b[0])), maxConnections), nil
}
