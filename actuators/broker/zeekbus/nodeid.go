package zeekbus

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// NodeID is what is in the id that a Zeek process gives itself at its start, which is also the second frame
// of all of its messages: zeromq_<name>_<hostname>_<pid>_<unique>.
type NodeID struct {
	Name   string // of the node in the cluster layout
	Host   string // name of the host
	PID    int
	Unique string // "N" and letters and digits: another one with each start
	// WebSocket is the number of the connection, for a WebSocket client of this node; else "".
	WebSocket string
}

const (
	idPrefix    = "zeromq_"
	idWebSocket = "-websocket-"
)

// String is the id.
func (n NodeID) String() string {
	id := idPrefix + n.Name + "_" + n.Host + "_" + strconv.Itoa(n.PID) + "_" + n.Unique
	if n.WebSocket != "" {
		id += idWebSocket + n.WebSocket
	}
	return id
}

// ParseNodeID takes an id apart; the String of the result is id. Names and host names may have underscores
// in them, so name says what the node is called, as the topic of the node with that connection does. Where
// it is not known, "", the host is taken to have none.
func ParseNodeID(id, name string) (NodeID, error) {
	n, err := parseNodeID(id, name)
	if err != nil {
		return NodeID{}, fmt.Errorf("cannot take the node id %q apart: %w", clip(id), err)
	}
	return n, nil
}

func parseNodeID(id, name string) (n NodeID, err error) {
	rest, ok := strings.CutPrefix(id, idPrefix)
	if !ok {
		return n, fmt.Errorf("it does not begin with %s", idPrefix)
	}
	// What follows the name is read from the right, where no part has underscores.
	rest, unique, ok := cutLast(rest)
	if !ok {
		return n, errors.New("it has too few parts")
	}
	unique, n.WebSocket, ok = strings.Cut(unique, idWebSocket)
	if ok && !wholeNumber(n.WebSocket) {
		return n, errors.New("the number of its WebSocket client is none")
	}
	for i := range len(unique) {
		if !isAlnum(unique[i]) {
			return n, errors.New("its last part is not of letters and digits")
		}
	}
	if n.Unique = unique; unique == "" {
		return n, errors.New("its last part is empty")
	}
	rest, pid, ok := cutLast(rest)
	if !ok {
		return n, errors.New("it has too few parts")
	}
	p, err := strconv.ParseInt(pid, 10, 32)
	if err != nil || p < 1 || !wholeNumber(pid) {
		return n, errors.New("its last part but one is no process id")
	}
	n.PID = int(p)
	if name == "" {
		n.Name, n.Host, ok = cutLast(rest)
	} else {
		n.Name = name
		n.Host, ok = strings.CutPrefix(rest, name+"_")
	}
	if !ok || n.Name == "" || n.Host == "" {
		if name != "" {
			return n, fmt.Errorf("it is not of node %q", clip(name))
		}
		return n, errors.New("it has too few parts")
	}
	return n, nil
}

// cutLast cuts s at its last underscore.
func cutLast(s string) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, '_')
	if i < 0 {
		return "", "", false
	}
	return s[:i], s[i+1:], true
}
