package agent

import (
	"net"
	"os"
	"runtime"

	"github.com/zeekrec/zeekrec/observed"
)

// hostNow is what is known of the machine without running anything. IPv4 addresses come first.
func hostNow(version string) *observed.Host {
	h := &observed.Host{CPUs: runtime.NumCPU(), Version: version, PID: os.Getpid()}
	h.Hostname, _ = os.Hostname()
	addrs, _ := net.InterfaceAddrs()
	var v6 []string
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		if !ok || !n.IP.IsGlobalUnicast() {
			continue
		}
		if n.IP.To4() != nil {
			h.Addresses = append(h.Addresses, n.IP.String())
		} else {
			v6 = append(v6, n.IP.String())
		}
	}
	h.Addresses = append(h.Addresses, v6...)
	return h
}
