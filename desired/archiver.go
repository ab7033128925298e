package desired

import (
	"cmp"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// What an archiver does that is told nothing: what a file states in the same words is no difference. They are those of
// actuators/archive, and of who starts it.
const (
	DefaultCompression   = "gzip"
	DefaultArchiveLayout = "{cluster}/{day}"
	DefaultArchiverNice  = 10
	DefaultInterval      = time.Hour
)

// DefaultMinFree is the share of the archive's disk that stays free.
var DefaultMinFree = Quantity{N: 5, Percent: true}

// logs reports whether a node of the cluster writes logs: a logger, or the manager where there is none.
func (c *Cluster) logs(n *Node) bool {
	switch n.Role {
	case RoleLogger:
		return true
	case RoleManager:
		return !slices.ContainsFunc(c.Nodes, func(o Node) bool { return o.Role == RoleLogger })
	}
	return false
}

// ArchiverInstances are those that an archiver runs on, sorted: where there is a node that writes logs.
func (c *Cluster) ArchiverInstances() []string {
	if !c.Settings.Archive.Enabled {
		return nil
	}
	var out []string
	for i := range c.Nodes {
		if n := &c.Nodes[i]; c.logs(n) && !slices.Contains(out, n.Instance) {
			out = append(out, n.Instance)
		}
	}
	slices.Sort(out)
	return out
}

// archiverName is the name of the archiver's resource on an instance: of a file that declares several, each has the
// instance's in it, so that a second one that gets loggers changes nothing for the first.
func (c *Cluster) archiverName(instance string) string {
	name := "archiver"
	if len(c.Instances) > 1 {
		name += "-" + instance
	}
	if slices.ContainsFunc(c.Nodes, func(n Node) bool { return n.Name == name }) {
		return "zeekrec." + name // no node can have that name
	}
	return name
}

// helper is a process of zeekrec's own that belongs to a cluster.
type helper struct{ name, instance string }

// helpers of the cluster: its broker, and its archivers.
func (c *Cluster) helpers() []helper {
	var out []helper
	if name := c.brokerName(); name != "" {
		out = append(out, helper{name, c.BrokerInstance()})
	}
	for _, i := range c.ArchiverInstances() {
		out = append(out, helper{c.archiverName(i), i})
	}
	return out
}

// ArchiveRoot is the folder that holds the folders of days: dir, and of the layout what stands before the day. An empty
// layout is the default.
func ArchiveRoot(dir, layout, cluster, instance string) string {
	above := path.Dir(cmp.Or(layout, DefaultArchiveLayout))
	return path.Join(dir, strings.NewReplacer("{cluster}", cluster, "{instance}", instance).Replace(above))
}

// archivers are the cluster's archivers as resources.
func (k *compiler) archivers(c *Cluster) []Resource {
	var out []Resource
	for _, instance := range c.ArchiverInstances() {
		out = append(out, k.archiver(c, instance))
	}
	return out
}

func (k *compiler) archiver(c *Cluster, instance string) Resource {
	s, a := &c.Settings, &c.Settings.Archive
	name := c.archiverName(instance)
	spec := &ArchiverSpec{
		Dir: a.Dir, Layout: unless(a.Layout, DefaultArchiveLayout), Compress: unless(a.Compress, DefaultCompression),
		KeepSeconds: int64(a.Keep / time.Second), MinFree: a.MinFree, IntervalSeconds: int(cmp.Or(a.Interval, DefaultInterval) / time.Second),
		Command: a.Command, UTC: a.Timezone == "UTC", Parallel: a.Parallel, Rate: a.Rate, User: s.User, Nice: DefaultArchiverNice,
	}
	if s.Metrics {
		spec.MetricsPort = k.next.Metrics[c.Name+"/"+name].Port
		spec.MetricsAddress = cmp.Or(s.MetricsAddress, "127.0.0.1")
	}
	if l, ok := s.Limits[RoleArchiver]; ok {
		spec.CPUs, spec.OpenFiles, spec.Group = l.CPUs, l.OpenFiles, l.Group
		if l.Nice != nil {
			spec.Nice = *l.Nice
		}
	}
	r := Resource{Cluster: c.Name, Name: name, Type: TypeArchiver, Role: RoleArchiver, Instance: instance, Archiver: spec}
	for _, u := range archiverTable() {
		r.Parts = append(r.Parts, Part{Field: u.field, Relation: u.relation, Values: u.values(spec)})
	}
	r.Seal()
	return r
}

// archiverUse is one row of the table of archivers.
type archiverUse struct {
	field    string
	relation Relation
	values   func(s *ArchiverSpec) []string
	why      string
}

// archiverTable has a row for everything that an archiver is started from or told. The loggers are not in it: they share
// its queue, and a change of theirs is nothing to it.
func archiverTable() []archiverUse {
	t := []archiverUse{
		{"metrics", Equal, func(s *ArchiverSpec) []string { return listenAt(s.MetricsAddress, s.MetricsPort) }, "bound at start"},
		{"user", Equal, func(s *ArchiverSpec) []string { return nonEmpty(s.User) }, "set before exec"},

		// What is changed while it runs: each log is stored by the settings of the moment that it is begun.
		{"dir", Live, func(s *ArchiverSpec) []string { return nonEmpty(s.Dir) }, "asked for every log; what is there stays"},
		{"layout", Live, func(s *ArchiverSpec) []string { return nonEmpty(s.Layout) }, "asked for every log; what is there stays"},
		{"compress", Live, func(s *ArchiverSpec) []string {
			if s.Compress == "none" {
				return []string{"uncompressed"} // a reason shows what has no value as "none"
			}
			return nonEmpty(s.Compress)
		}, "asked for every log"},
		{"keep", Live, func(s *ArchiverSpec) []string { return seconds(s.KeepSeconds) }, "asked when days are looked through"},
		{"min_free", Live, func(s *ArchiverSpec) []string { return quantityUnless(s.MinFree, DefaultMinFree) }, "asked for every log"},
		{"interval", Live, func(s *ArchiverSpec) []string {
			return seconds(unless(int64(s.IntervalSeconds), int64(DefaultInterval/time.Second)))
		}, "a backlog is reckoned in it"},
		{"command", Live, func(s *ArchiverSpec) []string { return nonEmpty(s.Command) }, "asked at every look at the queue"},
		{"timezone", Live, func(s *ArchiverSpec) []string {
			if !s.UTC {
				return nil
			}
			return []string{"UTC"}
		}, "asked when days are looked through"},
		{"parallel", Live, func(s *ArchiverSpec) []string { return number(s.Parallel) }, "asked at every look at the queue"},
		{"rate", Live, func(s *ArchiverSpec) []string { return number(int(s.Rate)) }, "asked for every read"},
		{"cpus", Live, func(s *ArchiverSpec) []string { return ints(s.CPUs) }, "sched_setaffinity per thread"},
		{"nice", Live, func(s *ArchiverSpec) []string {
			if s.Nice == DefaultArchiverNice {
				return nil
			}
			return []string{strconv.Itoa(s.Nice)}
		}, "setpriority per thread"},
		{"open_files", Live, func(s *ArchiverSpec) []string { return number(int(s.OpenFiles)) }, "prlimit"},
	}
	for _, p := range groupParts() {
		t = append(t, archiverUse{p.field, Live, func(s *ArchiverSpec) []string { return p.values(s.Group) }, p.why})
	}
	return t
}

// seconds as a duration for people: "90d" is 2160h0m0s.
func seconds(n int64) []string {
	if n == 0 {
		return nil
	}
	return []string{(time.Duration(n) * time.Second).String()}
}

// quantityUnless is "5%" or "1000000"; nothing for the default.
func quantityUnless(q, def Quantity) []string {
	if q == def {
		return nil
	}
	text := strconv.Itoa(q.N)
	if q.Percent {
		text += "%"
	}
	return []string{text}
}
