package main

import (
	"fmt"
	"strings"

	"github.com/zeekrec/zeekrec/desired"
)

// shape is how large the fleet is.
type shape struct {
	clusters, hosts, nodes int // hosts of a cluster, nodes of a host
}

func (s shape) agents() int { return s.clusters * s.hosts }

// names of all agents.
func (s shape) names() (out []string) {
	for c := range s.clusters {
		for h := range s.hosts {
			out = append(out, instanceName(c, h))
		}
	}
	return out
}

func clusterName(i int) string { return fmt.Sprintf("site%03d", i) }

func instanceName(cluster, host int) string {
	return fmt.Sprintf("s%03d-h%02d.example.org", cluster, host)
}

func address(cluster, host int) string {
	return fmt.Sprintf("10.%d.%d.%d", cluster/200, cluster%200, host+1)
}

// changedWorker is the worker whose interface a change is about.
const changedWorker = "w-01-005"

// clusterText is the file of a cluster: manager and two loggers on the first host, a proxy on each, else workers. With version, the
// interface of changedWorker has another name.
func (s shape) clusterText(cluster, version int) []byte {
	var b strings.Builder
	b.WriteString("[instances]\n")
	for h := range s.hosts {
		fmt.Fprintf(&b, "%s = %s:2151\n", instanceName(cluster, h), address(cluster, h))
	}
	for h := range s.hosts {
		nodes := []string{fmt.Sprintf("[p-%02d]\nrole = proxy\n", h)}
		if h == 0 {
			nodes = append(nodes, "[manager]\nrole = manager\n", "[logger-1]\nrole = logger\n", "[logger-2]\nrole = logger\n")
		}
		for i := len(nodes); i < s.nodes; i++ {
			name, iface := fmt.Sprintf("w-%02d-%03d", h, i), fmt.Sprintf("eth%d", i%8)
			if name == changedWorker && version > 0 {
				iface = fmt.Sprintf("span%d", version)
			}
			nodes = append(nodes, fmt.Sprintf("[%s]\nrole = worker\ninterface = %s\n", name, iface))
		}
		for _, n := range nodes {
			fmt.Fprintf(&b, "\n%sinstance = %s\n", n, instanceName(cluster, h))
		}
	}
	b.WriteString("\n[zeekrec]\nmax_unavailable = 25%\n")
	return []byte(b.String())
}

// snapshot of all clusters; versions are those of clusters that have one.
func (s shape) snapshot(versions map[int]int) *desired.Snapshot {
	out := &desired.Snapshot{URL: "/etc/zeek/clusters"}
	for c := range s.clusters {
		name := clusterName(c)
		out.Files = append(out.Files, desired.ClusterFile{Name: name, File: name + ".cfg", Data: s.clusterText(c, versions[c])})
	}
	return out
}
