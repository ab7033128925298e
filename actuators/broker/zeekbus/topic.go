package zeekbus

import "bytes"

// The topics that the roles subscribe to. Subscriptions are prefixes.
const (
	TopicManager = "zeek.cluster.manager"
	TopicLogger  = "zeek.cluster.logger"
	TopicProxy   = "zeek.cluster.proxy"
	TopicWorker  = "zeek.cluster.worker"
)

// The beginnings of the other topics that Zeek's own scripts use.
const (
	prefixCluster = "zeek.cluster."
	prefixNode    = "zeek.cluster.node."
	prefixNodeID  = "zeek.cluster.nodeid."
	prefixPool    = "zeek.cluster.pool."
	// PrefixControl is where the answers of the control framework go; the broker subscribes to it. It has
	// slashes whatever the backend.
	PrefixControl = "zeek/control/"
	prefixTable   = "zeek/table/"
	// PrefixInternal begins the topics by which a node sees that its subscriptions have gone round: they
	// have to be forwarded behind all others.
	PrefixInternal = "zeek.zeromq.internal."
)

// NodeTopic is the topic that only the node with the name subscribes to: zeek.cluster.node.<name>.
func NodeTopic(name string) string { return prefixNode + name + "." }

// NodeIDTopic is the topic that only the process with the id subscribes to: zeek.cluster.nodeid.<id>.
func NodeIDTopic(id string) string { return prefixNodeID + id + "." }

// Class is a group of topics that are counted together. There are few, so that an array of NumClasses
// counters serves for all but ClassUser.
type Class uint8

// The classes.
const (
	// ClassOther is what has no sensible name: empty, or not printable.
	ClassOther Class = iota
	ClassManager
	ClassLogger
	ClassProxy
	ClassWorker
	ClassNode
	ClassNodeID
	ClassPool
	ClassControl
	ClassTable
	ClassInternal
	// ClassUser is any topic that Zeek's scripts for clusters do not know.
	ClassUser
	// NumClasses is how many there are.
	NumClasses
)

var classNames = [NumClasses]string{"other", TopicManager, TopicLogger, TopicProxy, TopicWorker, "zeek.cluster.node",
	"zeek.cluster.nodeid", "zeek.cluster.pool", "zeek.control", "zeek.table", "zeek.zeromq.internal", "user"}

// String names the class in metrics, by the beginning of its topics. For ClassUser it is "user".
func (c Class) String() string {
	if c < NumClasses {
		return classNames[c]
	}
	return classNames[ClassOther]
}

// Role is "manager", "logger", "proxy" or "worker" for the classes of the roles, and "" for others.
func (c Class) Role() string {
	if c >= ClassManager && c <= ClassWorker {
		return classNames[c][len(prefixCluster):]
	}
	return ""
}

// The classes of topics zeek.cluster.<word>.
var clusterWords = [...]struct {
	word  string
	class Class
}{{"manager", ClassManager}, {"logger", ClassLogger}, {"proxy", ClassProxy}, {"worker", ClassWorker}, {"node", ClassNode},
	{"nodeid", ClassNodeID}, {"pool", ClassPool}}

// The classes of topics that do not begin with zeek.cluster.
var otherPrefixes = [...]struct {
	prefix string
	class  Class
}{{PrefixControl, ClassControl}, {prefixTable, ClassTable}, {PrefixInternal, ClassInternal}}

// Classify says what a topic, or a subscription, is about, and returns the part of it that says which one:
//
//   - ClassNode and ClassNodeID: the node's name, or its id; nil for what names none, such as a subscription
//     to the topics of all nodes
//   - ClassPool: the pool
//   - ClassManager to ClassWorker: what follows a dot, nil for the topic of the role itself
//   - ClassControl, ClassTable, ClassInternal: what follows the prefix, nil for nothing
//   - ClassUser: the beginning that names a group of topics: three components where the first is zeek, else
//     two. It is printable ASCII of at most 64 bytes. How many groups are kept apart is for the caller to bound.
//
// It allocates nothing: what it returns is a part of topic.
func Classify(topic []byte) (Class, []byte) {
	if rest, ok := after(topic, prefixCluster); ok {
		for _, w := range clusterWords {
			rest, ok := after(rest, w.word)
			if !ok || len(rest) > 0 && rest[0] != '.' {
				continue
			}
			if len(rest) < 2 {
				return w.class, nil
			}
			rest = rest[1:]
			if w.class == ClassNode || w.class == ClassNodeID {
				// The last dot keeps worker-1 from receiving what is for worker-10.
				if len(rest) < 2 || rest[len(rest)-1] != '.' {
					return w.class, nil
				}
				rest = rest[:len(rest)-1]
			}
			return w.class, rest
		}
	}
	for _, p := range otherPrefixes {
		if rest, ok := after(topic, p.prefix); ok {
			return p.class, rest
		}
	}
	if group := userGroup(topic); len(group) > 0 {
		return ClassUser, group
	}
	return ClassOther, nil
}

// maxGroup bounds the name of a group of user topics.
const maxGroup = 64

// userGroup is the beginning of a topic that names its group.
func userGroup(topic []byte) []byte {
	components := 2
	if rest, ok := after(topic, "zeek"); ok && len(rest) > 0 && separates(rest[0]) {
		components = 3
	}
	for i, c := range topic {
		// Topics of Broker's time may begin with a slash.
		if i > 0 && separates(c) {
			if components--; components == 0 {
				return topic[:i]
			}
		}
		if i == maxGroup || c <= ' ' || c > '~' {
			return nil
		}
	}
	return topic
}

func separates(c byte) bool { return c == '.' || c == '/' }

// after is what follows prefix, nil for nothing.
func after(b []byte, prefix string) (rest []byte, ok bool) {
	if len(b) < len(prefix) || string(b[:len(prefix)]) != prefix {
		return nil, false
	}
	if len(b) == len(prefix) {
		return nil, true
	}
	return b[len(prefix):], true
}

// ControlAnswer takes the topic of an answer of the control framework apart: zeek/control/<event>/<node>.
func ControlAnswer(topic []byte) (event, node string, ok bool) {
	rest, ok := after(topic, PrefixControl)
	if !ok {
		return "", "", false
	}
	e, n, ok := bytes.Cut(rest, []byte{'/'})
	if !ok || len(e) == 0 || len(n) == 0 {
		return "", "", false
	}
	return string(e), string(n), true
}
