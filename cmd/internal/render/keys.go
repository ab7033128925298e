package render

import (
	"strings"
	"time"
)

// Keys is one generation of a cluster's CURVE keys, as it may be shown.
type Keys struct {
	Cluster, ID string
	Created     time.Time
	// Current: nodes use them, or are to. Else they are from before a rotation, and still accepted.
	Current                    bool
	ServerPublic, ClientPublic string
}

// KeyTable shows generations of keys, in the order given.
func KeyTable(ks []Keys, o Options) string {
	if len(ks) == 0 {
		return "no keys\n"
	}
	var b strings.Builder
	t := table{}
	t.head("CLUSTER", "ID", "CREATED", "USE", "SERVER PUBLIC KEY", "CLIENT PUBLIC KEY")
	for _, k := range ks {
		use := cell{"in use", good}
		if !k.Current {
			use = cell{"old, still accepted", warn}
		}
		t.row(cell{k.Cluster, strong}, cell{k.ID, plain}, cell{o.clock(k.Created) + " (" + o.ago(k.Created) + ")", plain}, use,
			cell{k.ServerPublic, plain}, cell{k.ClientPublic, plain})
	}
	t.write(&b, o, true)
	return b.String()
}
