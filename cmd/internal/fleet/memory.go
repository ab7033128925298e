package fleet

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// A controller holds what it knows of a whole fleet, which changes seldom, and needs more for moments: when all agents connect, and when
// a fleet is started.

// collectAt is by how much in percent the memory in use may grow until what is not used is collected.
const collectAt = 20

// What moments have left free goes back to the system.
const (
	returnEvery = 15 * time.Second
	returnFrom  = 24 << 20 // bytes; less is used again soon
)

// Frugal has a controller take little more memory than it needs, until ctx ends: collecting often costs little where little changes, and
// Go would else let what is held double. Who sets GOGC decides himself. It is for main to call, once.
func Frugal(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	debug.SetGCPercent(collectAt)
	go func() {
		look := time.NewTicker(returnEvery)
		defer look.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-look.C:
			}
			free := []metrics.Sample{{Name: "/memory/classes/heap/free:bytes"}}
			metrics.Read(free)
			if free[0].Value.Uint64() >= returnFrom {
				debug.FreeOSMemory()
			}
		}
	}()
}
