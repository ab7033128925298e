package desired

import (
	"maps"
	"strings"
	"time"
)

// Of is the part of an assignment that belongs to one cluster.
func (a Assignment) Of(cluster string) Assignment {
	return a.filter(func(key string) bool { return belongs(key, cluster) })
}

// With is the assignment in which one cluster's part is replaced by own. What belongs to no cluster
// (addresses of instances) stays.
func (a Assignment) With(cluster string, own Assignment) Assignment {
	out := a.filter(func(key string) bool { return !belongs(key, cluster) })
	out.Addresses = a.Addresses
	maps.Copy(out.Ports, own.Ports)
	maps.Copy(out.Metrics, own.Metrics)
	maps.Copy(out.Brokers, own.Brokers)
	maps.Copy(out.Fanout, own.Fanout)
	maps.Copy(out.LogSlots, own.LogSlots)
	maps.Copy(out.Local, own.Local)
	maps.Copy(out.Revisions, own.Revisions)
	maps.Copy(out.Gone, own.Gone)
	return out
}

// Overlay is the assignment in which the parts of several clusters are replaced by their own, by cluster: With for all of them in
// one walk.
func (a Assignment) Overlay(own map[string]Assignment) Assignment {
	out := a.filter(func(key string) bool { _, replaced := own[clusterOf(key)]; return !replaced })
	out.Addresses = a.Addresses
	for _, o := range own {
		maps.Copy(out.Ports, o.Ports)
		maps.Copy(out.Metrics, o.Metrics)
		maps.Copy(out.Brokers, o.Brokers)
		maps.Copy(out.Fanout, o.Fanout)
		maps.Copy(out.LogSlots, o.LogSlots)
		maps.Copy(out.Local, o.Local)
		maps.Copy(out.Revisions, o.Revisions)
		maps.Copy(out.Gone, o.Gone)
	}
	return out
}

// Parts is the assignment by cluster, as Of has it, of those that are asked for, in one walk.
func (a Assignment) Parts(clusters []string) map[string]Assignment {
	out := make(map[string]Assignment, len(clusters))
	for _, c := range clusters {
		out[c] = Assignment{}.clone()
	}
	share(a.Ports, out, func(o Assignment) map[string]Assigned { return o.Ports })
	share(a.Metrics, out, func(o Assignment) map[string]Assigned { return o.Metrics })
	share(a.Brokers, out, func(o Assignment) map[string]BrokerPorts { return o.Brokers })
	share(a.Fanout, out, func(o Assignment) map[string]int { return o.Fanout })
	share(a.LogSlots, out, func(o Assignment) map[string]LogSlots { return o.LogSlots })
	share(a.Local, out, func(o Assignment) map[string]bool { return o.Local })
	share(a.Revisions, out, func(o Assignment) map[string]string { return o.Revisions })
	share(a.Gone, out, func(o Assignment) map[string]time.Time { return o.Gone })
	for c, o := range out {
		o.Addresses = nil // they belong to no cluster
		out[c] = o
	}
	return out
}

func share[V any](m map[string]V, out map[string]Assignment, of func(Assignment) map[string]V) {
	for k, v := range m {
		if o, ok := out[clusterOf(k)]; ok {
			of(o)[k] = v
		}
	}
}

// differs names the clusters whose parts of two assignments are not the same.
func (a Assignment) differs(b Assignment) map[string]bool {
	out := map[string]bool{}
	mark := func(key string) { out[clusterOf(key)] = true }
	compareKeys(a.Ports, b.Ports, mark)
	compareKeys(a.Metrics, b.Metrics, mark)
	compareKeys(a.Brokers, b.Brokers, mark)
	compareKeys(a.Fanout, b.Fanout, mark)
	compareKeysFunc(a.LogSlots, b.LogSlots, LogSlots.equal, mark)
	return out
}

func compareKeys[V comparable](a, b map[string]V, mark func(string)) {
	compareKeysFunc(a, b, func(x, y V) bool { return x == y }, mark)
}

func compareKeysFunc[V any](a, b map[string]V, same func(V, V) bool, mark func(string)) {
	for k, v := range a {
		if w, ok := b[k]; !ok || !same(v, w) {
			mark(k)
		}
	}
	for k := range b {
		if _, ok := a[k]; !ok {
			mark(k)
		}
	}
}

// clusterOf a key.
func clusterOf(key string) string {
	if i := strings.IndexAny(key, "/@"); i >= 0 {
		return key[:i]
	}
	return key
}

// Same reports whether two assignments hold the same.
func (a Assignment) Same(b Assignment) bool {
	return maps.Equal(a.Ports, b.Ports) && maps.Equal(a.Metrics, b.Metrics) && maps.Equal(a.Brokers, b.Brokers) &&
		maps.Equal(a.Fanout, b.Fanout) && maps.EqualFunc(a.LogSlots, b.LogSlots, LogSlots.equal) && maps.Equal(a.Addresses, b.Addresses) && maps.Equal(a.Local, b.Local) &&
		maps.Equal(a.Revisions, b.Revisions) && maps.Equal(a.Gone, b.Gone)
}

// belongs reports whether a key ("cluster", "cluster/node", "cluster@instance") is one of the cluster's. The
// name of a cluster has none of the separators.
func belongs(key, cluster string) bool {
	rest, ok := strings.CutPrefix(key, cluster)
	return ok && (rest == "" || rest[0] == '/' || rest[0] == '@')
}

// filter copies what keep says, without the addresses.
func (a Assignment) filter(keep func(key string) bool) Assignment {
	return Assignment{
		Ports: pick(a.Ports, keep), Metrics: pick(a.Metrics, keep), Brokers: pick(a.Brokers, keep), Fanout: pick(a.Fanout, keep),
		LogSlots: pick(a.LogSlots, keep), Local: pick(a.Local, keep), Revisions: pick(a.Revisions, keep), Gone: pick(a.Gone, keep),
	}
}

func pick[V any](m map[string]V, keep func(string) bool) map[string]V {
	out := make(map[string]V)
	for k, v := range m {
		if keep(k) {
			out[k] = v
		}
	}
	return out
}
