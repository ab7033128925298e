package launch

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/zeekrec/zeekrec/desired"
)

// BrokerFiles are where a broker keeps what is its own, all below its working folder. They depend on the folder
// alone.
type BrokerFiles struct {
	// Subscriptions are kept here, so that they survive a restart of the broker.
	Subscriptions string
	// Admin is its local socket.
	Admin string
	// Settings is read by the broker when it starts; whoever starts it writes BrokerSettings there before.
	Settings string
}

// BrokerFilesOf the broker whose folder is nodeDir (Place.NodeDir).
func BrokerFilesOf(nodeDir string) BrokerFiles {
	work := filepath.Join(nodeDir, "work")
	return BrokerFiles{
		Subscriptions: filepath.Join(work, "subscriptions.json"),
		Admin:         filepath.Join(work, "admin.sock"),
		Settings:      filepath.Join(work, "settings.json"),
	}
}

// longestSocket is how many bytes the path of a Unix socket can have (sun_path, without its NUL).
const longestSocket = 107

// renderBroker makes the launch of zeekrec's own broker. What can be changed while it runs is not on the command
// line and not in the environment, so that a change of it leaves nothing outdated; nor are keys, which whoever starts it
// adds to the environment and records nowhere (CurveEnv is for nodes; the broker takes the same variables).
func renderBroker(r *desired.Resource, p Place) (Launch, error) {
	if !filepath.IsAbs(p.Self) {
		return Launch{}, fmt.Errorf("cannot render %s: the path of zeekrec, %q, is not absolute", r.Key(), p.Self)
	}
	s := r.Broker
	f := BrokerFilesOf(p.NodeDir)
	if n := len(f.Admin); n > longestSocket {
		return Launch{}, fmt.Errorf("cannot render %s: its socket %s has a path of %d bytes, and %d is the limit: use a state folder with a shorter one", r.Key(), f.Admin, n, longestSocket)
	}
	l := Launch{
		Dir:        filepath.Join(p.NodeDir, "work"),
		StatusFile: statusFile(p),
		Files:      map[string]string{},
		User:       cmp.Or(s.User, p.User), CPUs: s.CPUs, Nice: s.Nice, OpenFiles: s.OpenFiles,
	}
	l.Argv = []string{
		p.Self, "broker", "--xpub", s.XPub, "--xsub", s.XSub, "--state", f.Subscriptions, "--admin", f.Admin,
		"--settings", f.Settings, "-U", l.StatusFile,
	}
	if s.MetricsPort != 0 {
		l.Argv = append(l.Argv, "--metrics", net.JoinHostPort(s.MetricsAddress, strconv.Itoa(s.MetricsPort)))
	}
	l.Env = variables(map[string]string{
		"PATH": systemPath,
		"HOME": l.Dir,
		"LANG": "C.UTF-8",
	})
	l.Hash = l.hash("")
	l.GenDir = filepath.Join(p.ClusterDir, "gen", l.Hash)
	return l, nil
}

// BrokerSettings is the content of BrokerFiles.Settings: the JSON of actuators/broker.Settings, with what is the
// default left out, and durations in nanoseconds.
func BrokerSettings(s *desired.BrokerSpec) []byte {
	b, err := json.Marshal(struct {
		SndHWM     int           `json:"sndhwm,omitempty"`
		QueueBytes int64         `json:"queue_bytes,omitempty"`
		Policy     string        `json:"policy,omitempty"`
		Grace      time.Duration `json:"grace,omitempty"`
	}{s.SndHWM, s.QueueBytes, s.Policy, time.Duration(s.GraceSeconds) * time.Second})
	if err != nil { // numbers and a word can be marshalled
		return []byte("{}\n")
	}
	return append(b, '\n')
}

// CurveKeys are the two key pairs of a cluster, in Z85. They go from the file of keys into the environment of a
// process and nowhere else.
type CurveKeys struct {
	ServerPublic, ServerSecret, ClientPublic, ClientSecret string
}

// String hides the keys, whoever formats them by mistake.
func (CurveKeys) String() string { return "keys (hidden)" }

// GoString hides them, too.
func (CurveKeys) GoString() string { return "keys (hidden)" }

// curveVariable begins the names of Zeek's variables.
const curveVariable = "ZEEK_CLUSTER_BACKEND_ZEROMQ_CURVE_"

// CurveEnv is what a node of a role gets in its environment besides Launch.Env, so that it uses the keys k. The secret
// of the server goes only to who is one: loggers, a manager that logs, a manager that runs the broker
// (facts/zeromq.md §4.1).
func CurveEnv(role desired.Role, brokerMode string, managerIsLogger bool, k CurveKeys) []string {
	env := []string{
		curveVariable + "CLIENT_PUBLICKEY=" + k.ClientPublic,
		curveVariable + "CLIENT_SECRETKEY=" + k.ClientSecret,
		curveVariable + "SERVER_PUBLICKEY=" + k.ServerPublic,
	}
	if role == desired.RoleLogger || role == desired.RoleManager && (managerIsLogger || brokerMode == desired.BrokerManager) {
		env = append(env, curveVariable+"SERVER_SECRETKEY="+k.ServerSecret)
	}
	return slices.Clip(env)
}
