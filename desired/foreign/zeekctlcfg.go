package foreign

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/desired/clustercfg"
)

// globals are the options of zeekctl.cfg that zeekrec has, too.
func (z *zeekctl) globals() {
	set := func(key, value string) { z.settings = append(z.settings, pair{key, value}) }
	redef := func(name, value string) { z.draft.options = append(z.draft.options, pair{name, value}) }
	if base := z.option("zeekbase", ""); base != "" {
		set("zeek", base+"/bin/zeek")
	}
	if scripts := z.option("sitepolicyscripts", "local.zeek"); scripts != "" {
		set("scripts", scripts)
	}
	z.everyNode()
	z.balance()
	// zeekctl redefines these two whether or not they are stated.
	redef("Pcap::snaplen", strconv.Itoa(z.number("pcapsnaplen", 9216)))
	redef("Pcap::bufsize", strconv.Itoa(z.number("pcapbufsize", 128)))
	if !z.yes("privateaddressspaceislocal", true) {
		redef("Site::private_address_space_is_local", "F")
	}
	for _, m := range []struct{ option, name string }{
		{"mailto", "Notice::mail_dest"}, {"mailalarmsto", "Notice::mail_dest_pretty_printed"}, {"mailfrom", "Notice::mail_from"},
		{"mailsubjectprefix", "Notice::mail_subject_prefix"}, {"sendmail", "Notice::sendmail"},
	} {
		if v, ok := z.options[m.option]; ok {
			z.used[m.option] = true
			redef(m.name, strconv.Quote(v))
		}
	}
	if v, ok := z.options["mailalarmsinterval"]; ok {
		z.used["mailalarmsinterval"] = true
		redef("Log::default_mail_alarms_interval", v+" secs")
	}
	if level := z.number("compresslogsinflight", 0); level > 0 {
		redef("LogAscii::gzip_level", strconv.Itoa(level))
		redef("LogAscii::gzip_file_extension", strconv.Quote(z.option("compressextension", "gz")))
	}
	if dir := z.option("brokerdbdir", ""); dir != "" {
		redef("Broker::table_store_db_directory", strconv.Quote(dir))
	}
	if dir := z.option("defaultstoredir", ""); dir != "" {
		redef("Cluster::default_store_dir", strconv.Quote(dir))
	}
	if dir := z.option("fileextractdir", ""); dir != "" {
		redef("FileExtract::prefix", strconv.Quote(dir+"/")+" + Cluster::node")
	}
	z.archived()
	if limit := z.option("memlimit", "unlimited"); limit != "unlimited" {
		for _, r := range []desired.Role{desired.RoleManager, desired.RoleLogger, desired.RoleProxy, desired.RoleWorker} {
			z.limit(r, "memory_max", limit+"K")
		}
	}
}

// everyNode has what zeekctl gives to all: environment and arguments.
func (z *zeekctl) everyNode() {
	env, err := envVars(z.option("env_vars", ""))
	if err != nil {
		z.note("zeekctl.cfg: %v", err)
	}
	if v := z.option("env_vars", ""); shellVariable.MatchString(v) {
		z.note("zeekctl.cfg: Env_Vars = %s%s", v, literally)
	}
	args, err := clustercfg.SplitWords(z.option("zeekargs", ""))
	if err != nil {
		z.note("zeekctl.cfg: ZeekArgs: %v", err)
	}
	for _, n := range z.nodes {
		for k, v := range env {
			if n.env == nil {
				n.env = map[string]string{}
			}
			if _, stated := n.env[k]; !stated {
				n.env[k] = v
			}
		}
		n.args = append(slices.Clone(n.args), args...)
	}
	if p := z.option("prefixes", "local"); p != "local" {
		z.note("Prefixes = %s: zeekrec gives Zeek no -p; load such scripts by name (@load)", p)
	}
}

// ringTypes are the variables of PF_RING's ways to share out.
func ringType(s string) (string, bool) {
	name, ok := map[string]string{
		"2-tuple": "FLOW_2_TUPLE", "4-tuple": "FLOW_4_TUPLE", "5-tuple": "FLOW_5_TUPLE", "tcp-5-tuple": "FLOW_TCP_5_TUPLE", "6-tuple": "FLOW",
		"inner-2-tuple": "INNER_FLOW_2_TUPLE", "inner-4-tuple": "INNER_FLOW_4_TUPLE", "inner-5-tuple": "INNER_FLOW_5_TUPLE",
		"inner-tcp-5-tuple": "INNER_FLOW_TCP_5_TUPLE", "inner-6-tuple": "INNER_FLOW",
	}[s]
	return "PCAP_PF_RING_USE_CLUSTER_PER_" + name, ok
}

// balance gives workers of one section their interfaces and variables.
func (z *zeekctl) balance() {
	ring, first := z.number("pfringclusterid", 21), z.number("pfringfirstappinstance", 0)
	kind, known := ringType(z.option("pfringclustertype", "4-tuple"))
	if !known {
		z.note("zeekctl.cfg: there is no PFRINGClusterType %q", z.options["pfringclustertype"])
	}
	prefix, suffix := z.option("lb_custom.interfaceprefix", ""), z.option("lb_custom.interfacesuffix", "")
	z.rings, z.apps = map[string][]string{}, map[string]int{}
	for _, n := range z.of(desired.RoleWorker) {
		method, procs := n.groupKey("lb_method"), n.groupKey("lb_procs")
		add := func(k, v string) {
			if n.env == nil {
				n.env = map[string]string{}
			}
			if _, stated := n.env[k]; !stated {
				n.env[k] = v
			}
		}
		switch method {
		case "af_packet":
			n.iface = "af_packet::" + n.iface
		case "custom":
			n.iface = prefix + n.iface + suffix
		case "myricom":
			add("SNF_NUM_RINGS", procs)
			add("SNF_FLAGS", "0x101")
		case "pf_ring":
			if ring == 0 {
				continue
			}
			host := z.hosts[n]
			if !slices.Contains(z.rings[host], n.iface) {
				z.rings[host] = append(z.rings[host], n.iface)
				z.apps[host] = first
			}
			number := ring + slices.Index(z.rings[host], n.iface)
			at := fmt.Sprintf("%s@%d", n.iface, z.apps[host])
			z.apps[host]++
			add(kind, "1")
			switch name := n.iface; {
			case strings.HasPrefix(name, "zc:"), strings.HasPrefix(name, "pf_ring::zc:"):
				n.iface = at
				add("PCAP_PF_RING_ZC_RSS", "1")
			case strings.HasPrefix(name, "dnacl"):
				n.iface = at
			case strings.HasPrefix(name, "dna"):
				n.iface = at
				add("PCAP_PF_RING_DNA_RSS", "1")
			default:
				add("PCAP_PF_RING_CLUSTER_ID", strconv.Itoa(number))
			}
			add("PCAP_PF_RING_APPNAME", "zeek-"+n.iface)
		}
	}
}

func (n *node) groupKey(key string) string {
	for _, p := range n.groupKeys {
		if p.key == key {
			return p.value
		}
	}
	return ""
}

// archived is what zeekctl does with logs.
func (z *zeekctl) archived() {
	set := func(key, value string) { z.archive = append(z.archive, pair{key, value}) }
	if dir, ok := z.options["logdir"]; ok {
		z.used["logdir"] = true
		if strings.HasPrefix(dir, "/") {
			set("dir", dir)
		} else {
			z.note("LogDir = %s: state [zeekrec.archive] dir as an absolute path", dir)
		}
	}
	switch every := z.number("logrotationinterval", 3600); {
	case every == 0:
		z.note("LogRotationInterval = 0: logs are rotated here at least once a day")
		set("interval", "24h")
	case every != 3600:
		set("interval", fmt.Sprintf("%ds", every))
	}
	if !z.yes("compresslogs", true) {
		set("compress", "none")
	}
	if v := z.option("logexpireinterval", "0"); v != "0" {
		fields := strings.Fields(v)
		unit := "day"
		if len(fields) == 2 {
			unit = fields[1]
		}
		letter := map[string]string{"day": "d", "hr": "h", "min": "m"}[unit]
		if n, err := strconv.Atoi(fields[0]); err == nil && n > 0 && letter != "" {
			set("keep", fmt.Sprintf("%d%s", n, letter))
		} else {
			z.note("zeekctl.cfg: LogExpireInterval = %s cannot be understood", v)
		}
	}
	if v, ok := z.options["mindiskspace"]; ok {
		z.used["mindiskspace"] = true
		set("min_free", v+"%")
	}
}

// networks reads networks.cfg: a network on each line, with a description.
func (z *zeekctl) networks(b []byte) {
	var nets []string
	for line := range strings.Lines(string(b)) {
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		nets = append(nets, fields[0])
		if len(fields) > 1 {
			z.settings = append(z.settings, pair{"#", fields[0] + ": " + strings.Join(fields[1:], " ")})
		}
	}
	if len(nets) > 0 {
		z.settings = append(z.settings, pair{"local_nets", strings.Join(nets, " ")})
	}
}

// rest notes what was stated and has no counterpart.
func (z *zeekctl) rest() {
	for _, k := range slices.Sorted(maps.Keys(z.options)) {
		if z.used[k] {
			continue
		}
		switch k {
		case "sitepolicypath":
			z.note("SitePolicyPath = %s: copy what is there into the folder NAME/ beside the .cfg file, which is on ZEEKPATH (zeekrec import --site does)", z.options[k])
		case "spooldir", "cfgdir":
			z.note("%s = %s: nodes work in zeekrec's state folder (--state-dir)", k, z.options[k])
		default:
			z.note("zeekctl.cfg: %s = %s", k, z.options[k])
		}
	}
}
