package launch

import (
	_ "embed"

	"github.com/zeekrec/zeekrec/desired"
)

// telemetryFile is the script by which the telemetry of a node has its packet counters.
const telemetryFile = "zeekrec-telemetry.zeek"

//go:embed zeek/zeekrec-telemetry.zeek
var telemetryScript string

// countsPackets reports whether a node captures, and serves metrics that can say so.
func countsPackets(s *desired.NodeSpec) bool { return s.MetricsPort != 0 && s.Interface != "" }
