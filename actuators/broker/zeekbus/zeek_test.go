package zeekbus

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"math"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write testdata/zeek-*.txt from what a real Zeek says")

// TestZeek lets a real Zeek say everything on a bus of libzmq's: what it writes is read, and written again
// with the same bytes; what is written here is understood there.
func TestZeek(t *testing.T) {
	zeek, err := exec.LookPath("zeek")
	if err != nil {
		if zeek = "/opt/zeek/bin/zeek"; exec.Command(zeek, "--version").Run() != nil {
			t.Skip("needs a real Zeek on the PATH or in /opt/zeek/bin")
		}
	}
	const python = "/usr/bin/python3"
	if exec.Command(python, "-c", "import zmq").Run() != nil {
		t.Skip("needs python3-zmq")
	}
	for _, tt := range []struct {
		name       string
		format     Format
		serializer string
		metadata   bool
	}{
		{"bin", FormatBin, "EVENT_SERIALIZER_BROKER_BIN_V1", false},
		{"json", FormatJSON, "EVENT_SERIALIZER_BROKER_JSON_V1", false},
		{"bin-metadata", FormatBin, "EVENT_SERIALIZER_BROKER_BIN_V1", true},
		{"json-metadata", FormatJSON, "EVENT_SERIALIZER_BROKER_JSON_V1", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := startBridge(t, python)
			setting := func(name, value string) string { return name + "=" + value }
			sample, err := filepath.Abs("testdata/sample.zeek")
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), zeek, "frameworks/cluster/backend/zeromq", "frameworks/control/controllee", sample,
				setting("Cluster::Backend::ZeroMQ::connect_xsub_endpoint", b.xpub), setting("Cluster::Backend::ZeroMQ::connect_xpub_endpoint", b.xsub),
				setting("Cluster::event_serializer", "Cluster::"+tt.serializer),
				setting("EventMetadata::add_network_timestamp", map[bool]string{true: "T", false: "F"}[tt.metadata]))
			cmd.Dir = t.TempDir()
			layout, err := os.ReadFile("testdata/cluster-layout.zeek")
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(cmd.Dir, "cluster-layout.zeek"), bytes.ReplaceAll(layout, []byte("LOGGER/"), []byte(b.pull[strings.LastIndexByte(b.pull, ':')+1:]+"/")), 0o600); err != nil {
				t.Fatal(err)
			}
			// Zeek's own default of ZEEKPATH has the working folder, and with it the layout.
			cmd.Env = append(os.Environ(), "CLUSTER_NODE=worker_1")
			var said strings.Builder
			cmd.Stdout, cmd.Stderr = &said, &said
			cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
			cmd.WaitDelay = 20 * time.Second
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			exited := make(chan struct{})
			go func() {
				_ = cmd.Wait()
				close(exited)
			}()
			t.Cleanup(func() {
				<-exited
				if t.Failed() || strings.Contains(said.String(), "rror") {
					t.Errorf("zeek said:\n%s", said.String())
				}
			})
			captured := converse(t, b, tt.format, exited)
			if *update {
				head := "# What Zeek 8.2.2 said in TestZeek/" + tt.name + ": the socket at which it arrived, and the frames.\n"
				if err := os.WriteFile("testdata/zeek-"+tt.name+".txt", []byte(head+strings.Join(captured, "\n")+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// bridge is the other end of the node's sockets.
type bridge struct {
	xpub, xsub, pull string // endpoints
	in               io.Writer
	lines            chan string
}

func startBridge(t *testing.T, python string) *bridge {
	cmd := exec.CommandContext(t.Context(), python, "testdata/bridge.py")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	b := &bridge{in: in, lines: make(chan string, 1000)}
	reader := bufio.NewReader(out)
	first, err := reader.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscan(first, &b.xpub, &b.xsub, &b.pull); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(b.lines)
		for {
			line, err := reader.ReadString('\n')
			if err != nil {
				return
			}
			b.lines <- strings.TrimSuffix(line, "\n")
		}
	}()
	t.Cleanup(func() {
		_ = in.Close()
		for range b.lines {
		}
		_ = cmd.Wait()
	})
	return b
}

func (b *bridge) send(t *testing.T, socket string, frames ...[]byte) {
	t.Helper()
	if _, err := fmt.Fprintln(b.in, line(socket, frames)); err != nil {
		t.Fatal(err)
	}
}

func (b *bridge) publish(t *testing.T, format Format, topic string, e Event) {
	t.Helper()
	m, err := NewMessage(topic, "zeekrec-broker", format, e)
	if err != nil {
		t.Fatal(err)
	}
	b.send(t, "xpub", m.AppendFrames(nil)...)
}

func line(socket string, frames [][]byte) string {
	for _, f := range frames {
		socket += " " + hex.EncodeToString(f)
	}
	return socket
}

// frames takes a line of the bridge apart.
func frames(t testing.TB, line string) (socket string, frames [][]byte) {
	t.Helper()
	words := strings.Fields(line)
	for _, w := range words[1:] {
		f, err := hex.DecodeString(strings.TrimPrefix(w, "-"))
		if err != nil {
			t.Fatal(err)
		}
		frames = append(frames, f)
	}
	return words[0], frames
}

// echoArgs are what a Zeek is to read and to print; echoText is how it prints that.
func echoArgs() []Value {
	return []Value{
		Vector{Real(0.1), Real(1e-7), Real(1e19), Real(123456.789), Real(-1.5e300), Real(math.NaN())},
		String("a\x00b\xff\n\v\x01\x7f\"\\é"),
		Vector{Timestamp(1700000000123456789), Timestamp(1700000000000000000)},
		Timespan(1500 * time.Millisecond), Set{Count(7)}, Table{{String("x"), Count(math.MaxUint64)}},
		Address{netip.MustParseAddr("::ffff:1.2.3.4")}, Subnet{netip.MustParsePrefix("10.0.0.0/8")}, Port{7, UnknownProtocol},
		Enum("Sample::GREEN"), Boolean(true), Integer(math.MinInt64),
	}
}

const echoText = "[0.1, 1e-07, 1e+19, 123456.789, -1.5e+300, nan]|a\x00b\xff\n\v\x01\x7f\"\\é|[1700000000.123457, 1700000000.0]|1.0 sec 500.0 msecs" +
	"|{\n\t7\n}|{\n\t[x] = 18446744073709551615\n}|1.2.3.4|10.0.0.0/8|7/unknown|Sample::GREEN|T|-9223372036854775808"

// converse brings the node to say everything, checks it, and returns what it said, each kind of message once.
func converse(t *testing.T, b *bridge, format Format, exited <-chan struct{}) (captured []string) {
	manager := Hello{Name: "manager", ID: NodeID{Name: "manager", Host: "here_1", PID: 4711, Unique: "Nabc"}.String()}
	b.send(t, "xsub", append([]byte{1}, PrefixControl...))
	b.send(t, "xsub", append([]byte{1}, "zeek.sample"...))
	var asks Asks[string]
	requests := map[Request]string{
		{"worker_1", AskIDValue, "Cluster::node"}: "worker_1",
		{"worker_1", AskIDValue, "No::such"}:      "<unknown id>",
		{"worker_1", AskNetStats, ""}:             " recvd=0 dropped=0 link=0\n",
		{"worker_1", AskPeerStatus, ""}:           "",
	}
	for r, answer := range requests {
		if err := asks.Add(r, answer); err != nil {
			t.Fatal(err)
		}
	}
	missing := map[string]bool{}
	for _, what := range []string{"member", "role", "Sample::scalars", "Sample::net", "Sample::boxes", "Sample::odd", "Sample::fine", "Sample::unreadable",
		"Sample::none", "Sample::done", "Sample::echoed", EventZeroMQHello, EventClusterHello, "log sample", "log cluster"} {
		missing[what] = true
	}
	seen := map[string]bool{}
	var id NodeID
	// The node's publishing connection may come up after its subscriptions: ask until it answers.
	again := time.NewTicker(300 * time.Millisecond)
	defer again.Stop()
	deadline := time.After(60 * time.Second)
	for len(missing) > 0 || asks.Len() > 0 {
		select {
		case <-exited:
			t.Fatal("zeek is gone")
		case <-deadline:
			t.Fatalf("still missing %v and %d answers", missing, asks.Len())
		case <-again.C:
			if missing["member"] {
				continue
			}
			b.publish(t, format, NodeIDTopic(id.String()), manager.ZeroMQEvent())
			b.publish(t, format, NodeIDTopic(id.String()), manager.ClusterEvent())
			b.send(t, "xsub", append([]byte{1}, NodeIDTopic(manager.ID)...))
			for r := range requests {
				b.publish(t, format, r.Topic(), r.Event())
			}
			b.publish(t, format, NodeTopic("worker_1"), Event{Name: "Sample::echo", Args: echoArgs()})
			b.publish(t, format, NodeTopic("worker_1"), Event{Name: "Sample::go"})
		case l, ok := <-b.lines:
			if !ok {
				t.Fatal("the bridge is gone")
			}
			socket, frames := frames(t, l)
			what := ""
			switch socket {
			case "xpub":
				what = l
				class, rest := Classify(frames[0][1:])
				switch {
				case class == ClassNodeID:
					n, err := ParseNodeID(string(rest), "worker_1")
					if err != nil || n.Name != "worker_1" || n.PID == 0 {
						t.Errorf("%+v, %v", n, err)
					}
					id = n
				case class == ClassNode && string(rest) == "worker_1":
					delete(missing, "member")
				case class.Role() == "worker" && rest == nil:
					delete(missing, "role")
				}
			case "pull":
				w := checkLogWrite(t, frames)
				what = "log " + w.Path
				if w.Path == "cluster" && fmt.Sprint(w.Records[0][2].Data) != "got hello from manager ("+manager.ID+")" {
					t.Errorf("cluster.log: %+v", w.Records)
				}
			case "xsub":
				m, e := checkEvent(t, frames)
				if string(m.Sender) != id.String() {
					t.Errorf("message of %s, not of %s", m.Sender, id)
				}
				if h, err := ParseHello(e); err == nil && (h != Hello{"worker_1", id.String()} || string(m.Topic) != NodeIDTopic(manager.ID)) {
					t.Errorf("%s: %+v", m.Topic, h)
				}
				what = e.Name
				if want, answer, ok := asks.Take(m.Topic, e); ok {
					if what += fmt.Sprint(e.Args); !strings.HasSuffix(answer, want) {
						t.Errorf("%s: answer %q, not %q", e.Name, answer, want)
					}
				} else if e.Name == "Sample::echoed" {
					if text := string(e.Args[0].(String)); text != echoText {
						t.Errorf("it read %q, not %q", text, echoText)
					}
				} else if !missing[what] {
					what = "" // a repetition
				}
			}
			delete(missing, what)
			if what != "" && !seen[what] {
				seen[what] = true
				captured = append(captured, l)
			}
		}
	}
	return captured
}

func checkEvent(t *testing.T, frames [][]byte) (Message, Event) {
	t.Helper()
	m, err := SplitMessage(frames)
	if err != nil {
		t.Fatal(err)
	}
	e, err := m.Event()
	if err != nil {
		t.Fatalf("%v\n%s", err, m.Payload)
	}
	again, err := AppendEvent(nil, Format(m.Format), e)
	if string(m.Format) == string(FormatJSON) && strings.ContainsAny(string(m.Payload), "\x00") {
		// Zeek could not read itself what it says here.
		return m, e
	}
	if err != nil || string(again) != string(m.Payload) {
		t.Errorf("%v: %v\nread    %q\nwritten %q", e, err, m.Payload, again)
	}
	return m, e
}

func checkLogWrite(t *testing.T, frames [][]byte) LogWrite {
	t.Helper()
	m, err := SplitMessage(frames)
	if err != nil {
		t.Fatal(err)
	}
	w, err := m.LogWrite()
	if err != nil {
		t.Fatalf("%v\n%x", err, m.Payload)
	}
	if again, err := AppendLogWrite(nil, w); err != nil || string(again) != string(m.Payload) {
		t.Errorf("%+v: %v\nread    %x\nwritten %x", w, err, m.Payload, again)
	}
	return w
}
