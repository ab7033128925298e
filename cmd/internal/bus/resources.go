package bus

import (
	"slices"

	"github.com/zeekrec/zeekrec/desired"
)

// resources are several of them in a body. Each node's spec has the layout of its whole cluster, so layouts go beside them, once each.
type resources struct {
	Resources []desired.Resource `json:"resources"` // nodes without their layouts
	Layouts   []desired.Layout   `json:"layouts,omitempty"`
	// Of says for each resource which layout is its own, from 1; 0: it has none.
	Of []int `json:"of,omitempty"`
}

func pack(rs []desired.Resource) resources {
	out := resources{Resources: slices.Clone(rs), Of: make([]int, len(rs))}
	for i := range out.Resources {
		r := &out.Resources[i]
		if r.Node == nil || len(r.Node.Layout.Nodes) == 0 {
			continue
		}
		at := slices.IndexFunc(out.Layouts, func(l desired.Layout) bool { return sameLayout(&l, &r.Node.Layout) })
		if at < 0 {
			at = len(out.Layouts)
			out.Layouts = append(out.Layouts, r.Node.Layout)
		}
		out.Of[i] = at + 1
		bare := *r.Node
		bare.Layout = desired.Layout{}
		r.Node = &bare
	}
	return out
}

// sameLayout reports whether two layouts are equal; those of nodes that were compiled together are one and the same.
func sameLayout(a, b *desired.Layout) bool {
	if a.ManagerIsLogger != b.ManagerIsLogger || len(a.Nodes) != len(b.Nodes) {
		return false
	}
	return &a.Nodes[0] == &b.Nodes[0] || slices.Equal(a.Nodes, b.Nodes)
}

// unpack gives nodes their layouts, which they share.
func (p *resources) unpack() []desired.Resource {
	for i := range p.Resources {
		r := &p.Resources[i]
		if r.Node == nil || i >= len(p.Of) || p.Of[i] < 1 || p.Of[i] > len(p.Layouts) {
			continue
		}
		r.Node.Layout = p.Layouts[p.Of[i]-1]
	}
	return p.Resources
}
