package observed

import (
	"cmp"
	"errors"
	"strings"
	"time"
)

// State of a resource, in the management framework's words.
type State string

// PENDING is started and not yet ready, CRASHED will be tried again, FAILED will not until its cause
// changes, UNKNOWN is what a silent agent's resources are.
const (
	Pending State = "PENDING"
	Running State = "RUNNING"
	Stopped State = "STOPPED"
	Failed  State = "FAILED"
	Crashed State = "CRASHED"
	Unknown State = "UNKNOWN"
)

// Report is all that one agent knows, at one moment. Each report stands alone; a lost one does no harm.
type Report struct {
	Instance string    `json:"instance"`
	At       time.Time `json:"at"`
	Host     Host      `json:"host"`
	// Resources are sorted as Resource.Compare has it, by cluster and then by name, which readers search by
	// halves. It is not the order of keys: "dmz-2/a" is before "dmz/a", and dmz-2 behind dmz.
	Resources []Resource `json:"resources"`
	// Events since the agent began, newest last, bounded; Seq rises by one, and never goes back when the
	// agent begins anew, so that a reader knows which it has seen.
	Events []Event `json:"events,omitempty"`
	// Seen numbers the report where it was taken in: as long as it is the same, only At may differ. 0: nobody has numbered it.
	Seen uint64 `json:"-"`
}

// Host is what an agent knows of the machine.
type Host struct {
	Hostname   string          `json:"hostname"`
	Addresses  []string        `json:"addresses,omitempty"`
	CPUs       int             `json:"cpus"`
	Interfaces []string        `json:"interfaces,omitempty"`
	Zeek       map[string]Zeek `json:"zeek,omitempty"` // by path as asked for; "" is the default
	Version    string          `json:"version"`        // of the agent
	PID        int             `json:"pid,omitempty"`  // of the agent
}

// Zeek is what a zeek binary said of itself.
type Zeek struct {
	Path     string `json:"path"`
	Version  string `json:"version"`
	ZeekPath string `json:"zeekpath"`
	HasLocal bool   `json:"has_local"`
	StandIn  bool   `json:"stand_in,omitempty"`
	Err      string `json:"error,omitempty"`
}

// Resource is what an agent knows of one resource.
type Resource struct {
	Cluster string `json:"cluster"`
	Name    string `json:"name"`
	Type    string `json:"type"`
	Role    string `json:"role"`

	State  State     `json:"state"`
	Reason string    `json:"reason,omitempty"`
	Since  time.Time `json:"since"` // of State

	PID int `json:"pid,omitempty"`
	// Unit keeps its process together with others of its role: the name of a systemd unit or a cgroup; empty: nothing does.
	Unit        string    `json:"unit,omitempty"`
	Port        int       `json:"port,omitempty"`
	StartedAt   time.Time `json:"started_at,omitzero"`
	Incarnation int       `json:"incarnation"`
	Restarts    int       `json:"restarts"` // by the agent, after crashes, since the last order
	// Healthy: RUNNING, with nothing known to be wrong (an interface that is gone, say). A broker answers besides,
	// and has taken what it was told.
	Healthy bool `json:"healthy"`

	// Told is the ID of the spec that the agent was told to run, empty where it was told none;
	// Started the ID of the one that the process was started from.
	Told    string `json:"told,omitempty"`
	Started string `json:"started,omitempty"`
	// Parts are what the process was started with, with what it was told since: field to values.
	// Those of the last start, or else of what was told, while no process runs.
	Parts map[string][]string `json:"parts,omitempty"`

	// Tunable are the names of its options that can be changed while it runs, as it was started and told since; nil: it
	// cannot be told options. Untaken is why it has not what it was told to change while it runs; empty: it has.
	Tunable []string `json:"tunable,omitzero"`
	Untaken string   `json:"untaken,omitempty"`

	// Outdated names what a fresh start would take that the process has not: another version of Zeek,
	// files that zeekrec would now render differently.
	Outdated []string `json:"outdated,omitempty"`
	// Hold is why the agent was told to keep it stopped.
	Hold string `json:"hold,omitempty"`
	// Version of Zeek that the process was started with; of a broker the version of zeekrec that it says it is.
	Version string `json:"version,omitempty"`
	// StandIn: the process is not Zeek, but the stand-in.
	StandIn bool `json:"stand_in,omitempty"`
	// Members of a broker are the nodes that have joined it, sorted by name; nil: it does not say. Empty: none has.
	Members []Member `json:"members,omitzero"`
	// Joined says of a node whether the cluster's broker has it as a member; nil: nobody can tell.
	Joined *bool `json:"joined,omitempty"`
	// Answering says of a node whether its main loop answers questions; nil: nobody can tell. False: not since Silent.
	Answering *bool     `json:"answering,omitempty"`
	Silent    time.Time `json:"silent,omitzero"`
	// Degraded is what is wrong with a process that is healthy all the same: packets or events that were lost, errors that
	// were reported. Each is short; sorted by importance. Nothing is restarted for it.
	Degraded []string `json:"degraded,omitempty"`
	// Notes are what may be of interest, and nothing is wrong with.
	Notes []string `json:"notes,omitempty"`
	// Archive is what an archiver does; nil: it does not say.
	Archive *Archive `json:"archive,omitempty"`
	// Foreign are pids of processes that bear the resource's mark and were not started by this agent.
	Foreign []int `json:"foreign,omitempty"`
}

// Member is a node that has joined the cluster's ZeroMQ broker, as the broker sees it.
type Member struct {
	Name string `json:"name"`
	Host string `json:"host,omitempty"` // as the node's own machine calls itself
	PID  int    `json:"pid,omitempty"`
	// Answers: it was asked for a sign of life, and gives one. Silent is since when it gives none; zero: it does, or
	// nobody can tell.
	Answers bool      `json:"answers,omitempty"`
	Silent  time.Time `json:"silent,omitzero"`
}

// Archive is what an archiver says of its work.
type Archive struct {
	// BacklogFiles and BacklogBytes wait, since Oldest at the longest; zero: none does.
	BacklogFiles int       `json:"backlog_files"`
	BacklogBytes int64     `json:"backlog_bytes"`
	Oldest       time.Time `json:"oldest,omitzero"`
	// Files and bytes of logs that were archived within the last hour.
	FilesPerHour uint64 `json:"files_per_hour"`
	BytesPerHour uint64 `json:"bytes_per_hour"`
	// FreeBytes of TotalBytes are free on the archive's file system.
	FreeBytes  int64 `json:"free_bytes"`
	TotalBytes int64 `json:"total_bytes"`
	// LastError is the last that went wrong, at LastErrorAt, whether or not it still does.
	LastError   string    `json:"last_error,omitempty"`
	LastErrorAt time.Time `json:"last_error_at,omitzero"`
	// Refused files of the queue cannot be archived.
	Refused int `json:"refused,omitempty"`
}

// Key is "cluster/name".
func (r *Resource) Key() string { return r.Cluster + "/" + r.Name }

// Compare orders resources by cluster, then by name: negative where r comes before o. It is the order of
// Report.Resources.
func (r *Resource) Compare(o *Resource) int {
	return cmp.Or(strings.Compare(r.Cluster, o.Cluster), strings.Compare(r.Name, o.Name))
}

// Event is something that happened to a resource without an order: drift.
type Event struct {
	Seq      int       `json:"seq"`
	At       time.Time `json:"at"`
	Resource string    `json:"resource"` // key
	Kind     string    `json:"kind"`     // crashed, restarted, failed, adopted, lost, interface-gone, …
	Text     string    `json:"text"`
	PID      int       `json:"pid,omitempty"`
	Tail     []string  `json:"tail,omitempty"` // last lines of stderr
}

// Problem is what a check before a rollout found on an instance.
type Problem struct {
	Resource string `json:"resource"`
	// Permanent: the revision itself is at fault (a script that does not parse); else the host may
	// come right by itself (an interface that is down, a full disk).
	Permanent bool   `json:"permanent"`
	Message   string `json:"message"`
}

// Refused is the answer to an order whose precondition no longer holds; the way out is to plan again.
type Refused struct{ Why string }

// Error says why.
func (r *Refused) Error() string { return "refused: " + r.Why }

// IsRefused reports whether err is a refusal.
func IsRefused(err error) bool {
	_, ok := errors.AsType[*Refused](err)
	return ok
}
