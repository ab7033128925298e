package local

import (
	"fmt"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/desired/clustercfg"
	"github.com/zeekrec/zeekrec/reconciler/engine"
)

// unstated is no name of an instance.
const unstated = "\x00"

// parseFor reads files for a fleet. One that states no instances means the one agent that there is; where there are several, or none, it
// cannot be told which, and the file is at fault (decisions 24).
func parseFor(fleet *Fleet) engine.Parser {
	return func(f desired.ClusterFile, _ string) (*desired.Cluster, []desired.Diagnostic) {
		instance, ok := fleet.Only()
		if !ok {
			instance = unstated
		}
		c, ds := clustercfg.Parse(f, instance)
		if c != nil {
			fleet.Seen(c)
		}
		if c == nil || ok {
			return c, ds
		}
		for i := range c.Nodes {
			if n := &c.Nodes[i]; n.Instance == unstated {
				return c, append(ds, desired.Diagnostic{
					File: c.File, Line: n.Line, Severity: desired.Error, Code: "no-instance",
					Message: fmt.Sprintf("node %q states no instance, and there is not exactly one agent that it could mean", n.Name),
					Hint:    "add instance = NAME to each node; zeekrec agents lists the names",
				})
			}
		}
		return c, ds
	}
}
