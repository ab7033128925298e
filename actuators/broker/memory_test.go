package broker

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zeekrec/zeekrec/actuators/broker/internal/rawpeer"
)

// leaveState has a broker remember nodes, and end: in order, or as if it was killed.
func leaveState(t *testing.T, file string, killed bool, names ...string) {
	t.Helper()
	r := newPipeRig(t, Config{StateFile: file})
	for _, name := range names {
		r.zeek(name, "zeromq_"+name+"_h_7_N", "10.0.0.7:1")
	}
	if killed {
		time.Sleep(2 * rememberPause)
		synctest.Wait()
		copied, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := os.WriteFile(file, copied, 0o600); err != nil {
				t.Fatal(err)
			}
		}()
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
}

func TestRestart(t *testing.T) {
	for _, killed := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "state.json")
			leaveState(t, file, killed, "a", "b")
			if fi, err := os.Stat(file); err != nil || fi.Mode().Perm() != 0o600 {
				t.Errorf("state file: %v, %v", fi, err)
			}
			time.Sleep(time.Minute) // the broker is away; that is no time of the nodes'
			r := newPipeRig(t, Config{StateFile: file})
			if st := r.b.Status(false); !st.Holding || len(st.Members) != 2 || st.Members[0].Connected {
				t.Fatalf("killed %v: %+v", killed, st)
			}

			// A publisher is there first. It is told of everybody, and what it has is not read.
			p := r.join(rawpeer.XPUB(1), "10.0.0.7:2")
			told := p.listen()
			sent := make(chan error, 1)
			go func() { sent <- p.Send("zeek.cluster.worker", "early") }()
			got, _ := heard(told)
			wantWords(t, "presences", only(got, "+zeek.cluster.nodeid."), "+zeek.cluster.nodeid.zeromq_a_h_7_N.", "+zeek.cluster.nodeid.zeromq_b_h_7_N.")
			a := &zeekNode{r: r, name: "a", id: "zeromq_a_h_7_N", addr: "10.0.0.7:3"}
			a.connectSub()
			time.Sleep(time.Second)
			synctest.Wait()
			select {
			case <-sent:
				t.Fatal("a publisher was read from before all were back")
			default:
			}

			// The other one is back, and repeats its topics in two steps.
			b := r.join(rawpeer.XSUB(1), "10.0.0.7:4")
			items := b.listen()
			topics := (&zeekNode{name: "b", id: "zeromq_b_h_7_N"}).topics()
			for i, topic := range topics {
				if i == 2 {
					time.Sleep(returnTime / 2)
					synctest.Wait()
					if !r.b.Status(false).Holding {
						t.Error("released before everything was repeated")
					}
				}
				b.must(b.Subscribe(topic))
			}
			time.Sleep(100 * time.Millisecond)
			if err := <-sent; err != nil {
				t.Fatal(err)
			}
			for name, items := range map[string]<-chan rawpeer.Item{"a": a.got, "b": items} {
				got, _ := heard(items)
				wantWords(t, name+" gets", only(got, "zeek"), "zeek.cluster.worker early")
			}
			got, _ = heard(told)
			wantWords(t, "cancelled", only(got, "-"))
			if st := r.b.Status(false); st.Holding || len(st.Members) != 2 || !st.Members[0].Connected {
				t.Errorf("in the end: %+v", st)
			}
		})
	}
}

// TestMissingAfterRestart: who does not come back is cancelled, for those who were there and for those who attach later, and what
// publishers held is read then.
func TestMissingAfterRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "state.json")
		leaveState(t, file, true, "a", "b")
		r := newPipeRig(t, Config{StateFile: file})
		p := r.join(rawpeer.XPUB(1), "10.0.0.7:2")
		told := p.listen()
		a := &zeekNode{r: r, name: "a", id: "zeromq_a_h_7_N", addr: "10.0.0.7:3"}
		a.connectSub()
		go func() { _ = p.Send("zeek.cluster.worker", "early") }()
		time.Sleep(DefaultGrace - 100*time.Millisecond)
		got, _ := heard(told)
		wantWords(t, "too early", only(got, "-"))
		wantWords(t, "a gets too early", only(first(heard(a.got)), "zeek"))
		time.Sleep(200 * time.Millisecond)
		got, _ = heard(told)
		wantWords(t, "cancelled", only(got, "-zeek.cluster.nodeid."), "-zeek.cluster.nodeid.zeromq_b_h_7_N.")
		wantWords(t, "a gets", only(first(heard(a.got)), "zeek"), "zeek.cluster.worker early")
		got, _ = heard(r.join(rawpeer.XPUB(1), "10.0.0.9:2").listen())
		wantWords(t, "one that attaches later", only(got, "-zeek.cluster.nodeid.", "+zeek.cluster.nodeid."),
			"-zeek.cluster.nodeid.zeromq_b_h_7_N.", "+zeek.cluster.nodeid.zeromq_a_h_7_N.")
	})
}

func first(words []string, _ bool) []string { return words }

func TestDamagedStateFile(t *testing.T) {
	many := memory{Format: 1}
	for range 3 {
		many.Nodes = append(many.Nodes, memorizedNode{Name: "n", ID: "zeromq_n_h_1_N", Topics: []string{"x"}}) // one node, thrice
	}
	many.Nodes = append(many.Nodes, memorizedNode{Name: "\x01", ID: "a", Topics: []string{"x"}}, memorizedNode{ID: "b"},
		memorizedNode{ID: strings.Repeat("x", maxName+1), Topics: []string{"x"}}, memorizedNode{Topics: []string{"y"}})
	doubled, err := json.Marshal(many)
	if err != nil {
		t.Fatal(err)
	}
	for content, members := range map[string]int{
		"": 0, "{": 0, "null": 0, "[]": 0, `{"format":2,"nodes":[]}`: 0, `{"format":1}`: 0, "\x00\xff": 0, `{"format":1,"nodes":[{}]}`: 0,
		`{"format":1,"nodes":[null,5]}`: 0, string(doubled): 1,
	} {
		file := filepath.Join(t.TempDir(), "state.json")
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		r := newRig(t, Config{StateFile: file, Settings: Settings{Grace: time.Hour}})
		if n := len(r.b.Status(false).Members); n != members {
			t.Errorf("%.40q: %d members, want %d", content, n, members)
		}
		if members == 0 { // else publishers are held
			s, p := r.subscriber("t"), r.publisher()
			p.must(p.Send("t", "works"))
			s.want("t", "works")
		}
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
		var m memory
		data, err := os.ReadFile(file)
		if err == nil {
			err = json.Unmarshal(data, &m)
		}
		if err != nil || m.Format != 1 || len(m.Nodes) != members {
			t.Errorf("%.40q: written at the end: %q, %v", content, data, err)
		}
	}
}

// TestStateFileIsReplaced: at each moment there is a whole one under its name, soon after each change.
func TestStateFileIsReplaced(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state.json")
	r := newRig(t, Config{StateFile: file})
	read := func() (m memory) {
		data, err := os.ReadFile(file)
		if os.IsNotExist(err) {
			return m
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(data, &m); err != nil {
			t.Fatalf("half a state file: %q: %v", data, err)
		}
		return m
	}
	for i := range 20 {
		id := "zeromq_n_h_" + string(rune('1'+i%9)) + "_" + strings.Repeat("N", i+1)
		n := r.subscriber("zeek.cluster.nodeid."+id+".", "zeek.cluster.node.n"+strings.Repeat("n", i)+".")
		eventually(t, "the node is in the file", func() bool {
			for _, node := range read().Nodes {
				if node.ID == id && len(node.Topics) == 2 {
					return true
				}
			}
			return false
		})
		n.must(n.Cancel("zeek.cluster.nodeid." + id + "."))
		eventually(t, "the node is not in the file", func() bool { return len(read().Nodes) == 0 })
	}
	entries, err := os.ReadDir(filepath.Dir(file))
	if err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

// TestStateFileCannotBeWritten: the bus works without one.
func TestStateFileCannotBeWritten(t *testing.T) {
	r := newRig(t, Config{StateFile: filepath.Join(t.TempDir(), "missing", "state.json")})
	s, p := r.subscriber("t", "zeek.cluster.nodeid.zeromq_n_h_1_N."), r.publisher()
	p.must(p.Send("t", "works"))
	s.want("t", "works")
}
