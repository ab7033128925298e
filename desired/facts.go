package desired

// Facts are what is known of the instances: inputs of compiling, as values (decisions 8).
type Facts struct {
	// Default is the name of the instance that a file without instances means.
	Default string
	// Instances that have reported; one that has not is compiled with the assumptions of
	// AssumedVersion, and Compile says so.
	Instances map[string]InstanceFacts
	// Keys are the ids of the CURVE keys that there are for a cluster, the one to use first; the others are
	// still accepted, until a rotation is over. A cluster that needs keys and has none is not compiled with them.
	Keys map[string][]string
}

// AssumedVersion of Zeek, where no agent has said which it has.
const AssumedVersion = "8.2.2"

// InstanceFacts are one agent's report on its host, as far as compiling needs it.
type InstanceFacts struct {
	Addresses  []string // non-loopback, the one to prefer first
	CPUs       int
	Interfaces []string
	// Zeek by path; the key "" is the agent's default.
	Zeek map[string]ZeekFacts
	// Names that nodes' scripts have, by NamesKey; what was not asked for is missing.
	Names map[string]ZeekNames
}

// ZeekFacts is what a zeek binary says of itself.
type ZeekFacts struct {
	Path     string // absolute
	Version  string // "8.2.2"
	ZeekPath string // the default ZEEKPATH
	HasLocal bool   // site/local.zeek is on it
	Plugins  string // the default ZEEK_PLUGIN_PATH; "" where it says none
	StandIn  bool   // this is not Zeek, but testdata/zeek
	Err      string // why it could not be asked; then nothing above but Path is set
}
