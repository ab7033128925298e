package fleet

import (
	"os"
	"runtime/debug"
)

// collectAt is by how much in percent the memory in use may grow until what is not used is collected.
const collectAt = 15

// Frugal has a controller take little more memory than it needs: what it holds of a large fleet changes seldom, so collecting often
// costs little, and Go would else let it double. Who sets GOGC decides himself. It is for main to call, once.
func Frugal() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(collectAt)
	}
}
