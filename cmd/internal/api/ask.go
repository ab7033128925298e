package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/zeekrec/zeekrec/observed"
	"github.com/zeekrec/zeekrec/reconciler/engine"
)

// The questions of Ask.
const (
	AskValue    = "value"    // of the global identifier ID
	AskNetStats = "netstats" // the packet counters
)

// Ask asks running nodes of a cluster through its broker.
type Ask struct {
	Cluster string `json:"cluster"`
	// Nodes by name; none: all.
	Nodes []string `json:"nodes,omitempty"`
	What  string   `json:"what"`
	ID    string   `json:"id,omitempty"` // of AskValue
}

// NodeAnswer is what one node said, in JSON, or why it did not: in the words of the management framework, where it has some.
type NodeAnswer struct {
	Node  string          `json:"node"`
	Value json.RawMessage `json:"value,omitempty"`
	Error string          `json:"error,omitempty"`
}

// Bounds of asking.
const (
	askWithin = 10 * time.Second
	askAtOnce = 16
	askMost   = 32 << 20 // bytes of all answers together
)

func (s *Server) ask(r *http.Request) (any, error) {
	var q Ask
	if err := json.NewDecoder(http.MaxBytesReader(nil, r.Body, maxBody)).Decode(&q); err != nil {
		return nil, &Error{Text: "cannot understand the request: " + err.Error(), Code: CodeBadRequest}
	}
	return s.Ask(r.Context(), q)
}

// Ask has the nodes that are meant answer, or says of each why it does not; in the order of the names that were given. An
// error, an *Error, concerns all of them.
func (s *Server) Ask(ctx context.Context, q Ask) ([]NodeAnswer, error) {
	if q.What != AskValue && q.What != AskNetStats {
		return nil, &Error{Text: fmt.Sprintf("cannot ask for %q: there is %s and %s", q.What, AskValue, AskNetStats), Code: CodeBadRequest}
	}
	st, err := s.Engine.Status(ctx)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(st.Clusters, func(c engine.ClusterStatus) bool { return c.Name == q.Cluster })
	if i < 0 {
		return nil, &Error{Text: "there is no cluster " + q.Cluster, Code: CodeNotFound}
	}
	nodes := map[string]*engine.ResourceStatus{}
	var names []string
	for j := range st.Clusters[i].Resources {
		if r := &st.Clusters[i].Resources[j]; r.Type == "node" {
			nodes[r.Name] = r
			names = append(names, r.Name)
		}
	}
	if len(q.Nodes) > 0 {
		names = q.Nodes
	}
	return s.askThem(ctx, q, names, nodes)
}

func (s *Server) askThem(ctx context.Context, q Ask, names []string, nodes map[string]*engine.ResourceStatus) ([]NodeAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	out := make([]NodeAnswer, len(names))
	var size atomic.Int64
	asking, ctx := errgroup.WithContext(ctx)
	asking.SetLimit(askAtOnce)
	for i, name := range names {
		out[i].Node = name
		if out[i].Error = whyNot(name, nodes[name]); out[i].Error != "" {
			continue
		}
		asking.Go(func() error {
			v, err := s.Nodes.Ask(ctx, q.Cluster, name, q.What, q.ID)
			if whole, ok := errors.AsType[*Error](err); ok {
				return whole // it concerns them all
			}
			switch {
			case err != nil:
				out[i].Error = err.Error()
			case !json.Valid(v):
				out[i].Error = "its answer is no JSON"
			case size.Add(int64(len(v))) > askMost:
				out[i].Error = fmt.Sprintf("the answers of all are too large together: more than %d MiB", askMost>>20)
			default:
				out[i].Value = v
			}
			return nil
		})
	}
	if err := asking.Wait(); err != nil {
		return nil, err
	}
	return out, nil
}

// whyNot is why a node is not even asked; empty: it is.
func whyNot(name string, r *engine.ResourceStatus) string {
	switch {
	case r == nil:
		return "unknown cluster node"
	case r.State != observed.Running:
		return "cluster node " + name + " not in running state"
	case r.Answering != nil && !*r.Answering && r.Silent != nil:
		return name + " does not answer since " + r.Silent.Local().Format(time.TimeOnly)
	}
	return ""
}

// Ask asks nodes. An error concerns all of them.
func (c *Client) Ask(ctx context.Context, q Ask) ([]NodeAnswer, error) {
	return send[[]NodeAnswer](ctx, c, http.MethodPost, "ask", url.Values{}, q)
}
