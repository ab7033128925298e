package broker

import "time"

// Status is what the broker knows at one moment.
type Status struct {
	Version string    `json:"version"` // of zeekrec
	PID     int       `json:"pid"`
	Since   time.Time `json:"since"`
	XPub    string    `json:"xpub"`
	XSub    string    `json:"xsub"`
	// Curve has the public server keys that are accepted, the one to use first; empty: no encryption.
	Curve    []string `json:"curve,omitempty"`
	Settings Settings `json:"settings"`
	// Holding: publishers wait, because subscribers of before the last restart are not back yet.
	Holding bool `json:"holding,omitempty"`
	// Members are the nodes that have joined, sorted by name.
	Members []Member `json:"members"`
	// Peers are the connections, subscribers first, sorted by name and address.
	Peers []PeerStatus `json:"peers,omitempty"`
	// Topics by class ("zeek.cluster.worker"), sorted.
	Topics []TopicStatus `json:"topics,omitempty"`
	// Refused are connections that were closed before or in the handshake, by reason.
	Refused map[string]uint64 `json:"refused,omitempty"`
	// Totals of messages and bytes, received from publishers, and sent to and dropped for subscribers.
	Received Counts `json:"received"`
	Sent     Counts `json:"sent"`
	Dropped  Counts `json:"dropped"`
}

// Counts of messages, whatever number of frames they have, and of their bytes on the wire before encryption.
type Counts struct {
	Messages uint64 `json:"messages"`
	Bytes    uint64 `json:"bytes"`
}

// Member is a node that has joined: it is subscribed to its own topics.
type Member struct {
	Name string `json:"name"`
	ID   string `json:"id"`             // zeromq_<name>_<host>_<pid>_<unique>
	Role string `json:"role,omitempty"` // from its subscriptions
	Host string `json:"host,omitempty"`
	PID  int    `json:"pid,omitempty"`
	// Connected is false during the grace period.
	Connected bool      `json:"connected"`
	Since     time.Time `json:"since"`
}

// PeerStatus is one connection.
type PeerStatus struct {
	Kind    string `json:"kind"` // subscriber, publisher
	Address string `json:"address"`
	// Node is its name, where it is known.
	Node      string    `json:"node,omitempty"`
	Mechanism string    `json:"mechanism"`
	Since     time.Time `json:"since"`
	// Passed are messages received from a publisher, or sent to a subscriber; Dropped those that its full queue cost.
	Passed  Counts `json:"passed"`
	Dropped Counts `json:"dropped,omitzero"`
	// Queued for a subscriber now.
	Queued Counts `json:"queued,omitzero"`
	// Stalled since, for a subscriber that takes nothing.
	Stalled time.Time `json:"stalled,omitzero"`
	// Subscriptions of a subscriber.
	Subscriptions int `json:"subscriptions,omitempty"`
}

// TopicStatus counts what was published to topics of one class.
type TopicStatus struct {
	Class    string `json:"class"`
	Received Counts `json:"received"`
	Sent     Counts `json:"sent"`
	Dropped  Counts `json:"dropped"`
}
