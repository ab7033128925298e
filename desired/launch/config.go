package launch

import (
	_ "embed"

	"github.com/zeekrec/zeekrec/desired"
)

// configScript is the same for all managers of ZeroMQ clusters. Zeek 8.0 to 9.1 need it, and have what it relies on.
//
//go:embed zeek/zeekrec-config.zeek
var configScript string

// handsConfigOn reports whether a node is the one that values of the Config framework come from, and Zeek itself does not bring them to the others.
func handsConfigOn(r *desired.Resource) bool {
	return r.Role == desired.RoleManager && r.Node.Backend == desired.BackendZeroMQ
}
