package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zeekrec/zeekrec/actuators/broker/zeekbus"
	"github.com/zeekrec/zeekrec/actuators/broker/zmtp"
	"github.com/zeekrec/zeekrec/testdata/zeek/bus"
)

// bothZeeks runs a test with the stand-in and, with -zeek, with Zeek.
func bothZeeks(t *testing.T, test func(t *testing.T, zeek string)) {
	t.Run("stand-in", func(t *testing.T) { t.Parallel(); test(t, binary()) })
	if *realZeek != "" {
		t.Run("zeek", func(t *testing.T) { t.Parallel(); test(t, *realZeek) })
	}
}

// port is a socket of a broker, or of a logger, that is played by a test.
type port struct {
	t      *testing.T
	ln     net.Listener
	config *zmtp.ServerConfig
}

func newPort(t *testing.T, kind, accept string) *port {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return &port{t, l, &zmtp.ServerConfig{SocketType: kind, Accept: []string{accept}, AllowNull: func() bool { return true }}}
}

func (p *port) endpoint() string { return "tcp://" + p.ln.Addr().String() }

// accept waits for the node's socket.
func (p *port) accept() *zmtp.Conn {
	p.t.Helper()
	conn := p.knock()
	peer, err := zmtp.ServerHandshake(conn, p.config)
	if err != nil {
		p.t.Fatal(err)
	}
	return zmtp.NewConn(conn, peer)
}

// refuse waits for the node's socket, and for its handshake to fail.
func (p *port) refuse() {
	p.t.Helper()
	conn := p.knock()
	if _, err := zmtp.ServerHandshake(conn, p.config); err == nil {
		p.t.Error("a handshake succeeded")
	}
	conn.Close()
}

func (p *port) knock() net.Conn {
	p.t.Helper()
	_ = p.ln.(*net.TCPListener).SetDeadline(time.Now().Add(patience))
	conn, err := p.ln.Accept()
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(2 * patience))
	return conn
}

// lonely is the world of a worker whose broker and logger are the test's.
func lonely(t *testing.T, zeek, xpub, xsub, pull string, env ...string) *world {
	t.Helper()
	files := map[string]string{"cluster-layout.zeek": layout(1, 0), "join.zeek": fmt.Sprintf(
		"redef Cluster::Backend::ZeroMQ::connect_xsub_endpoint = %q;\nredef Cluster::Backend::ZeroMQ::connect_xpub_endpoint = %q;\n"+
			"redef Cluster::Backend::ZeroMQ::hello_expiration = 1 sec;\n@load frameworks/control/controllee\nredef Control::controllee_listen = F;\n", xpub, xsub)}
	_, number, _ := strings.Cut(pull, "tcp://127.0.0.1:")
	files["cluster-layout.zeek"] = strings.ReplaceAll(strings.ReplaceAll(files["cluster-layout.zeek"], "$p=1/tcp", "$p="+number+"/tcp"), ", $metrics_port=0/tcp", "")
	w := newWorld(t, files, slices.Concat(env, []string{"CLUSTER_NODE=worker-1"})...)
	w.zeek = zeek
	return w
}

// TestReportsAreLikeZeeks lets the nodes of a cluster misbehave, all of them played by the test.
func TestReportsAreLikeZeeks(t *testing.T) {
	bothZeeks(t, func(t *testing.T, zeek string) {
		xpub, xsub, pull := newPort(t, "XPUB", "XSUB"), newPort(t, "XSUB", "XPUB"), newPort(t, "PULL", "PUSH")
		p := lonely(t, zeek, xpub.endpoint(), xsub.endpoint(), pull.endpoint()).start("-U", "status", zeromq, "join")
		toNode, fromNode, logger := xpub.accept(), xsub.accept(), pull.accept()

		var topics []string
		id := ""
		for range 6 {
			r, err := toNode.Recv()
			if err != nil {
				t.Fatal(err)
			}
			class, rest := zeekbus.Classify([]byte(r.Topic))
			if class == zeekbus.ClassNodeID {
				id = string(rest)
				r.Topic = "ID"
			}
			topics = append(topics, r.Topic)
		}
		want := []string{"zeek/supervisor", "zeek/table/", "zeek.cluster.pool.worker", "zeek.cluster.worker", "ID", "zeek.cluster.node.worker-1."}
		if diff := cmp.Diff(want, topics); diff != "" {
			t.Fatalf("subscriptions, -want +got:\n%s", diff)
		}
		if n, err := zeekbus.ParseNodeID(id, "worker-1"); err != nil || n.PID != p.cmd.Process.Pid || !strings.HasPrefix(n.Unique, "N") {
			t.Errorf("id %q (%v)", id, err)
		}

		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		sendAs := func(format zeekbus.Format, e zeekbus.Event) {
			t.Helper()
			m, err := zeekbus.NewMessage(zeekbus.NodeIDTopic(id), "zeromq_test", zeekbus.FormatBin, e)
			must(err)
			m.Format = []byte(format)
			must(toNode.Send(m.AppendFrames(nil)...))
			must(toNode.Flush())
		}
		send := func(e zeekbus.Event) { t.Helper(); sendAs(zeekbus.FormatBin, e) }
		zeroMQ := func(name, id string) { t.Helper(); send(zeekbus.Hello{Name: name, ID: id}.ZeroMQEvent()) }
		hello := func(name, id string) { t.Helper(); send(zeekbus.Hello{Name: name, ID: id}.ClusterEvent()) }
		// said is what the node publishes next.
		said := func() string {
			t.Helper()
			r, err := fromNode.Recv()
			must(err)
			m, err := zeekbus.SplitMessage(r.Frames)
			must(err)
			e, err := m.Event()
			must(err)
			text := fmt.Sprintf("%s %s %v", m.Topic, e.Name, e.Args)
			return strings.ReplaceAll(strings.ReplaceAll(text, id, "ID"), "zeek.cluster.nodeid.", "")
		}
		expect := func(want string) {
			t.Helper()
			if got := said(); got != want {
				t.Errorf("said %q, want %q", got, want)
			}
		}
		// barrier: what was sent before has been heard by now. The two sockets are not in order with each other.
		must(fromNode.Subscribe(zeekbus.PrefixControl))
		barrier := func() {
			t.Helper()
			send(zeekbus.Event{Name: "Control::id_value_request", Args: []zeekbus.Value{zeekbus.String("Cluster::node")}})
			expect("zeek/control/id_value_response/worker-1 Control::id_value_response [Cluster::node worker-1]")
		}
		// It may not have heard of the subscription when it answers for the first time; so it is asked for something that it will say.
		must(fromNode.Subscribe(zeekbus.NodeIDTopic("m")))
		expect("m. Cluster::Backend::ZeroMQ::hello [worker-1 ID]")
		zeroMQ("manager", "m")
		expect("m. Cluster::hello [worker-1 ID]")
		hello("manager", "m")
		zeroMQ("manager", "m")
		zeroMQ("manager", "m2")
		barrier() // Zeek raises node_down as an event, after those that are there
		hello("logger-1", "l")
		hello("logger-1", "l2")
		hello("ghost", "g")
		barrier()
		must(fromNode.Cancel(zeekbus.NodeIDTopic("nobody"))) // of which nothing was heard before
		must(fromNode.Subscribe(zeekbus.NodeIDTopic("half")))
		expect("half. Cluster::Backend::ZeroMQ::hello [worker-1 ID]")
		sendAs("foo", zeekbus.Hello{}.ClusterEvent())
		must(toNode.Send([]byte(zeekbus.NodeIDTopic(id)), []byte("short")))
		barrier()
		must(fromNode.Cancel(zeekbus.NodeIDTopic("l2")))

		// The lines of both logs as they are pushed. The last half of a greeting is forgotten after 1 to 20 s.
		logged := map[string][]string{}
		find := func(log, text string) bool {
			return slices.ContainsFunc(logged[log], func(line string) bool { return strings.Contains(line, text) })
		}
		for !find("cluster", "node down: logger-1") || !find("reporter", "Expired subscription") || !find("reporter", "Expired hello") {
			r, err := logger.Recv()
			must(err)
			m, err := zeekbus.SplitMessage(r.Frames)
			must(err)
			w, err := m.LogWrite()
			must(err)
			for _, record := range w.Records {
				var line []string
				for _, v := range record[1:] { // but for the time
					line = append(line, fmt.Sprint(v.Data))
				}
				logged[w.Path] = append(logged[w.Path], withoutPlace(strings.Join(line, "|"), zeek))
			}
		}
		p.signal(syscall.SIGTERM)
		if exit := p.wait(); exit != 0 {
			t.Errorf("exit %d", exit)
		}
		if diff := cmp.Diff([]string{
			"worker-1|got hello from manager (m)", "worker-1|node down: manager",
			"worker-1|got hello from logger-1 (l)", "worker-1|got hello from logger-1 (l2)", "worker-1|node down: logger-1",
		}, logged["cluster"]); diff != "" {
			t.Errorf("cluster.log, -want +got:\n%s", diff)
		}
		const backend, framework = "PREFIX/policy/frameworks/cluster/backend/zeromq/main.zeek, ", "PREFIX/base/frameworks/cluster/main.zeek, "
		reports := []struct{ level, place, text string }{
			{"warning", backend + "lines 616-617", "node 'manager' sends ZeroMQ::hello twice (id:m)"},
			{"warning", backend + "lines 621-622", "node 'manager' never said goodbye (old id:m new id:m2"},
			{"error", framework + "lines 382-383", "Got Cluster::hello msg from duplicate node:logger-1"},
			{"error", framework + "line 373", "Got Cluster::hello msg from unexpected node: ghost"},
			{"warning", backend + "line 666", "unsubscription of unknown node with id 'nobody'"},
			{"error", "", "ProcessEventMessage: Wrong format: foo vs broker-bin-v1"},
			{"warning", backend + "line 543", "Expired subscription from nodeid half"},
			{"warning", backend + "line 549", "Expired hello from nodeid m2"},
		}
		wantStderr := []string{"[zeromq] xsub: error: expected 4 parts, have 2!", "received termination signal"}
		var wantLog []string
		for _, r := range reports {
			place, location := "", ""
			if r.place != "" {
				place, location = " in "+r.place, r.place
			}
			wantStderr = append(wantStderr, r.level+place+": "+r.text)
			wantLog = append(wantLog, "Reporter::"+strings.ToUpper(r.level)+"|"+r.text+"|"+location)
		}
		// What came by different sockets may have been heard in either order.
		sorted := func(lines []string) []string { return slices.Sorted(slices.Values(lines)) }
		gotStderr := strings.Split(strings.TrimSuffix(withoutPlace(p.stderr.String(), zeek), "\n"), "\n")
		if diff := cmp.Diff(sorted(wantStderr), sorted(gotStderr)); diff != "" {
			t.Errorf("stderr, -want +got:\n%s", diff)
		}
		if diff := cmp.Diff(sorted(wantLog), sorted(logged["reporter"])); diff != "" {
			t.Errorf("reporter.log, -want +got:\n%s", diff)
		}
	})
}

// TestHandshakesFailLikeZeeks: what Zeek does when the other side of a connection is not what it should be.
func TestHandshakesFailLikeZeeks(t *testing.T) {
	const text = "%s in PREFIX/policy/frameworks/cluster/backend/zeromq/main.zeek, line %d: ZeroMQ: Handshake for socket %s failed: event=0x%x value=%d\n"
	const variable = "ZEEK_CLUSTER_BACKEND_ZEROMQ_CURVE_"
	ring, good, _ := curve(t)
	_, stranger, _ := curve(t)
	// All of one's own, but for the server's.
	half := slices.Concat(good[:1], stranger[1:])
	logger := func(t *testing.T, keys bus.Keys) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		b := bus.Open(t.Context(), bus.Config{Subscribe: "tcp://127.0.0.1:1", Publish: "tcp://127.0.0.1:1", Logs: l, Keys: keys})
		t.Cleanup(b.Close)
		return "tcp://" + l.Addr().String()
	}
	secure := bus.Keys{Server: &zmtp.Keyring{Servers: ring.Servers, Clients: ring.Clients}}
	for _, c := range []struct {
		name         string
		server       bus.Keys
		env          []string
		event, value int
	}{
		{"keys missing", secure, nil, 0x2000, 285212674},
		{"some keys missing", secure, good[:2], 0x2000, 285212674},
		{"keys nobody asked for", bus.Keys{}, good, 0x2000, 285212674},
		{"a stranger's keys", secure, half, 0x4000, 400},
		{"another server's key", secure, stranger, 0x800, 32},
	} {
		t.Run(c.name, func(t *testing.T) {
			bothZeeks(t, func(t *testing.T, zeek string) {
				level, line, exit, status := "fatal error", 694, 1, stateFatal
				var pull string
				var p *process
				if c.event == 0x800 { // it tries again
					level, line, exit, status = "warning", 691, 0, stateTerminated
					port := newPort(t, "PULL", "PUSH")
					port.config.Curve = func() zmtp.Keyring { return *c.server.Server }
					pull = port.endpoint()
					p = lonely(t, zeek, "tcp://127.0.0.1:1", "tcp://127.0.0.1:1", pull, c.env...).start("-U", "status", zeromq, "join")
					for range 4 {
						port.refuse()
					}
					p.waitFor(stateRunning)
					p.signal(syscall.SIGTERM)
				} else {
					pull = logger(t, c.server)
					p = lonely(t, zeek, "tcp://127.0.0.1:1", "tcp://127.0.0.1:1", pull, c.env...).start("-U", "status", zeromq, "join")
				}
				if got := p.wait(); got != exit || p.status() != status {
					t.Errorf("exit %d, status %q", got, p.status())
				}
				want := fmt.Sprintf(text, level, line, pull, c.event, c.value)
				if got := withoutPlace(p.stderr.String(), zeek); !strings.HasPrefix(got, want) || exit == 0 && strings.Count(got, want) < 2 {
					t.Errorf("stderr %q, want %q", got, want)
				}
			})
		})
	}
	t.Run("no key at all", func(t *testing.T) {
		bothZeeks(t, func(t *testing.T, zeek string) {
			env := []string{variable + "CLIENT_PUBLICKEY=x", variable + "CLIENT_SECRETKEY=x", variable + "SERVER_PUBLICKEY=x"}
			p, exit := lonely(t, zeek, "tcp://127.0.0.1:1", "tcp://127.0.0.1:1", "tcp://127.0.0.1:1", env...).run("-U", "status", zeromq, "join")
			want := "terminate called after throwing an instance of 'zmq::error_t'\n  what():  Invalid argument\n"
			if exit != -int(syscall.SIGABRT) || p.stderr.String() != want || p.status() != stateInitializing {
				t.Errorf("exit %d, status %q, stderr %q", exit, p.status(), p.stderr.String())
			}
		})
	})
	t.Run("keys from both sides", func(t *testing.T) {
		bothZeeks(t, func(t *testing.T, zeek string) {
			w := lonely(t, zeek, "tcp://127.0.0.1:1", "tcp://127.0.0.1:1", "tcp://127.0.0.1:1", good...)
			script := "redef Cluster::Backend::ZeroMQ::curve_client_publickey = \"x\";\n"
			if err := os.WriteFile(filepath.Join(w.dir, "more.zeek"), []byte(script), 0o644); err != nil {
				t.Fatal(err)
			}
			p, exit := w.run("-U", "status", zeromq, "join", "more")
			want := "fatal error: ZeroMQ CURVE configured via script variable redefinitions and environment variables at the same time.\n"
			if exit != 1 || p.stderr.String() != want || p.status() != stateFatal {
				t.Errorf("exit %d, status %q, stderr %q", exit, p.status(), p.stderr.String())
			}
		})
	})
}
