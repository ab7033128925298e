package reconciler

import (
	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/observed"
)

// Input is everything that the plan of one cluster depends on.
type Input struct {
	Cluster string
	// From is the revision whose rollout was the last to be completed (empty: none), To the target.
	// Where they are the same, a difference between the two sides is drift.
	From, To string

	// Want has the cluster's resources at To, sorted by name.
	Want []desired.Resource
	// Instances that are known, by name. One that is missing here is served by nobody.
	Instances map[string]Instance
	// Known are the resources (by name) that revisions accepted before To had, each where the latest of them placed it. Only these may
	// be stopped when they are no longer wanted; and a resource that is to move is started only once that instance has reported it
	// gone. It is not written to.
	Known map[string]desired.Placement

	// Held are resources that are wanted, and kept stopped: key to the reason.
	Held map[string]string
	// Restart are restarts that were asked for, by key. One that is done (the incarnation has risen)
	// does no harm here.
	Restart map[string]Request
	// Suspended are single resources that nothing is done to: key to the reason, as it is to be shown.
	Suspended map[string]string

	// MaxUnavailable nodes of a role may be down at a time through restarts; less than one counts as one.
	MaxUnavailable desired.Quantity

	// Relation of a field that a running resource has and the desired one lacks: an interface that was
	// taken away (Equal), the last worker removed (Cover). Empty stands for a field that the role
	// does not use, which makes no difference. Without this function all such fields are Equal.
	Relation func(role desired.Role, field string) desired.Relation
}

// Instance is what is known of one instance.
type Instance struct {
	// Silent says why what follows is no news ("agent-b has not reported for 20s"); empty when it is.
	Silent string
	// Suspended says why no rollout may touch the instance ("suspended by …"); empty when one may.
	Suspended string
	// Resources of its newest report, of all clusters, sorted by cluster and name.
	Resources []observed.Resource
}

// Request is a restart that a person asked for.
type Request struct {
	Reason string
	// Incarnation that the resource had then. The request is met by any later one.
	Incarnation int
}
