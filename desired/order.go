package desired

import "time"

// Verb is what an agent is told to do with a resource; also the kind of an action.
type Verb string

// The four verbs. Update changes what can be changed in place and disturbs nothing.
const (
	Start   Verb = "start"
	Stop    Verb = "stop"
	Restart Verb = "restart"
	Update  Verb = "update"
)

// Order is one action on its way to an agent. A lost, late or repeated order does no harm:
// Expect makes it conditional, and it is judged against what runs.
type Order struct {
	Plan     string   `json:"plan"` // the rollout that it belongs to, for the records
	Verb     Verb     `json:"verb"`
	Resource Resource `json:"resource"`
	// Expect is the ID of the spec that the agent was last told, as the plan saw it; empty where the
	// agent was told none. An order that expects another is refused (observed.Refused).
	Expect string `json:"expect"`
	// Incarnation that a restart was planned against: a restart is done only while the resource is still
	// in that incarnation or an earlier one of the same spec. 0: whichever.
	Incarnation int `json:"incarnation,omitempty"`
	// Hold is the reason why the resource shall stay stopped, on a stop that is not a removal.
	Hold string `json:"hold,omitempty"`
	// Deadline after which the agent no longer begins with it. Zero: none.
	Deadline time.Time `json:"deadline,omitzero"`
	Reason   string    `json:"reason,omitempty"` // for a person, in the agent's records
}
