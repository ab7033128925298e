package launch

import _ "embed"

// loadsScript is the same for all nodes.
//
//go:embed zeek/zeekrec-loads.zeek
var loadsScript string
