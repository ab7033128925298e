package api

import (
	"context"
	"io"
	"time"

	"github.com/zeekrec/zeekrec/reconciler"
	"github.com/zeekrec/zeekrec/reconciler/engine"
)

// Engine is what the server needs of the engine; *engine.Engine is one.
type Engine interface {
	Status(ctx context.Context) (*engine.Status, error)
	Plan(ctx context.Context) (*reconciler.Plan, error)
	World(ctx context.Context) (*engine.World, error)
	Sync(ctx context.Context) error
	Confirm(ctx context.Context, cluster, revision, by string) error
	Admit(ctx context.Context, commit, by string) error
	Suspend(ctx context.Context, scope, reason, by string, until time.Time) error
	Resume(ctx context.Context, scope, by string) error
	Hold(ctx context.Context, scopes []string, reason, by string, until time.Time) error
	Release(ctx context.Context, scopes []string, by string) error
	Restart(ctx context.Context, scopes []string, outdated bool, reason, by string) ([]string, error)
	Rollback(ctx context.Context, cluster, revision, reason, by string) error
	Unpin(ctx context.Context, cluster, by string) error
	Retry(ctx context.Context, cluster, by string) error
	RotateKeys(ctx context.Context, cluster, reason, by string, force bool) (id string, err error)
	Find(ctx context.Context, raw string) (key, instance string, err error)
}

// Nodes is what can be had of nodes beyond what is reported of them.
type Nodes interface {
	// Logs copies outputs to w; with Follow until ctx ends.
	Logs(ctx context.Context, key string, o LogOptions, w io.Writer) error
	Top(ctx context.Context) ([]Usage, error)
	// Ask asks a running node what is asked for in Ask.What, and returns its answer as JSON, or as an error why it does not
	// answer; an *Error where no node of the cluster can be asked.
	Ask(ctx context.Context, cluster, node, what, id string) ([]byte, error)
	// Diag writes a tar.gz that also holds the files of more, and gives up when ctx ends.
	Diag(ctx context.Context, key string, more map[string][]byte, at time.Time, w io.Writer) error
}

// LogOptions say what of a node's outputs is wanted.
type LogOptions struct {
	// Stdout and Stderr; neither means both.
	Stdout, Stderr bool
	Follow         bool
	// Since leaves out what is known to be older. Most lines bear no time: they count as being as old
	// as the line with a time before them (the line that each start adds, and Zeek's own, which begin with
	// seconds since 1970). Zero: everything that is kept of the current files.
	Since time.Time
	// Lines is how many of the last lines of each output to begin with; 0: all.
	Lines int
}

// Agent is a host that is, was, or wants to be enrolled. Its JSON form is that of zeekrec agents --json.
type Agent struct {
	Name string `json:"name"`
	// State is pending, approved or revoked.
	State string    `json:"state"`
	Since time.Time `json:"since"`
	// By is who decided it.
	By        string    `json:"by,omitempty"`
	Connected bool      `json:"connected"`
	Heard     time.Time `json:"last_report,omitzero"`
	// Key is the fingerprint of the key that it has, to be compared before it is approved.
	Key string `json:"key"`
	// Expires is when its certificate ends, unless it is renewed, which it is in time while it is connected.
	Expires time.Time `json:"certificate_expires,omitzero"`
}

// Enrolment decides which hosts are a fleet's.
type Enrolment interface {
	Agents() []Agent
	// Token makes a token with which one host can join within the time: under a name, or under any, and then it has to be approved.
	Token(name string, valid time.Duration, by string) (string, error)
	Approve(name, by string) error
	Revoke(name, by string) error
}

// Usage is what one node uses. Its JSON form is that of zeekrec top --json.
type Usage struct {
	Resource string  `json:"resource"`
	Role     string  `json:"role"`
	PID      int     `json:"pid"`
	CPU      float64 `json:"cpu_percent"` // of one CPU, over the last moment
	RSS      uint64  `json:"rss"`         // bytes
	Threads  int     `json:"threads"`
	// Packets and Drops since the start; nil where the node does not tell.
	Packets *uint64 `json:"packets"`
	Drops   *uint64 `json:"drops"`
	// PacketRate is in a second, DropRate a share of what came, 0 to 1, and MainLoop how much of one CPU Zeek's main loop took, in
	// percent: over the last minute, as the agent has examined the node; nil where nothing is known.
	PacketRate *float64 `json:"packets_per_second"`
	DropRate   *float64 `json:"drop_rate"`
	MainLoop   *float64 `json:"main_loop_percent"`
	// State and Degraded as in the status.
	State    string   `json:"state"`
	Degraded []string `json:"degraded,omitempty"`
}

// Request is the body of all POSTs; each uses what it needs.
type Request struct {
	Cluster  string   `json:"cluster,omitempty"`
	Revision string   `json:"revision,omitempty"`
	Commit   string   `json:"commit,omitempty"`
	Scope    string   `json:"scope,omitempty"`
	Scopes   []string `json:"scopes,omitempty"`
	Outdated bool     `json:"outdated,omitempty"`
	Force    bool     `json:"force,omitempty"`
	Reason   string   `json:"reason,omitempty"`
	// Agent is the name of one.
	Agent string `json:"agent,omitempty"`
	// Valid is for how long a token is.
	Valid time.Duration `json:"valid,omitempty"`
	// Until is when a suspension or a hold ends by itself; zero: it does not.
	Until time.Time `json:"until,omitzero"`
}

// Result is the answer to a POST.
type Result struct {
	// Resources that a restart was asked of.
	Resources []string `json:"resources,omitempty"`
	// Keys is the id of the keys that a rotation leads to.
	Keys string `json:"keys,omitempty"`
	// Token with which an agent can join.
	Token string `json:"token,omitempty"`
	// At is the time of the server when it took the request.
	At time.Time `json:"at"`
}

// The codes of errors.
const (
	CodeBadRequest = "bad-request" // the request cannot be understood
	CodeNotFound   = "not-found"   // it names something that there is not
	CodeRefused    = "refused"     // it cannot be done now, the text says why
	CodeEnding     = "ending"      // zeekrec is about to end, or did not answer in time
)

// Error is an answer that is none.
type Error struct {
	Text string `json:"error"`
	Code string `json:"code"`
}

// Error is its text.
func (e *Error) Error() string { return e.Text }
