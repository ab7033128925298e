package clustercfg

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/zeekrec/zeekrec/desired"
)

// instances reads [instances], in which each key is the name of an instance and each value is where its
// agent listens. The keys of [DEFAULT] are instances, too: that is what inheriting means to configparser.
func (p *parser) instances(sec *section) []desired.Instance {
	var out []desired.Instance
	for _, e := range p.doc.defaults.entries {
		if sec.index[e.key] == nil {
			out = append(out, p.instance(sec, e, "keys of [DEFAULT] are taken for instances, because [instances] inherits them"))
		}
	}
	for _, e := range sec.entries {
		out = append(out, p.instance(sec, e, ""))
	}
	return out
}

// instance reads one entry. One that is wrong is declared nevertheless, so that its nodes do not draw errors that
// only follow from it.
func (p *parser) instance(sec *section, e *entry, hint string) desired.Instance {
	inst := desired.Instance{Name: e.key, Line: e.line}
	value, prob := p.resolver.resolve(sec, e)
	if prob != nil {
		p.rep.error(e.line, prob.code, fmt.Sprintf("instance %s: %s", quote(e.key), prob.what), prob.hint)
		return inst
	}
	if value == "" {
		return inst // its agent connects to the controller
	}
	colon := strings.LastIndexByte(value, ':')
	if colon < 1 || colon == len(value)-1 {
		if hint == "" && trailingComment(" "+value) {
			hint = ownLine
		}
		if hint == "" {
			hint = "leave the value out for an agent that connects by itself"
		}
		p.rep.error(e.line, "bad-instance", fmt.Sprintf(`invalid spec for instance "%s": "%s" should be <host>:<port>`, e.key, value), hint)
		return inst
	}
	host, port := strings.Trim(value[:colon], "[] "), strip(value[colon+1:])
	n, ok := parseInt(port)
	if !ok || n < 1 || n > 65535 {
		if hint == "" && trailingComment(value) {
			hint = ownLine
		}
		if hint == "" {
			hint = fmt.Sprintf("write %s = %s:2151", e.key, clip(host, 120))
		}
		p.rep.error(e.line, "bad-port", fmt.Sprintf("the port %s of instance %s is not a number from 1 to 65535", quote(port), quote(e.key)), hint)
		return inst
	}
	if !isHost(host) {
		if hint == "" {
			hint = "write an IPv4 or IPv6 address or a host name, then a colon and the port"
		}
		p.rep.error(e.line, "bad-host", fmt.Sprintf("the host %s of instance %s is neither an address nor a host name", quote(host), quote(e.key)), hint)
		return inst
	}
	inst.Host, inst.Port = host, n
	return inst
}

// isHost reports whether s is an address, which is all that zeek-client takes, or a host name.
func isHost(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil {
		return true
	}
	if s == "" || len(s) > 253 {
		return false
	}
	labels := strings.Split(strings.TrimSuffix(s, "."), ".")
	for _, l := range labels {
		if l == "" || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' || strings.Trim(strings.ToLower(l), "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	// A number at the end is a mistyped address ("10.0.0.1.1"), and no name can end so.
	return strings.Trim(labels[len(labels)-1], "0123456789") != ""
}
