package reconciler

import (
	"slices"

	"github.com/zeekrec/zeekrec/desired"
)

// Encrypted and plain Zeek processes do not go together: a libzmq socket that meets a listener with another mechanism than
// its own reports an error of the protocol, at which Zeek exits (facts/zeromq.md §4.3; seen with 8.2.2: the senders of logs, as
// soon as the first logger has changed). zeekrec's broker is careful with that, a logger's socket is not. So when the encryption
// of a cluster is switched on or off, whoever sends logs stops before the first logger changes, and starts in its turn; who leaves, be it
// for another instance, stops then, too.
// Other keys are no such case: their refusal is silent, and repeated.

// It is the same when the broker moves into the manager or out of it: a node that goes on would know the old manager, for whom nobody
// says goodbye, and may take the new one for gone. All others stop first.

// separate takes the restarts apart of those who must not meet what they know in another form.
func separate(items []item) {
	listener := slices.IndexFunc(items, func(it item) bool { return it.collects() && it.switches() })
	for i := range items {
		it := &items[i]
		switch {
		case listener >= 0 && it.leavesAsSender():
			it.early = true
		case it.Kind != desired.Restart:
		case listener >= 0 && !it.collects() && it.switches():
			it.cut(Reason{Field: "curve", To: "stopped before " + items[listener].Resource + " changes"})
		case it.has("broker_mode"):
			it.cut(Reason{Field: "broker_mode", To: "stopped before the broker moves"})
		}
	}
}

// leavesAsSender reports whether an item takes a node down that sends logs, to bring it back elsewhere or not at all.
func (it *item) leavesAsSender() bool {
	return it.Type == desired.TypeNode && !it.collects() && (it.Kind == desired.Stop || it.Kind == desired.Start && len(it.first) > 0)
}

func (it *item) has(field string) bool {
	return slices.ContainsFunc(it.Reasons, func(r Reason) bool { return r.Field == field })
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
