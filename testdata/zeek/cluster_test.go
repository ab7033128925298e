package main

import (
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/actuators/broker"
	"github.com/zeekrec/zeekrec/actuators/broker/zmtp"
)

// hub is a broker in the test's own process.
type hub struct {
	t          *testing.T
	xpub, xsub string // endpoints
	keys       broker.Keyring
	state      string
	broker     *broker.Broker
	stop       func()
}

func newHub(t *testing.T, keys broker.Keyring) *hub {
	t.Helper()
	h := &hub{t: t, xpub: "tcp://127.0.0.1:0", xsub: "tcp://127.0.0.1:0", keys: keys, state: filepath.Join(t.TempDir(), "subscriptions.json")}
	h.start()
	t.Cleanup(func() { h.stop() })
	return h
}

func (h *hub) start() {
	h.t.Helper()
	b, err := broker.New(broker.Config{Keys: h.keys, StateFile: h.state})
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(h.t.Context())
	var listeners []net.Listener
	for _, endpoint := range []*string{&h.xpub, &h.xsub} {
		l, err := broker.Listen(ctx, *endpoint)
		if err != nil {
			h.t.Fatal(err)
		}
		*endpoint = "tcp://" + l.Addr().String()
		listeners = append(listeners, l)
	}
	ended := make(chan error, 1)
	go func() { ended <- b.Serve(ctx, listeners[0], listeners[1]) }()
	h.broker = b
	h.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			h.t.Errorf("broker: %v", err)
		}
	})
}

// cluster is a set of nodes, each in a folder of its own.
type cluster struct {
	t       *testing.T
	hub     *hub // nil: the manager is it
	files   map[string]string
	env     map[string][]string // by node; "" for all
	zeek    map[string]string   // by node; else the stand-in
	folders map[string]string
	running map[string]*process
}

// roles of the nodes that a cluster can have.
var roles = map[string]string{"manager": "MANAGER", "logger-1": "LOGGER", "logger-2": "LOGGER", "proxy-1": "PROXY", "worker-1": "WORKER", "worker-2": "WORKER"}

func newCluster(t *testing.T, h *hub, nodes ...string) *cluster {
	t.Helper()
	c := &cluster{t: t, hub: h, env: map[string][]string{}, zeek: map[string]string{}, folders: map[string]string{}, running: map[string]*process{}}
	layout := "redef Cluster::manager_is_logger = F;\nredef Cluster::nodes += {\n"
	for _, name := range nodes {
		port := ""
		if roles[name] == "LOGGER" {
			port = fmt.Sprintf(", $p=%d/tcp", freePort(t))
		}
		layout += fmt.Sprintf("\t[%q] = [$node_type=Cluster::%s, $ip=127.0.0.1%s],\n", name, roles[name], port)
	}
	// Nothing rotates at the full hour: what is looked for is in the logs of now.
	join := "@load frameworks/control/controllee\nredef Control::controllee_listen = F;\nredef Log::default_rotation_interval = 0 secs;\n"
	xpub, xsub := fmt.Sprintf("tcp://127.0.0.1:%d", freePort(t)), fmt.Sprintf("tcp://127.0.0.1:%d", freePort(t))
	if h != nil {
		xpub, xsub = h.xpub, h.xsub
		join += "redef Cluster::Backend::ZeroMQ::run_proxy_thread = F;\n"
	} else {
		join += fmt.Sprintf("redef Cluster::Backend::ZeroMQ::listen_xpub_endpoint = %q;\nredef Cluster::Backend::ZeroMQ::listen_xsub_endpoint = %q;\n", xpub, xsub)
	}
	join += fmt.Sprintf("redef Cluster::Backend::ZeroMQ::connect_xsub_endpoint = %q;\nredef Cluster::Backend::ZeroMQ::connect_xpub_endpoint = %q;\n", xpub, xsub)
	c.files = map[string]string{"cluster-layout.zeek": layout + "};\n", "join.zeek": join}
	t.Cleanup(func() {
		if t.Failed() {
			for name, p := range c.running {
				_ = p.cmd.Process.Kill()
				p.ended <- <-p.ended
				t.Logf("%s said:\n%s", name, p.stderr.String())
			}
		}
	})
	return c
}

// start starts nodes, in the folders in which they ran before.
func (c *cluster) start(nodes ...string) {
	c.t.Helper()
	for _, name := range nodes {
		w := newWorld(c.t, nil, slices.Concat([]string{"CLUSTER_NODE=" + name}, c.env[""], c.env[name])...)
		if dir := c.folders[name]; dir != "" {
			w.dir = dir
		}
		c.folders[name] = w.dir
		for file, content := range c.files {
			if err := os.WriteFile(filepath.Join(w.dir, file), []byte(content), 0o644); err != nil {
				c.t.Fatal(err)
			}
		}
		if zeek := c.zeek[name]; zeek != "" {
			w.zeek = zeek
		}
		args := []string{"-U", "status", zeromq, "join"}
		if roles[name] == "WORKER" {
			args = append([]string{"-i", "lo"}, args...)
		}
		c.running[name] = w.start(args...)
	}
}

// up waits until every node has said hello to every other, in the words of the nodes themselves.
func (c *cluster) up() {
	c.t.Helper()
	eventually(c.t, "everybody knows everybody", func() bool {
		ids := map[string]string{}
		for _, m := range c.hub.broker.Status(false).Members {
			ids[m.Name] = m.ID
		}
		if len(ids) < len(c.running) {
			return false
		}
		for name := range c.running {
			active, err := c.ask(name, "Cluster::active_node_ids")
			if err != nil {
				return false
			}
			for other := range c.running {
				if other != name && !strings.Contains(active, "\n"+ids[other]) {
					return false
				}
			}
		}
		return true
	})
}

func (c *cluster) ask(node, id string) (string, error) {
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Second)
	defer cancel()
	return c.hub.broker.Ask(ctx, node, id, "")
}

// said are the messages in cluster.log, of both loggers, as "node: message", with ids left out; sorted, each once.
func (c *cluster) said() []string {
	id := regexp.MustCompile(` \(zeromq_.*\)`)
	found := map[string]bool{}
	for _, line := range c.lines("cluster.log") {
		found[line[1]+": "+id.ReplaceAllString(line[2], "")] = true
	}
	return slices.Sorted(maps.Keys(found))
}

// lines are the fields of the lines of a log, of both loggers.
func (c *cluster) lines(file string) [][]string {
	var lines [][]string
	for _, logger := range []string{"logger-1", "logger-2"} {
		if p := c.running[logger]; p != nil {
			for line := range strings.Lines(p.file(file)) {
				if !strings.HasPrefix(line, "#") && strings.HasSuffix(line, "\n") {
					lines = append(lines, strings.Split(strings.TrimSuffix(line, "\n"), "\t"))
				}
			}
		}
	}
	return lines
}

// hellos are what said has when everybody has met everybody.
func hellos(nodes []string) []string {
	var all []string
	for _, a := range nodes {
		for _, b := range nodes {
			if a != b {
				all = append(all, a+": got hello from "+b)
			}
		}
	}
	return all
}

func (c *cluster) saysAll(what string, want []string) {
	c.t.Helper()
	slices.Sort(want)
	var got []string
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if got = c.said(); slices.Equal(got, want) {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("not within %v: %s: cluster.log has\n%s\nand should have\n%s", patience, what, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

// sequences are the numbers at the end of the uids in conn.log, by what is before them: that is by process.
func (c *cluster) sequences() map[string][]int {
	found := map[string][]int{}
	for _, line := range c.lines("conn.log") {
		uid, number := line[1][:len(line[1])-7], 0
		if _, err := fmt.Sscanf(line[1][len(line[1])-7:], "%d", &number); err != nil {
			c.t.Fatal(err)
		}
		found[uid] = append(found[uid], number)
	}
	return found
}

// stop ends everybody in order, the loggers last.
func (c *cluster) stop() {
	c.t.Helper()
	ordered := slices.SortedFunc(maps.Keys(c.running), func(a, b string) int {
		last := map[string]int{"LOGGER": 1}
		return last[roles[a]] - last[roles[b]]
	})
	for _, name := range ordered {
		p := c.running[name]
		p.signal(syscall.SIGTERM)
		if exit := p.wait(); exit != 0 || p.status() != stateTerminated {
			c.t.Errorf("%s: exit %d, status %q, stderr %q", name, exit, p.status(), p.stderr.String())
		}
		if said := p.stderr.String(); strings.Contains(said, "error") {
			c.t.Errorf("%s said %q", name, said)
		}
	}
	clear(c.running)
}

// curve makes keys, and the environment that nodes get: all, and loggers.
func curve(t *testing.T) (ring broker.Keyring, all, loggers []string) {
	t.Helper()
	var pairs [2]zmtp.KeyPair
	for i := range pairs {
		p, err := zmtp.GenerateKeyPair(nil)
		if err != nil {
			t.Fatal(err)
		}
		pairs[i] = p
	}
	server, client := pairs[0], pairs[1]
	const variable = "ZEEK_CLUSTER_BACKEND_ZEROMQ_CURVE_"
	all = []string{variable + "SERVER_PUBLICKEY=" + server.Public.Z85(), variable + "CLIENT_PUBLICKEY=" + client.Public.Z85(),
		variable + "CLIENT_SECRETKEY=" + client.Secret.Z85()}
	return broker.Keyring{Servers: pairs[:1], Clients: []zmtp.Key{client.Public}}, all, []string{variable + "SERVER_SECRETKEY=" + server.Secret.Z85()}
}

func TestCluster(t *testing.T) {
	nodes := []string{"manager", "logger-1", "logger-2", "proxy-1", "worker-1", "worker-2"}
	for _, mechanism := range []string{zmtp.Null, zmtp.Curve} {
		t.Run(mechanism, func(t *testing.T) {
			t.Parallel()
			var ring broker.Keyring
			var all, loggers []string
			if mechanism == zmtp.Curve {
				ring, all, loggers = curve(t)
			}
			h := newHub(t, ring)
			c := newCluster(t, h, nodes...)
			c.env = map[string][]string{"": append(all, "ZEEK_STANDIN_LOG_RATE=50"), "logger-1": loggers, "logger-2": loggers}
			c.start(nodes...)
			c.up()
			c.saysAll("hellos", hellos(nodes))
			for _, p := range h.broker.Status(true).Peers {
				if p.Mechanism != mechanism {
					t.Errorf("%s %s speaks %s", p.Kind, p.Node, p.Mechanism)
				}
			}

			t.Log("a node is killed")
			c.running["worker-2"].signal(syscall.SIGKILL)
			c.running["worker-2"].wait()
			delete(c.running, "worker-2")
			want := hellos(nodes)
			for _, name := range nodes[:5] {
				want = append(want, name+": node down: worker-2")
			}
			c.saysAll("node_down of who was killed", want)

			t.Log("the broker is restarted")
			h.stop()
			h.start()
			// Whoever starts now is met by all: their connections are back. Had anybody gone down meanwhile, it would have been said before.
			c.start("worker-2")
			c.up()
			c.saysAll("no node_down by the restart", want)

			t.Log("one is stopped and goes on")
			c.running["proxy-1"].signal(syscall.SIGSTOP)
			eventually(t, "it is stopped", func() bool {
				data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.running["proxy-1"].cmd.Process.Pid))
				return err == nil && strings.Contains(string(data), ") T ")
			})
			if _, err := c.ask("proxy-1", "Cluster::node"); err == nil {
				t.Error("who is stopped answers")
			}
			c.running["proxy-1"].signal(syscall.SIGCONT)
			c.up()
			c.saysAll("no node_down by the stop", want)

			eventually(t, "lines of both workers at both loggers", func() bool { return len(c.sequences()) == 5 }) // two loggers, worker-1, worker-2 twice
			before := c.running["worker-1"]
			before.signal(syscall.SIGTERM)
			before.wait()
			delete(c.running, "worker-1")
			var conn map[string][]int
			eventually(t, "no line of a worker that ended in order is lost", func() bool {
				conn = c.sequences()
				complete := 0
				for _, numbers := range conn {
					slices.Sort(numbers)
					if numbers[0] == 0 && numbers[len(numbers)-1] == len(numbers)-1 {
						complete++
					}
				}
				return complete >= 4 // but for the one that was killed
			})
			c.stop()
		})
	}
}

// A manager that runs the broker is it.
func TestManagerIsTheBroker(t *testing.T) {
	t.Parallel()
	_, all, secret := curve(t)
	nodes := []string{"manager", "logger-1", "worker-1"}
	c := newCluster(t, nil, nodes...)
	c.env = map[string][]string{"": all, "logger-1": secret, "manager": secret}
	c.start(nodes...)
	c.saysAll("hellos", hellos(nodes))

	t.Log("another manager, another broker")
	c.running["manager"].signal(syscall.SIGTERM)
	if exit := c.running["manager"].wait(); exit != 0 {
		t.Errorf("exit %d", exit)
	}
	c.start("manager")
	eventually(t, "the new manager has met the others", func() bool {
		hellos := 0
		for _, line := range c.lines("cluster.log") {
			if line[1] == "manager" && strings.HasPrefix(line[2], "got hello from ") {
				hellos++
			}
		}
		return hellos == 4
	})
	// The broker of the old one ended with it, and nobody could hear that it went.
	for _, name := range []string{"logger-1", "worker-1"} {
		eventually(t, name+" has noticed", func() bool {
			return slices.Contains(c.said(), name+": node down: manager")
		})
	}
	c.running["worker-1"].signal(syscall.SIGKILL)
	c.running["worker-1"].wait()
	delete(c.running, "worker-1")
	eventually(t, "node_down", func() bool { return slices.Contains(c.said(), "manager: node down: worker-1") })
	c.stop()
}

func TestAnswersQuestions(t *testing.T) {
	t.Parallel()
	h := newHub(t, broker.Keyring{})
	c := newCluster(t, h, "manager", "logger-1", "worker-1")
	c.files["join.zeek"] += "redef Site::name = \"here and \" + Cluster::node;\nredef Site::number = 17;\n"
	c.start("worker-1")
	ask := func(id string) (answer string) {
		t.Helper()
		eventually(t, "an answer", func() bool {
			var err error
			answer, err = c.ask("worker-1", id)
			return err == nil
		})
		return answer
	}
	for id, want := range map[string]string{
		"Cluster::node":            "worker-1",
		"Site::name":               "here and worker-1",
		"Site::number":             "17",
		"Cluster::nosuch":          "<unknown id>",
		"Cluster::nodes":           "<unknown id>", // a table
		"Cluster::backend":         "Cluster::CLUSTER_BACKEND_ZEROMQ",
		"Cluster::active_node_ids": "{\n\n}",
	} {
		if got := ask(id); got != want {
			t.Errorf("%s is %q, want %q", id, got, want)
		}
	}
	if got := ask(""); !regexp.MustCompile(`^\d+\.\d{6} recvd=0 dropped=0 link=0\n$`).MatchString(got) {
		t.Errorf("net stats %q", got)
	}
	c.stop()
}

// Without loggers that it could reach a Zeek still ends as soon as it has waited for them.
func TestLingers(t *testing.T) {
	t.Parallel()
	c := newCluster(t, newHub(t, broker.Keyring{}), "logger-1", "worker-1")
	c.start("worker-1")
	c.running["worker-1"].waitFor(stateRunning)
	began := time.Now()
	c.stop()
	if took := time.Since(began); took < 500*time.Millisecond || took > patience/2 {
		t.Errorf("it took %v", took)
	}
}

// mixed has a real Zeek in the place of one node.
func TestMixedCluster(t *testing.T) {
	const real = "/opt/zeek/bin/zeek"
	if _, err := os.Stat(real); err != nil {
		t.Skip("needs a real Zeek in /opt/zeek/bin")
	}
	nodes := []string{"manager", "logger-1", "worker-1"}
	for _, zeek := range nodes {
		for _, mechanism := range []string{zmtp.Null, zmtp.Curve} {
			t.Run(zeek+" is a Zeek/"+mechanism, func(t *testing.T) {
				t.Parallel()
				var ring broker.Keyring
				var all, loggers []string
				if mechanism == zmtp.Curve {
					ring, all, loggers = curve(t)
				}
				h := newHub(t, ring)
				c := newCluster(t, h, nodes...)
				c.zeek[zeek] = real
				c.env = map[string][]string{"": all, "logger-1": loggers}
				c.start(nodes...)
				c.up()
				c.saysAll("hellos", hellos(nodes))
				eventually(t, "a worker's lines", func() bool { return zeek == "worker-1" || len(c.sequences()) > 0 })

				for _, killed := range []string{"worker-1", "manager"} {
					c.running[killed].signal(syscall.SIGKILL)
					c.running[killed].wait()
					delete(c.running, killed)
					eventually(t, "node_down of "+killed, func() bool { return slices.Contains(c.said(), "logger-1: node down: "+killed) })
				}
				c.stop()
			})
		}
	}
}
