package clustercfg

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/zeekrec/zeekrec/desired"
)

func brokerSetters(b *desired.BrokerSettings) setters {
	return setters{
		"mode":        into(&b.Mode, choice(desired.BrokerStandalone, desired.BrokerManager, desired.BrokerExternal)),
		"instance":    into(&b.Instance, verbatim),
		"xpub":        into(&b.XPub, endpoint),
		"xsub":        into(&b.XSub, endpoint),
		"curve":       into(&b.Curve, choice("auto", "on", "off")),
		"sndhwm":      into(&b.SndHWM, highWater),
		"queue_bytes": into(&b.QueueBytes, queueSize),
		"policy":      into(&b.Policy, choice("drop", "disconnect", "block")),
		"grace":       into(&b.Grace, span(time.Second)),
		"lossless":    into(&b.Lossless, yesNo),
	}
}

// highWater accepts a number of messages. 0 is no limit, as with ZeroMQ, for which desired has negative numbers.
func highWater(s string) (int, error) {
	n, err := number(0, 1_000_000_000)(s)
	if err == nil && n == 0 {
		n = -1
	}
	return n, err
}

// queueSize accepts a size; 0 is no limit.
func queueSize(s string) (int64, error) {
	if s == "0" {
		return -1, nil
	}
	n, err := size(s)
	if err != nil {
		return 0, complain("write a number and a unit, 64M for example, or 0 for no limit", "%s is not a size", quote(s))
	}
	return n, nil
}

// broker checks [zeekrec.broker] against the rest of the file.
func (p *parser) broker(c *desired.Cluster) {
	b := &c.Settings.Broker
	if c.Settings.Backend != desired.BackendZeroMQ {
		if section, stated := p.ownLine("broker", ""); stated {
			p.rep.warn(section, "ignored-section", "[zeekrec.broker] is ignored with backend = broker", "remove it")
		}
		return
	}
	mode, _ := p.ownLine("broker", "mode")
	switch c.BrokerMode() {
	case desired.BrokerManager:
		p.rep.info(mode, "broker-mode", "with mode = manager a restart of the manager interrupts everybody, and when it was killed the others print \"duplicate node\" errors as it returns", "mode = standalone avoids both")
	case desired.BrokerExternal:
		if b.XPub == "" || b.XSub == "" {
			p.rep.error(mode, "bad-value", "mode: an external broker needs xpub and xsub", "state where it listens: xpub = tcp://HOST:PORT and xsub = tcp://HOST:PORT")
		}
		if c.UsesCurve() {
			p.rep.info(mode, "curve", "the nodes use the keys of this cluster: the external broker has to have them, too", "zeekrec keys show "+c.Name+" prints them")
		}
	}
	p.brokerIgnored(c)
	p.brokerInstance(c)
	p.brokerEndpoints(c)
	if line, stated := p.ownLine("broker", "curve"); stated && b.Curve == "off" && len(c.UsedInstances()) > 1 {
		p.rep.info(line, "curve", "what the hosts of this cluster send each other is not encrypted, and whoever reaches the broker's ports can read and publish", "curve = auto encrypts it")
	}
	p.curveOptions(c)
}

// brokerIgnored says which keys have no effect beside others.
func (p *parser) brokerIgnored(c *desired.Cluster) {
	mode := c.BrokerMode()
	for _, key := range []string{"sndhwm", "queue_bytes", "policy", "grace", "instance"} {
		line, stated := p.ownLine("broker", key)
		switch {
		case !stated:
		case mode != desired.BrokerStandalone:
			p.rep.warn(line, "ignored-key", fmt.Sprintf("%s has no effect with mode = %s: it is for a broker of zeekrec's own", key, mode), "remove it, or write mode = standalone")
		case c.Settings.Broker.Lossless && key != "grace" && key != "instance":
			p.rep.warn(line, "ignored-key", key+" has no effect with lossless = yes: queues have no limit, and nothing is dropped", "remove one of the two")
		}
	}
}

// brokerInstance checks where the broker is to run.
func (p *parser) brokerInstance(c *desired.Cluster) {
	name := c.Settings.Broker.Instance
	line, stated := p.ownLine("broker", "instance")
	if !stated || slices.ContainsFunc(c.Instances, func(i desired.Instance) bool { return i.Name == name }) {
		return
	}
	var known []string
	for _, i := range c.Instances {
		known = append(known, i.Name)
	}
	hint := "the instances are " + one(known)
	if near := closest(name, known); near != "" {
		hint = fmt.Sprintf("did you mean %q? %s", near, hint)
	}
	p.rep.error(line, "undeclared-instance", fmt.Sprintf("broker has undeclared instance name '%s'", name), hint)
}

// brokerEndpoints checks what is stated against each other, and against who has to reach it.
func (p *parser) brokerEndpoints(c *desired.Cluster) {
	b := &c.Settings.Broker
	if line, _ := p.ownLine("broker", "xsub"); b.XPub != "" && b.XPub == b.XSub {
		p.rep.error(line, "bad-value", "xsub: it is the same endpoint as xpub", "give it a port of its own")
	}
	for _, e := range []struct{ key, value string }{{"xpub", b.XPub}, {"xsub", b.XSub}} {
		line, stated := p.ownLine("broker", e.key)
		if !stated || e.value == "" {
			continue
		}
		if len(c.UsedInstances()) > 1 && isLoopback(endpointHost(e.value)) {
			p.rep.warn(line, "loopback-endpoint", e.key+": the other hosts of this cluster cannot reach "+e.value, "state an address of the broker's host")
		}
		if by := portUser(c, c.BrokerInstance(), endpointPort(e.value)); by != "" && c.BrokerMode() != desired.BrokerExternal {
			p.rep.error(line, "duplicate-port", fmt.Sprintf("%s: port %d/tcp on instance '%s' is %s", e.key, endpointPort(e.value), c.BrokerInstance(), by), "give each its own, or leave them out to have them assigned")
		}
	}
}

// portUser is who else has stated a port of an instance; empty for nobody.
func portUser(c *desired.Cluster, instance string, port int) string {
	for _, i := range c.Instances {
		if i.Name == instance && i.Port == port {
			return agentClaim
		}
	}
	for i := range c.Nodes {
		switch n := &c.Nodes[i]; {
		case n.Instance != instance:
		case n.Port == port:
			return fmt.Sprintf("the port of node '%s'", n.Name)
		case c.Settings.Metrics && n.MetricsPort == port:
			return fmt.Sprintf("the metrics port of node '%s'", n.Name)
		}
	}
	return ""
}

// curveOptions are keys among the script options. Zeek refuses to start with some from there and some from the
// environment, where zeekrec's come from (facts/zeromq.md §4.1).
func (p *parser) curveOptions(c *desired.Cluster) {
	for _, o := range c.Settings.Options {
		if !strings.HasPrefix(o.Name, "Cluster::Backend::ZeroMQ::curve_") {
			continue
		}
		switch {
		case c.UsesCurve():
			p.rep.error(o.Line, "curve", fmt.Sprintf("option %s: zeekrec gives the nodes their keys, and Zeek does not start with keys from both", o.Name), "remove the line; zeekrec keys makes, shows and changes them")
		case c.BrokerMode() == desired.BrokerStandalone:
			p.rep.warn(o.Line, "curve", fmt.Sprintf("option %s: zeekrec's broker does not know of it, so that nodes with these keys will not reach it", o.Name), "remove the line, and write curve = on in [zeekrec.broker]: zeekrec then makes the keys")
		}
	}
}

// endpointHost of tcp://HOST:PORT.
func endpointHost(e string) string {
	host, _, err := net.SplitHostPort(strings.TrimPrefix(e, "tcp://"))
	if err != nil {
		return ""
	}
	return host
}

func isLoopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback() || strings.EqualFold(host, "localhost")
}
