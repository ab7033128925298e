package desired

import (
	"maps"
	"strings"
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
