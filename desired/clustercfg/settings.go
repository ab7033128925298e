package clustercfg

import (
	"errors"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/zeekrec/zeekrec/desired"
)

// defaults are the settings of a file without any [zeekrec…] section (interfaces.md).
func defaults() desired.Settings {
	return desired.Settings{
		Backend:          desired.BackendZeroMQ,
		MaxUnavailable:   desired.Quantity{N: 1},
		Membership:       desired.MembershipLive,
		ZeekUpgrade:      "manual",
		RestartHung:      desired.RestartHungDefault,
		PruneGuard:       desired.Quantity{N: 30, Percent: true},
		AutoRevert:       true,
		MetricsAddress:   "127.0.0.1",
		Metrics:          true,
		PortsFrom:        2200,
		MetricsPortsFrom: 9000,
		BrokerPortsFrom:  5555,
		Broker:           desired.BrokerSettings{Mode: "standalone", Curve: "auto", SndHWM: 1000},
		Archive: desired.ArchiveSettings{
			Enabled: true, Interval: desired.DefaultInterval, Compress: desired.DefaultCompression,
			MinFree: desired.DefaultMinFree, Timezone: "local",
		},
		Limits: map[desired.Role]desired.Limits{},
	}
}

// setters are the keys of one section, each with what stores its value.
type setters map[string]func(string) error

func clusterSetters(s *desired.Settings) setters {
	return setters{
		"backend":            into(&s.Backend, choice(desired.BackendZeroMQ, desired.BackendBroker)),
		"zeek":               into(&s.Zeek, absolutePath),
		"scripts":            into(&s.Scripts, words),
		"args":               into(&s.Args, words),
		"user":               into(&s.User, userName),
		"local_nets":         into(&s.LocalNets, networks),
		"max_unavailable":    into(&s.MaxUnavailable, quantity(1, 100_000, 100)),
		"suspend":            into(&s.Suspend, yesNo),
		"membership":         into(&s.Membership, choice(desired.MembershipLive, desired.MembershipRestart)),
		"logger_slots":       into(&s.LoggerSlots, number(0, 64)),
		"zeek_upgrade":       into(&s.ZeekUpgrade, choice("manual", "rolling")),
		"restart_hung":       into(&s.RestartHung, patience),
		"prune_guard":        into(&s.PruneGuard, quantity(0, 100_000, 100)),
		"auto_revert":        into(&s.AutoRevert, yesNo),
		"address":            into(&s.Address, host),
		"metrics":            into(&s.Metrics, yesNo),
		"metrics_address":    into(&s.MetricsAddress, address),
		"ports_from":         into(&s.PortsFrom, number(1, 65535)),
		"metrics_ports_from": into(&s.MetricsPortsFrom, number(1, 65535)),
		"broker_ports_from":  into(&s.BrokerPortsFrom, number(1, 65535)),
	}
}

func limitSetters(l *desired.Limits) setters {
	return setters{
		"memory_max":  into(&l.Group.MemoryMax, size),
		"memory_high": into(&l.Group.MemoryHigh, size),
		"cpu_quota":   into(&l.Group.CPUQuota, percent(1, 100*(maxCPU+1))),
		"cpu_weight":  into(&l.Group.CPUWeight, number(1, 10000)),
		"io_weight":   into(&l.Group.IOWeight, number(1, 10000)),
		"tasks_max":   into(&l.Group.TasksMax, number(1, 1<<22)),
		"cpus":        into(&l.CPUs, cpuList),
		"nice": func(s string) error {
			n, err := number(-20, 19)(s)
			if err == nil {
				l.Nice = &n
			}
			return err
		},
		"open_files": func(s string) error {
			n, err := number(64, 1<<30)(s)
			if err == nil {
				l.OpenFiles = uint64(n)
			}
			return err
		},
	}
}

const limitsPrefix = ownName + ".limits."

// settings reads the [zeekrec…] sections.
func (p *parser) settings() desired.Settings {
	s := defaults()
	for _, sec := range p.doc.own {
		switch {
		case sec.name == ownName:
			p.apply(sec, clusterSetters(&s))
			_, s.ScriptsStated = sec.index["scripts"]
		case sec.name == ownName+".options":
			s.Options = p.options(sec)
		case sec.name == ownName+".broker":
			p.apply(sec, brokerSetters(&s.Broker))
		case sec.name == ownName+".archive":
			p.apply(sec, archiveSetters(&s.Archive))
			s.Archive.Line = sec.index["layout"]
		case strings.HasPrefix(sec.name, limitsPrefix):
			p.limits(sec, &s)
		default:
			known := []string{ownName, ownName + ".options", ownName + ".broker", ownName + ".archive", limitsPrefix + "ROLE"}
			p.rep.warn(sec.line, "unknown-section", meant("section", sec.name, "", known), "it is ignored; zeekrec's own sections are "+one(known))
		}
	}
	if _, stated := p.ownLine("", "membership"); !stated && s.Backend != desired.BackendZeroMQ {
		s.Membership = desired.MembershipRestart
	}
	return s
}

func (p *parser) limits(sec *ownSection, s *desired.Settings) {
	role := desired.Role(strings.TrimPrefix(sec.name, limitsPrefix))
	if role.Rank() > desired.RoleArchiver.Rank() {
		known := []string{"manager", "logger", "proxy", "worker", "broker", "archiver"}
		p.rep.error(sec.line, "unknown-role", meant("role", string(role), "", known), "limits are for "+one(known))
		return
	}
	l := desired.Limits{Line: sec.line}
	p.apply(sec, limitSetters(&l))
	s.Limits[role] = l
}

// apply hands each value to its setter. A value left empty means the default, except for lists, which may be empty.
func (p *parser) apply(sec *ownSection, known setters) {
	for _, e := range sec.entries {
		set, ok := known[e.key]
		if !ok {
			names := slices.Sorted(maps.Keys(known))
			p.rep.warn(e.line, "unknown-key", meant("key", e.key, " in ["+sec.name+"]", names), "it is ignored; the keys of this section are "+one(names))
			continue
		}
		if e.value == "" {
			continue
		}
		if err := set(e.value); err != nil {
			hint := ""
			if c, ok := errors.AsType[*complaint](err); ok {
				hint = c.hint
			}
			p.rep.error(e.line, "bad-value", e.key+": "+err.Error(), hint)
		}
	}
}

// identifier is a name in Zeek's language.
const identifier = `[A-Za-z_][A-Za-z0-9_]*`

// options reads [zeekrec.options]: names as Zeek has them, and expressions in Zeek's language.
func (p *parser) options(sec *ownSection) []desired.Option {
	name := regexp.MustCompile(`^` + identifier + `(::` + identifier + `)*$`)
	var out []desired.Option
	for _, e := range sec.entries {
		switch {
		case !name.MatchString(e.key):
			p.rep.error(e.line, "bad-option", quote(e.key)+" is not the name of an option", "write Module::name = VALUE, as in Zeek's scripts")
		case e.value == "":
			p.rep.error(e.line, "bad-option", "option "+e.key+" has no value", "write a value in Zeek's language, or remove the line for the default")
		case openString(e.value):
			p.rep.error(e.line, "bad-option", "option "+e.key+": a quotation mark is not closed in "+quote(e.value), `close it; a " #" begins a comment here even inside quotation marks: write \x23 for that #`)
		case strings.HasSuffix(e.value, ";"):
			p.rep.error(e.line, "bad-option", "option "+e.key+": a value ends without a semicolon", "remove it")
		default:
			out = append(out, desired.Option{Name: e.key, Value: e.value, Line: e.line})
		}
	}
	return out
}

// openString reports whether a string of Zeek's language is begun and not ended.
func openString(s string) bool {
	open := false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			open = !open
		case s[i] == '\\' && open:
			i++
		}
	}
	return open
}

// ownLine returns the line of a key of [zeekrec.NAME], or of [zeekrec] where name is empty, and whether it is
// stated with a value. For an empty key: of the section.
func (p *parser) ownLine(name, key string) (int, bool) {
	if name = strings.TrimSuffix(ownName+"."+name, "."); key == "" {
		for _, sec := range p.doc.own {
			if sec.name == name {
				return sec.line, true
			}
		}
		return 0, false
	}
	for _, sec := range p.doc.own {
		if sec.name != name {
			continue
		}
		for _, e := range sec.entries {
			if e.key == key {
				return e.line, e.value != ""
			}
		}
		return sec.line, false
	}
	return 0, false
}

// notYet says which settings this version reads and does not act on, and which go together with none.
func (p *parser) notYet(c *desired.Cluster) {
	s := &c.Settings
	zeromq := s.Backend == desired.BackendZeroMQ
	if line, stated := p.ownLine("", "membership"); s.Membership == desired.MembershipLive && !zeromq && stated {
		p.rep.error(line, "bad-value", "membership: live needs backend = zeromq", "write membership = restart")
	}
	if line, _ := p.ownLine("", "logger_slots"); s.LoggerSlots > 0 {
		loggers := 0
		for _, n := range c.Nodes {
			if n.Role == desired.RoleLogger {
				loggers++
			}
		}
		switch {
		case !zeromq:
			p.rep.warn(line, "logger-slots", "logger_slots has no effect with backend = broker", "")
		case loggers == 0:
			p.rep.warn(line, "logger-slots", "logger_slots has no effect in a cluster without a logger: its manager logs", "")
		case loggers == 1:
			// decisions 35: 920 of 5,060 lines in 3.5 s were lost, and none of 11,530 without.
			p.rep.warn(line, "logger-slots", "with logger_slots, senders of logs wait for no logger: what is written while the only one is away is lost", "have two loggers, or leave logger_slots away")
		}
	}
	if line, stated := p.ownLine("", "restart_hung"); stated && (!zeromq || c.BrokerMode() != desired.BrokerStandalone) {
		p.rep.warn(line, "ignored-key", "restart_hung has no effect here: only zeekrec's own broker knows which nodes answer", "remove it, or use backend = zeromq with [zeekrec.broker] mode = standalone")
	}
	p.broker(c)
	p.archive(c)
	for _, role := range slices.Sorted(maps.Keys(s.Limits)) {
		if g := s.Limits[role].Group; g.MemoryMax != 0 && g.MemoryHigh > g.MemoryMax {
			line, _ := p.ownLine("limits."+string(role), "memory_high")
			p.rep.warn(line, "limits", "memory_high has no effect above memory_max", "set it below, to slow the processes down before the kernel ends one")
		}
	}
	if line, stated := p.ownLine("", "address"); stated && len(c.Instances) > 1 {
		p.rep.error(line, "bad-value", "address: this cluster has several instances", "state the addresses in [instances]: NAME = ADDRESS:2151")
	}
}
