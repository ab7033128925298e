package engine

import (
	"context"
	"time"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/observed"
)

// Agents is how the engine reaches the hosts, be they one in the same process or a thousand over a
// network. All methods may be called from several goroutines.
type Agents interface {
	// Reports has the newest report of every agent that ever spoke, in any order. Where it is numbered (Seen), the engine fills in
	// Joined, Answering, Silent, Healthy and Reason of its resources in place, so others leave those five alone. Nothing else of a report
	// changes once it was returned: where anything is new, be it the time alone, the next call returns another report.
	Reports() []*observed.Report
	// Changed yields a value after Reports changed; it may run several changes together.
	Changed() <-chan struct{}
	// Do hands an order to an agent. It returns when the agent has it on disk and has begun, not when it
	// is done: that is seen in reports. A refusal is an *observed.Refused.
	Do(ctx context.Context, instance string, o desired.Order) error
	// PutFiles makes NAME/ of a cluster available on an instance. Repeating it costs little.
	PutFiles(ctx context.Context, instance, cluster string, t desired.Tree) error
	// Ask has the agent find out what the Zeek at a path is; the answer is in its reports when Ask returns.
	Ask(ctx context.Context, instance, zeek string) error
	// Loads asks the Zeek there which scripts of NAME/ each resource would load: names within NAME/, sorted, by the resource's key. Who
	// is missing could not be asked. It disturbs nothing. With each, every resource is asked for by itself, since its name may matter.
	Loads(ctx context.Context, instance string, rs []desired.Resource, each bool) (map[string][]string, error)
	// Check is the preflight: would these resources start there? It disturbs nothing.
	Check(ctx context.Context, instance string, rs []desired.Resource) ([]observed.Problem, error)
	// CheckUpdate is the preflight of nodes that run and are to be told options: would they take them?
	CheckUpdate(ctx context.Context, instance string, rs []desired.Resource) ([]observed.Problem, error)
	// Names asks the Zeek of a node which names its scripts let be redefined. It disturbs nothing. NAME/ has to be there.
	Names(ctx context.Context, instance string, r desired.Resource) (desired.ZeekNames, error)
}

// Journal keeps records and files. What Append has returned for is on disk.
type Journal interface {
	Append(ctx context.Context, rs ...*Record) error
	PutFile(ctx context.Context, f desired.ClusterFile) (object string, err error)
	File(ctx context.Context, object string) (desired.ClusterFile, error)
	Collect(ctx context.Context) error
	// RollError is why the journal grows beyond its bound; nil when it does not.
	RollError() error
}

// Keys is the store of the CURVE keys of clusters, of which the engine sees the ids alone. Its methods read and
// write files; the engine calls them one at a time, and nobody else changes the store meanwhile. What cannot be read
// or written is an error, and changes nothing.
type Keys interface {
	// IDs of a cluster's keys, the one to use first; none where the cluster has none.
	IDs(cluster string) ([]string, error)
	// Ensure makes keys where there are none, and returns the id of those to use.
	Ensure(cluster string) (id string, err error)
	// Rotate puts new keys before those that there are; it refuses where there are several.
	Rotate(cluster string) (id string, err error)
	// Retire removes all keys but one.
	Retire(cluster, keep string) error
}

// Observation is what a source says: either a snapshot, or why there is none.
type Observation struct {
	Snapshot *desired.Snapshot
	Err      error
	// Commit that Err is about; nil where it is about the source as a whole.
	Commit    *desired.Commit
	CheckedAt time.Time
	// Notes say what the source waits for, or does with less than it should: a file that somebody holds open.
	Notes []string
}

// Parser reads one cluster's file (desired/clustercfg).
type Parser func(f desired.ClusterFile, instance string) (*desired.Cluster, []desired.Diagnostic)

// Validator judges clusters together.
type Validator func([]*desired.Cluster) []desired.Diagnostic

// Timings of rollouts. The zero value of each means its default (decisions 14).
type Timings struct {
	Stable      time.Duration // RUNNING for this long counts as healthy after a restart: 2 s
	Start, Stop time.Duration // deadlines of an action: 60 s and 90 s (60 s, then KILL, and its report)
	Check       time.Duration // of a preflight: 90 s
	Stale       time.Duration // a report older than this is no news: 15 s
	Recheck     time.Duration // between preflights that failed for a reason that may pass: 5 s, doubled up to 60 s
	Stalled     time.Duration // after which a rollout that failed with nothing to go back to is tried again: 5 min
}

func (t Timings) withDefaults() Timings {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&t.Stable, 2*time.Second)
	def(&t.Start, 60*time.Second)
	def(&t.Stop, 90*time.Second)
	def(&t.Check, 90*time.Second)
	def(&t.Stale, 15*time.Second)
	def(&t.Recheck, 5*time.Second)
	def(&t.Stalled, 5*time.Minute)
	return t
}
