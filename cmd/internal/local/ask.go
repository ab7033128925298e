package local

import (
	"context"
	"errors"

	"github.com/zeekrec/zeekrec/actuators/agent"
	"github.com/zeekrec/zeekrec/cmd/internal/api"
)

// Ask asks a node through the broker of its cluster.
func (n *Nodes) Ask(ctx context.Context, cluster, node, what, id string) ([]byte, error) {
	a, err := n.agent.Ask(ctx, cluster, agent.Question{Node: node, What: what, ID: id})
	if u, ok := errors.AsType[*agent.Unaskable](err); ok {
		return nil, &api.Error{Text: u.Error(), Code: api.CodeRefused}
	}
	if err != nil {
		return nil, err
	}
	if a.Refused != "" {
		return nil, errors.New(a.Refused)
	}
	return []byte(a.Value), nil
}
