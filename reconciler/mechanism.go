package reconciler

import (
	"slices"

	"github.com/zeekrec/zeekrec/desired"
)

// Encrypted and plain Zeek processes do not go together: a libzmq socket that meets a listener with another mechanism than
// its own reports an error of the protocol, at which Zeek exits (facts/zeromq.md §4.3; seen with 8.2.2: the senders of logs, as
// soon as the first logger has changed). zeekrec's broker is careful with that, a logger's socket is not. So when the encryption
// of a cluster is switched on or off, whoever sends logs stops before the first logger changes, and starts in its turn.
// Other keys are no such case: their refusal is silent, and repeated.

// separate takes the restarts of senders apart, where a listener's mechanism changes.
func separate(items []item) {
	listener := slices.IndexFunc(items, func(it item) bool { return it.collects() && it.switches() })
	if listener < 0 {
		return
	}
	why := Reason{Field: "curve", To: "stopped before " + items[listener].Resource + " changes"}
	for i := range items {
		if it := &items[i]; !it.collects() && it.switches() {
			it.cut(why)
		}
	}
}

// collects reports whether others send their logs to the item.
func (it *item) collects() bool {
	return it.Role == desired.RoleLogger ||
		it.Role == desired.RoleManager && it.Target != nil && it.Target.Node != nil && it.Target.Node.Layout.ManagerIsLogger
}

// switches reports whether an item turns the encryption of a node on or off.
func (it *item) switches() bool {
	return it.Kind == desired.Restart && slices.ContainsFunc(it.Reasons, func(r Reason) bool {
		return r.Field == "curve" && (r.From == "") != (r.To == "")
	})
}
