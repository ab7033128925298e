package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/zeekrec/zeekrec/testdata/zeek/script"
)

// maxConnections bounds what one listener holds open.
const maxConnections = 256

// listenMetrics serves Telemetry::metrics_port, where the scripts set one.
func (n *node) listenMetrics() error {
	port := n.program.Port("Telemetry::metrics_port", 0)
	if port == 0 {
		return nil
	}
	host := n.getenv("ZEEK_DEFAULT_LISTEN_ADDRESS")
	if host == "" {
		host = "0.0.0.0"
	}
	host = n.program.String("Telemetry::metrics_address", host)
	address := net.JoinHostPort(host, strconv.Itoa(port))
	l, err := net.Listen("tcp", address)
	if err != nil {
		return n.reporter.problem("fatal error", "Failed to setup Prometheus endpoint: null context when constructing CivetServer. "+
			"Possible problem binding to port. Error: Failed to setup server ports. Attempted to bind to %s.", address)
	}
	go accept(l, n.serveMetrics)
	return nil
}

// serveMetrics answers one request: enough of HTTP for Prometheus and curl.
func (n *node) serveMetrics(c net.Conn) {
	request := make([]byte, 1024)
	got, err := c.Read(request)
	if err != nil {
		return
	}
	status, body := "404 Not Found", ""
	if path, _, _ := strings.Cut(strings.TrimPrefix(string(request[:got]), "GET "), " "); path == "/metrics" {
		status, body = "200 OK", n.metrics(time.Now())
	}
	_, _ = fmt.Fprintf(c, "HTTP/1.1 %s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
		status, len(body), body)
}

// joinCluster does what Zeek's cluster framework does in zeek_init: checks the
// node's place in the layout, wants a backend, and binds that backend's sockets.
func (n *node) joinCluster(ctx context.Context) error {
	name := n.getenv("CLUSTER_NODE")
	if name == "" {
		return nil
	}
	framework := script.Prefix + "/base/frameworks/cluster/main.zeek"
	self, ok := n.program.Self()
	if !ok {
		return zeekSays("error in %s, line 421: '%s' is not a valid node in the Cluster::nodes configuration\n%v",
			framework, name, n.initFailed())
	}
	switch {
	case n.program.Loaded("/frameworks/cluster/backend/zeromq/__load__.zeek"), n.program.Loaded("/frameworks/cluster/backend/zeromq/connect.zeek"):
		if n.getenv("ZEEKCTL_CHECK_CONFIG") != "" || n.getenv("ZEEKCTL_DISABLE_LISTEN") != "" {
			return nil
		}
		return n.joinZeroMQ(ctx, self)
	case n.program.Loaded("/frameworks/cluster/backend/broker/__load__.zeek"):
		return n.bindBroker(self)
	}
	return zeekSays("fatal error in %s, line 426: Cluster::node set to '%s', but Cluster::backend is Cluster::CLUSTER_BACKEND_NONE - please select a cluster backend to use.", framework, name)
}

func (n *node) bindBroker(self script.Node) error {
	if self.Port == 0 {
		return nil
	}
	host := n.program.String("Broker::default_listen_address", n.getenv("ZEEK_DEFAULT_LISTEN_ADDRESS"))
	l, err := bind("tcp://" + net.JoinHostPort(host, strconv.Itoa(self.Port)))
	if err != nil {
		if host == "" {
			host = "INADDR_ANY"
		}
		return zeekSays("error in %s/policy/frameworks/cluster/backend/broker/main.zeek, lines 124-126: Failed to listen on %s:%d "+
			"(Broker::listen(Broker::default_listen_address, Cluster::self$p, Broker::default_listen_retry))\n%v", script.Prefix, host, self.Port, n.initFailed())
	}
	// What connects is heard out and not answered.
	go accept(l, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	return nil
}

// initFailed is what follows an error in zeek_init that was not fatal by itself.
func (n *node) initFailed() error {
	return n.reporter.problem("fatal error", "errors occurred while initializing")
}

// bind listens on tcp://HOST:PORT, where a HOST of * is every address.
func bind(endpoint string) (net.Listener, error) {
	address := strings.TrimPrefix(endpoint, "tcp://")
	if port, ok := strings.CutPrefix(address, "*:"); ok {
		address = ":" + port
	}
	return net.Listen("tcp", address)
}

// accept gives each connection to handle, at most maxConnections at a time. It
// ends with the process.
func accept(l net.Listener, handle func(net.Conn)) {
	places := make(chan struct{}, maxConnections)
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of descriptors, most likely
			time.Sleep(10 * time.Millisecond)
			continue
		}
		places <- struct{}{}
		go func() {
			defer func() { _ = c.Close(); <-places }()
			handle(c)
		}()
	}
}

// errno is the number below an error, 0 when there is none.
func errno(err error) int {
	if e, ok := errors.AsType[syscall.Errno](err); ok {
		return int(e)
	}
	return 0
}

// reason is strerror's text for the number below an error.
func reason(err error) string {
	e, ok := errors.AsType[syscall.Errno](err)
	if !ok {
		return err.Error()
	}
	text := e.Error()
	return strings.ToUpper(text[:1]) + text[1:]
}
