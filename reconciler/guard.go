package reconciler

import (
	"fmt"
	"slices"
	"strings"

	"github.com/zeekrec/zeekrec/desired"
)

// Hold is why a revision waits for a person's confirmation.
type Hold struct {
	// Code is stable: removed, last-node, last-of-role or too-many.
	Code   string `json:"code"`
	Reason string `json:"reason"`
	// Stops are the nodes (by key) that the revision would stop, sorted; Of is how many there are now.
	Stops []string `json:"stops"`
	Of    int      `json:"of"`
}

// The codes of a Hold.
const (
	HoldRemoved    = "removed"
	HoldLastNode   = "last-node"
	HoldLastOfRole = "last-of-role"
	HoldTooMany    = "too-many"
)

// guardFloor nodes may always be stopped, whatever the percentage says of a small cluster.
const guardFloor = 2

// Guard is the prune guard of one cluster. It reckons from the last accepted revision, not from what
// happens to run: accepted has that revision's resources, candidate those of the revision under judgement,
// threshold is the accepted revision's prune_guard. removed says that the cluster's file is gone.
// Both sides may be in any order.
//
// The result is nil where the candidate may be rolled out at once: it stops little and leaves a node of every
// role that there was, or nothing was accepted before. A node that keeps its name is not stopped by moving
// or changing; but when all nodes of a role become something else, the last of that role is gone.
func Guard(accepted, candidate []desired.Resource, threshold desired.Quantity, removed bool) *Hold {
	if len(accepted) == 0 {
		return nil
	}
	if removed {
		candidate = nil
	}
	kept := make(map[string]bool, len(candidate))
	left := map[desired.Role]int{}
	for i := range candidate {
		if candidate[i].Type == desired.TypeNode {
			kept[candidate[i].Name] = true
			left[candidate[i].Role]++
		}
	}
	h := &Hold{Stops: []string{}}
	var lost []string
	for i := range accepted {
		r := &accepted[i]
		if r.Type != desired.TypeNode {
			continue
		}
		h.Of++
		if !kept[r.Name] {
			h.Stops = append(h.Stops, r.Key())
		}
		if left[r.Role] == 0 && !slices.Contains(lost, string(r.Role)) {
			lost = append(lost, string(r.Role))
		}
	}
	slices.Sort(h.Stops)
	slices.Sort(lost)

	n := len(h.Stops)
	switch {
	case removed:
		h.Code, h.Reason = HoldRemoved, fmt.Sprintf("the cluster's file was removed, which stops all its %s", nodes(h.Of))
	case h.Of > 0 && len(left) == 0:
		h.Code, h.Reason = HoldLastNode, fmt.Sprintf("the revision leaves the cluster without a node (it has %d)", h.Of)
	case len(lost) > 0:
		h.Code, h.Reason = HoldLastOfRole, "the revision leaves no "+strings.Join(lost, " and no ")
	case n > guardFloor && exceeds(threshold, n, h.Of):
		h.Code, h.Reason = HoldTooMany, fmt.Sprintf("the revision stops %d of %s; more than %s at once need confirmation",
			n, nodes(h.Of), quantity(threshold))
	default:
		return nil
	}
	return h
}

// exceeds reckons exactly: 4 of 13 is more than 30%, whatever rounding would make of it.
func exceeds(q desired.Quantity, n, total int) bool {
	if q.Percent {
		return n*100 > q.N*total
	}
	return n > q.N
}

func nodes(n int) string {
	if n == 1 {
		return "1 node"
	}
	return fmt.Sprintf("%d nodes", n)
}

func quantity(q desired.Quantity) string {
	if q.Percent {
		return fmt.Sprintf("%d%%", q.N)
	}
	return fmt.Sprint(q.N)
}
