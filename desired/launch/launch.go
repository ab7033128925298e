package launch

import (
	"cmp"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"

	"github.com/zeekrec/zeekrec/desired"
)

// Place is where a node is to run.
type Place struct {
	// ClusterDir is <state>/clusters/<cluster>, NodeDir <state>/clusters/<cluster>/nodes/<node>; both absolute.
	ClusterDir, NodeDir string
	// Zeek is what the binary to use says of itself. Its Path has to be absolute. For nodes.
	Zeek desired.ZeekFacts
	// Self is the absolute path of zeekrec, for what is a process of zeekrec's own.
	Self string
	// User is whom a process becomes of a cluster that names nobody; empty: nobody else than zeekrec is.
	User string
}

// Launch is all that starting a resource takes.
type Launch struct {
	Argv []string
	Env  []string // complete; nothing is inherited (decisions 10)
	// Dir is the working folder, below NodeDir. Zeek's logs are written there.
	Dir string
	// GenDir is the folder that Files go to. It is named after Hash, so nobody ever changes one.
	GenDir string
	Files  map[string]string // name -> content
	// QueueDir is where a logger puts rotated logs; on the same file system as Dir, since Zeek renames. Empty for a
	// broker.
	QueueDir string
	// Site is the folder through which the node sees NAME/, a symlink that the agent lets lead to SiteTarget, so that files which are read
	// while the node runs change in place. Both are empty where the node sees SiteTarget itself, or there is no NAME/.
	Site, SiteTarget string
	// StatusFile is the -U argument: absolute, and so the mark of this node in the list of processes.
	StatusFile string
	// Hash over everything above.
	Hash string

	User      string
	CPUs      []int
	Nice      int
	OpenFiles uint64
	Zeek      desired.ZeekFacts
}

// systemPath is where commands are found, behind Zeek's own folder.
const systemPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Render makes the launch of a resource: a node, a broker or an archiver. It fails where the resource cannot run with
// the Zeek at hand, or in that place.
func Render(r *desired.Resource, p Place) (Launch, error) {
	switch {
	case r.Broker != nil:
		return renderBroker(r, p)
	case r.Archiver != nil:
		return renderArchiver(r, p)
	case r.Node == nil:
		return Launch{}, fmt.Errorf("cannot render %s: nothing is known of how to start a %s", r.Key(), r.Type)
	}
	if !filepath.IsAbs(p.Zeek.Path) {
		return Launch{}, fmt.Errorf("cannot render %s: the path of Zeek, %q, is not absolute", r.Key(), p.Zeek.Path)
	}
	v, err := ParseVersion(p.Zeek.Version)
	if err != nil {
		return Launch{}, fmt.Errorf("cannot render %s: %w", r.Key(), err)
	}
	s := r.Node
	if s.Curve != "" && v.Before(8, 2) {
		// It would leave the keys alone and connect in plain text.
		return Launch{}, fmt.Errorf("cannot render %s: encryption (CURVE) needs Zeek 8.2, and this is %s", r.Key(), p.Zeek.Version)
	}
	l := Launch{
		Dir:        filepath.Join(p.NodeDir, "work"),
		QueueDir:   QueueDir(p.ClusterDir),
		StatusFile: statusFile(p),
		User:       cmp.Or(s.User, p.User), CPUs: s.CPUs, Nice: s.Nice, OpenFiles: s.OpenFiles, Zeek: p.Zeek,
	}
	l.Files = map[string]string{
		LayoutScript:        layoutScript(s.Layout),
		"zeekrec-node.zeek": nodeScript(r, v, l.QueueDir, p.NodeDir),
		tuneFileName:        tuneScript,
	}
	if s.Membership == desired.MembershipLive {
		l.Files["zeekrec-members.zeek"] = membersScript
	}
	if s.Backend == desired.BackendZeroMQ {
		l.Files[AnswerScript] = answerScript
	}
	if handsConfigOn(r) {
		l.Files["zeekrec-config.zeek"] = configScript
	}
	if countsPackets(s) {
		l.Files[telemetryFile] = telemetryScript
	}
	l.Argv = argv(r, v, p, l.StatusFile)
	if len(s.Options) > 0 {
		l.Files["zeekrec-options.zeek"] = optionsScript(s.Options, r.Tunable)
	}
	l.Env = environment(r, p, l.Dir)
	l.seal(p, s)
	return l, nil
}

// statusFile depends on the folder alone, whatever the type of the resource.
func statusFile(p Place) string { return filepath.Join(p.NodeDir, "work", ".status") }

// argv is the command line.
func argv(r *desired.Resource, v Version, p Place, status string) []string {
	s := r.Node
	out := []string{p.Zeek.Path}
	if s.Interface != "" {
		out = append(out, "-i", s.Interface)
	}
	out = append(out, "-U", status)
	switch s.Backend {
	case desired.BackendZeroMQ:
		out = append(out, "frameworks/cluster/backend/zeromq")
		if v.Before(8, 1) {
			out = append(out, "frameworks/cluster/backend/zeromq/connect") // 8.0 joins only when asked to
		}
	case desired.BackendBroker:
		if !v.Before(8, 1) {
			out = append(out, "frameworks/cluster/backend/broker") // no longer the default since 8.1
		}
	}
	out = append(out, "zeekrec-node")
	out = append(out, s.Scripts...)
	if len(s.Options) > 0 {
		out = append(out, "zeekrec-options")
	}
	return append(out, s.Args...)
}

// environment without ZEEKPATH, which needs the hash of the rest.
func environment(r *desired.Resource, p Place, home string) []string {
	env := map[string]string{
		"PATH": filepath.Dir(p.Zeek.Path) + ":" + systemPath,
		"HOME": home,
		"LANG": "C.UTF-8",
	}
	if r.Node.TZ != "" {
		env["TZ"] = r.Node.TZ
	}
	maps.Copy(env, r.Node.Env)
	env["CLUSTER_NODE"] = r.Name
	return variables(env)
}

// variables are "NAME=value", sorted by name.
func variables(env map[string]string) []string {
	out := make([]string, 0, len(env)+1)
	for _, k := range slices.Sorted(maps.Keys(env)) {
		out = append(out, k+"="+env[k])
	}
	return out
}

// seal computes the hash, and with it the folder of generated files and ZEEKPATH.
func (l *Launch) seal(p Place, s *desired.NodeSpec) {
	// A set ZEEKPATH replaces Zeek's default, which therefore has to be in it (decisions 8). Its "."
	// is left out: that is the folder that the logs are written to.
	var path []string
	if s.Files != "" {
		files := filepath.Join(p.ClusterDir, "files", s.Files)
		if s.Loaded != "" {
			l.Site, l.SiteTarget = SiteOf(p.NodeDir), files
			files = l.Site
		}
		path = append(path, files)
	}
	for d := range strings.SplitSeq(p.Zeek.ZeekPath, ":") {
		if d != "" && d != "." {
			path = append(path, d)
		}
	}
	rest := strings.Join(path, ":")
	l.Hash = l.hash(rest)
	l.GenDir = filepath.Join(p.ClusterDir, "gen", l.Hash)
	l.Env = append(l.Env, "ZEEKPATH="+l.GenDir+":"+rest)
}

// hash over the command line, the environment and the files, and what is to be added to ZEEKPATH.
func (l *Launch) hash(zeekPath string) string {
	h := xxhash.New()
	field := func(s string) { fmt.Fprintf(h, "%d:%s", len(s), s) }
	for _, a := range l.Argv {
		field(a)
	}
	for _, e := range l.Env {
		field(e)
	}
	field(zeekPath)
	for _, n := range slices.Sorted(maps.Keys(l.Files)) {
		field(n)
		field(l.Files[n])
	}
	return fmt.Sprintf("%016x", h.Sum64())
}

// Check returns the launch of a check that parses the node's scripts and opens nothing: no interface, no
// port, no status file (facts/zeromq.md, Appendix A and C). Its files are those of l.
func (l Launch) Check() Launch {
	c := l
	c.Argv = slices.Insert(l.withoutMachine(), 1, "-a")
	c.Env = append(l.apart(), "ZEEKCTL_CHECK_CONFIG=1")
	return c
}

// Opens returns the launch of a run that opens an interface as the node would, and nothing else of the node. It ends by itself only where
// that fails. There is no script, whose place Zeek would name in what it says.
func (l Launch) Opens(iface string) Launch {
	c := l
	c.Argv = []string{l.Argv[0], "-b", "-i", iface}
	c.Env = l.apart()
	return c
}

// withoutMachine is the command line without interface and status file.
func (l Launch) withoutMachine() []string {
	out := []string{l.Argv[0]}
	for i := 1; i < len(l.Argv); i++ {
		if a := l.Argv[i]; a == "-i" || a == "-U" {
			i++
			continue
		}
		out = append(out, l.Argv[i])
	}
	return out
}

// apart is the environment of a run beside the node: the link leads to what runs, and such a run is about what would.
func (l Launch) apart() []string {
	env := slices.Clone(l.Env)
	if l.Site == "" {
		return env
	}
	for i, e := range env {
		if strings.HasPrefix(e, "ZEEKPATH=") {
			env[i] = strings.Replace(e, ":"+l.Site+":", ":"+l.SiteTarget+":", 1)
		}
	}
	return env
}

// SiteOf a node is where its symlink to NAME/ is.
func SiteOf(nodeDir string) string { return filepath.Join(nodeDir, "site") }

// LoadsMark begins the lines in which the run of Loads names scripts.
const LoadsMark = "zeekrec-loads "

// LoadsScript is what the run of Loads needs in a file, at the path that is given to Loads.
func LoadsScript() string { return loadsScript }

// Loads returns the launch of a run that says which scripts the node loads, and ends: the scripts are parsed, and their handlers
// switched off before any event comes. It opens no interface, no port and no log.
func (l Launch) Loads(script string) Launch {
	c := l.Check()
	c.Argv = slices.Delete(slices.Clone(c.Argv), 1, 2) // -a
	c.Argv = append(c.Argv, script)
	return c
}
