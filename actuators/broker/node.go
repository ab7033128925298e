package broker

import (
	"cmp"
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"
)

// Topics by which a node shows who it is (Zeek 8.0 to 9.1, facts: cluster/backend/zeromq/main.zeek).
const (
	nodePrefix   = "zeek.cluster.node."
	nodeIDPrefix = "zeek.cluster.nodeid."
)

// nodeIdentity is what a subscriber's topics tell of the node behind it.
type nodeIdentity struct {
	name string // of zeek.cluster.node.<name>.
	id   string // of zeek.cluster.nodeid.<id>.: zeromq_<name>_<host>_<pid>_<unique>
	role string // of zeek.cluster.<role>
	// local: its process was seen on this machine. Another machine may have the same name, and a container processes of its
	// own: that a process is not to be seen says something only of one that was.
	local bool
}

// maxName of nodes and their ids, in bytes.
const maxName = 512

// isName reports whether something can be the name or the id of a node, fit to be shown.
func isName(s string) bool {
	return s != "" && len(s) <= maxName && utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

// learn takes what a topic tells.
func (n *nodeIdentity) learn(topic string) {
	if s, ok := strings.CutPrefix(topic, nodeIDPrefix); ok {
		if s, ok = strings.CutSuffix(s, "."); ok && n.id == "" && isName(s) {
			n.id = s
		}
		return
	}
	if s, ok := strings.CutPrefix(topic, nodePrefix); ok {
		if s, ok = strings.CutSuffix(s, "."); ok && n.name == "" && isName(s) {
			n.name = s
		}
		return
	}
	switch topic {
	case "zeek.cluster.worker", "zeek.cluster.proxy", "zeek.cluster.logger", "zeek.cluster.manager":
		n.role = strings.TrimPrefix(topic, "zeek.cluster.")
	}
}

// topic that is the node's presence: its subscription is the node's coming, its cancellation the node's end.
func (n *nodeIdentity) topic() string { return nodeIDPrefix + n.id + "." }

// process returns the host and the pid that the id states. A WebSocket client's id ("…-websocket-1") is its node's,
// and so is its process. Names and hosts may have underscores in them: the name is known from the other topic.
func (n *nodeIdentity) process() (host string, pid int) {
	s := n.id
	if i := strings.LastIndex(s, "-websocket-"); i >= 0 {
		s = s[:i]
	}
	i := strings.LastIndexByte(s, '_') // before the unique part
	if i < 0 {
		return "", 0
	}
	s = s[:i]
	if i = strings.LastIndexByte(s, '_'); i < 0 {
		return "", 0
	}
	pid, err := strconv.Atoi(s[i+1:])
	if err != nil || pid <= 0 {
		return "", 0
	}
	host, ok := strings.CutPrefix(s[:i], "zeromq_"+n.name+"_")
	if !ok || n.name == "" {
		return "", pid
	}
	return host, pid
}

// sameNode reports whether two different ids are of one node, one of them therefore dead: names that are known
// decide, else everything before the pid has to be equal.
func (n *nodeIdentity) sameNode(o *nodeIdentity) bool {
	if n.id == "" || o.id == "" || n.id == o.id {
		return false
	}
	if n.name != "" && o.name != "" {
		return n.name == o.name
	}
	a, b := beforePID(n.id), beforePID(o.id)
	return a != "" && a == b
}

func beforePID(id string) string {
	if strings.Contains(id, "-websocket-") {
		return ""
	}
	for range 2 {
		i := strings.LastIndexByte(id, '_')
		if i < 0 {
			return ""
		}
		id = id[:i]
	}
	return id
}

// life is what is known of a process.
type life int

const (
	lifeUnknown life = iota // it is on another machine
	alive
	dead
)

// processes tells whether a process lives that a node's id names.
type processes func(host string, pid int) life

// localProcesses knows those of this machine. A process that has ended and was not waited for is dead.
func localProcesses() processes {
	here, err := os.Hostname()
	if err != nil {
		here = ""
	}
	return func(host string, pid int) life {
		if host != here || here == "" || pid <= 0 {
			return lifeUnknown
		}
		b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if os.IsNotExist(err) || errors.Is(err, syscall.ESRCH) {
			if _, err := os.Stat("/proc/self/stat"); err != nil {
				return lifeUnknown // no /proc
			}
			return dead
		}
		if err != nil {
			return lifeUnknown
		}
		// pid (name) state …: the name may have anything in it.
		if i := strings.LastIndexByte(string(b), ')'); i >= 0 && i+2 < len(b) && (b[i+2] == 'Z' || b[i+2] == 'X') {
			return dead
		}
		return alive
	}
}

func compareMembers(a, b Member) int {
	return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
}
