package main

import (
	"context"
	"crypto/rand"
	"math/big"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/zeekrec/zeekrec/actuators/broker"
	"github.com/zeekrec/zeekrec/actuators/broker/zeekbus"
	"github.com/zeekrec/zeekrec/testdata/zeek/bus"
	"github.com/zeekrec/zeekrec/testdata/zeek/script"
)

const (
	zeromqModule = "Cluster::Backend::ZeroMQ::"
	zeromqScript = script.Prefix + "/policy/frameworks/cluster/backend/zeromq/main.zeek"
)

// joinZeroMQ does what the script of the ZeroMQ backend and Cluster::init do: spawns the broker, if that is this node's to do, and opens
// the node's sockets.
func (n *node) joinZeroMQ(ctx context.Context, self script.Node) error {
	keys, err := n.curveKeys()
	if err != nil {
		return err
	}
	if n.getenv("ZEEKCTL_CHECK_CONFIG") != "" || n.getenv("ZEEKCTL_DISABLE_LISTEN") != "" {
		return nil
	}
	if n.program.Bool(zeromqModule+"run_proxy_thread", self.Type == "MANAGER") {
		if err := n.spawnBroker(ctx, keys); err != nil {
			return err
		}
	}
	own := ""
	if n.logsForCluster(self) {
		own = logEndpoint(self)
	}
	var listener net.Listener
	if endpoint := n.program.String(zeromqModule+"listen_log_endpoint", own); endpoint != "" {
		if listener, err = bind(endpoint); err != nil {
			return zeekSays("%v\nfatal error in %s, line 538: Failed initialize ZeroMQ backend",
				n.reporter.problem("error", "ZeroMQ: Failed to bind pull socket %s: %s", endpoint, reason(err)), zeromqScript)
		}
	}
	loggers := n.program.Strings(zeromqModule + "connect_log_endpoints")
	if own == "" {
		for _, other := range n.program.Nodes() {
			if n.logsForCluster(other) {
				loggers = append(loggers, logEndpoint(other))
			}
		}
		if len(loggers) == 0 && len(n.program.Nodes()) > 1 {
			return zeekSays("error in %s, line 516: No ZeroMQ connect_log_endpoints configured\n%v", zeromqScript, n.initFailed())
		}
	}
	n.self = zeekbus.Hello{Name: self.Name, ID: newNodeID(self.Name)}
	roles := make(map[string]string)
	for _, other := range n.program.Nodes() {
		roles[other.Name] = other.Type
	}
	n.members = bus.NewMembers(n.self, roles, n.program.Interval(zeromqModule+"hello_expiration", bus.DefaultHelloExpiration))
	n.format = zeekbus.FormatBin
	if strings.HasSuffix(n.program.String("Cluster::event_serializer", ""), "EVENT_SERIALIZER_BROKER_JSON_V1") {
		n.format = zeekbus.FormatJSON
	}
	n.bus = bus.Open(ctx, bus.Config{
		ID:        n.self.ID,
		Subscribe: n.program.String(zeromqModule+"connect_xsub_endpoint", "tcp://127.0.0.1:5555"),
		Publish:   n.program.String(zeromqModule+"connect_xpub_endpoint", "tcp://127.0.0.1:5556"),
		Topics:    topicsOf(n.self, self, n.logsForCluster(self)),
		Loggers:   loggers,
		Immediate: n.program.Bool(zeromqModule+"log_immediate", false),
		Logs:      listener,
		Keys:      keys,
		SendHWM:   n.program.Count(zeromqModule+"xpub_sndhwm", bus.DefaultSendHWM),
		LogHWM:    n.program.Count(zeromqModule+"log_sndhwm", bus.DefaultSendHWM),
		InputHWM:  n.program.Count(zeromqModule+"onloop_queue_hwm", bus.DefaultInputHWM),
		Linger:    n.linger(),
		Stderr:    os.Stderr,
	})
	if len(loggers) > 0 {
		n.outbox = newOutbox(n.bus, n.self.ID, n.program)
	}
	return nil
}

// maxLinger bounds linger_ms, of which -1 means for ever.
const maxLinger = 30 * time.Second

func (n *node) linger() time.Duration {
	ms := n.program.Count(zeromqModule+"linger_ms", int(bus.DefaultLinger/time.Millisecond))
	if ms < 0 {
		return maxLinger
	}
	return min(maxLinger, time.Duration(ms)*time.Millisecond)
}

func logEndpoint(logger script.Node) string {
	return "tcp://" + net.JoinHostPort(logger.IP, strconv.Itoa(logger.Port))
}

// topicsOf are what a node subscribes to, in Zeek's order.
func topicsOf(hello zeekbus.Hello, self script.Node, logger bool) []string {
	topics := []string{"zeek/supervisor", "zeek/table/"}
	role := strings.ToLower(self.Type)
	switch {
	case self.Type == "WORKER", self.Type == "PROXY", self.Type == "LOGGER":
		topics = append(topics, "zeek.cluster.pool."+role)
	case logger:
		topics = append(topics, "zeek.cluster.pool.logger")
	}
	switch self.Type {
	case "WORKER", "PROXY", "LOGGER", "MANAGER":
		topics = append(topics, "zeek.cluster."+role)
	}
	return append(topics, zeekbus.NodeIDTopic(hello.ID), zeekbus.NodeTopic(hello.Name))
}

// newNodeID makes the id that a process gives itself at its start.
func newNodeID(name string) string {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	return zeekbus.NodeID{Name: name, Host: host, PID: os.Getpid(), Unique: "N" + uniqueID()}.String()
}

// uniqueID is 96 random bits in letters and digits, as Zeek's unique_id has them.
func uniqueID() string {
	var b [12]byte
	_, _ = rand.Read(b[:]) // it does not fail
	return new(big.Int).SetBytes(b[:]).Text(62)
}

// brokerGrace is next to none: libzmq's proxy takes a node whose connection breaks for gone.
const brokerGrace = time.Millisecond

// spawnBroker is spawn_zmq_proxy_thread. The broker is zeekrec's, told to be as libzmq's proxy is where it can: nobody is
// waited for, nobody is pinged, and one who takes nothing holds up all.
func (n *node) spawnBroker(ctx context.Context, keys bus.Keys) error {
	var listeners [2]net.Listener
	for i, socket := range [][2]string{{"xpub", "tcp://127.0.0.1:5555"}, {"xsub", "tcp://127.0.0.1:5556"}} {
		endpoint := n.program.String(zeromqModule+"listen_"+socket[0]+"_endpoint", socket[1])
		l, err := bind(endpoint)
		if err != nil {
			return zeekSays("%v\nfatal error in %s, line 534: Failed to spawn ZeroMQ proxy thread",
				n.reporter.problem("error", "ZeroMQ: Failed to bind %s socket %s: %s (%d)", socket[0], endpoint, reason(err), errno(err)), zeromqScript)
		}
		listeners[i] = l
	}
	config := broker.Config{
		Settings: broker.Settings{Policy: broker.Block, Grace: brokerGrace, Heartbeat: -1},
		Version:  version(),
	}
	if keys.Server != nil {
		config.Keys = broker.Keyring{Servers: keys.Server.Servers, Clients: keys.Server.Clients}
	}
	b, err := broker.New(config)
	if err != nil {
		return zeekSays("%v\nfatal error in %s, line 534: Failed to spawn ZeroMQ proxy thread", err, zeromqScript)
	}
	serving, stop := context.WithCancel(ctx)
	n.stopBroker, n.brokerDone = stop, make(chan error, 1)
	go func() { n.brokerDone <- b.Serve(serving, listeners[0], listeners[1]) }()
	return nil
}
