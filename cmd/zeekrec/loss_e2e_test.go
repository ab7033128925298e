//go:build linux

package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// traffic sends UDP packets of many flows to the far end of an interface, at an even pace.
type traffic struct {
	sent atomic.Int64
	stop chan struct{}
	done chan error
}

// packetsPerSecond on each interface.
const packetsPerSecond = 2000

// send begins, in the network of the rig.
func (r *rig) send(iface string, perSecond float64) *traffic {
	r.t.Helper()
	fd := make(chan int, 1)
	go func() {
		// The thread ends with this goroutine, and nothing else sees that network.
		runtime.LockOSThread()
		s, err := packetSocket(r.netns, iface)
		if err != nil {
			r.t.Error(err)
			s = -1
		}
		fd <- s
	}()
	s := <-fd
	if s < 0 {
		r.t.FailNow()
	}
	tr := &traffic{stop: make(chan struct{}), done: make(chan error, 1)}
	go func() { tr.done <- tr.run(s, perSecond) }()
	r.t.Cleanup(tr.end)
	return tr
}

func packetSocket(netns, iface string) (int, error) {
	f, err := os.Open("/run/netns/" + netns)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
		return 0, err
	}
	link, err := net.InterfaceByName(iface)
	if err != nil {
		return 0, err
	}
	s, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	return s, unix.Bind(s, &unix.SockaddrLinklayer{Ifindex: link.Index})
}

func (tr *traffic) run(s int, perSecond float64) error {
	defer unix.Close(s)
	frame := udpFrame()
	began := time.Now()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tr.stop:
			return nil
		case <-tick.C:
		}
		due := int64(time.Since(began).Seconds() * perSecond)
		for n := tr.sent.Load(); n < due; n++ {
			binary.BigEndian.PutUint16(frame[34:], uint16(10000+n%64)) // 64 flows, by their source ports
			if _, err := unix.Write(s, frame); err != nil {
				return err
			}
			tr.sent.Add(1)
		}
	}
}

// end of it; the packets that were sent are all on the wire then.
func (tr *traffic) end() {
	select {
	case <-tr.stop:
	default:
		close(tr.stop)
		<-tr.done
	}
}

// udpFrame is Ethernet, IPv4 and UDP with a payload of 100 bytes, whose UDP checksum is left out.
func udpFrame() []byte {
	f := make([]byte, 14+20+8+100)
	copy(f, []byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0})
	ip := f[14:34]
	ip[0], ip[8], ip[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(ip[2:], uint16(len(f)-14))
	copy(ip[12:], []byte{192, 0, 2, 1, 192, 0, 2, 2})
	sum := uint32(0)
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum+sum>>16))
	binary.BigEndian.PutUint16(f[36:], 9)
	binary.BigEndian.PutUint16(f[38:], 108)
	return f
}

// captured is what a running worker has taken from its interface, and dropped.
func (w *works) captured(worker string) (received, dropped int64) {
	w.t.Helper()
	out, code := w.zeekrec("netstats", "--json", worker)
	var stats struct {
		Results map[string]struct{ Received, Dropped int64 }
	}
	if err := json.Unmarshal([]byte(out), &stats); err != nil || code != 0 {
		w.t.Fatalf("netstats: %d, %v: %s", code, err, out)
	}
	s, ok := stats.Results["dmz/"+worker]
	if !ok {
		w.t.Fatalf("nothing of %s: %s", worker, out)
	}
	return s.Received, s.Dropped
}

var received = regexp.MustCompile(`(\d+) packets received on interface \S+, (\d+)`)

// ended are the packets that the processes of a worker that have ended say they took.
func (w *works) ended(worker string) (sum int64) {
	w.t.Helper()
	b, err := os.ReadFile(w.path("state", "clusters", "dmz", "nodes", worker, "stderr"))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, m := range received.FindAllStringSubmatch(string(b), -1) {
		n, _ := strconv.ParseInt(m[1], 10, 64)
		sum += n
	}
	return sum
}

// TestE2ELoss counts packets while workers are restarted: nobody loses any but those who are restarted, and of those who share an
// interface one is restarted at a time, so that the others take its part.
func TestE2ELoss(t *testing.T) {
	if os.Getenv("ZEEKREC_E2E") == "" {
		t.Skip("takes a minute: make e2e")
	}
	w := newWorks(t)
	w.must(exec.Command("ip", "netns", "exec", w.netns, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1"))
	for _, pair := range [][2]string{{"zr2", "zp2"}, {"zr3", "zp3"}} {
		w.link(pair[0], pair[1])
	}
	w.settings["max_unavailable"] = "100%"
	w.add("worker-3")
	w.add("worker-4")
	w.nodes["worker-2"]["interface"] = "zr1"
	w.nodes["worker-3"]["interface"] = "af_packet::zr2"
	w.nodes["worker-4"]["interface"] = "af_packet::zr2"
	w.begin()
	one, two := w.send("zp0", packetsPerSecond), w.send("zp2", packetsPerSecond)
	w.eventually("packets arrive", waitLong, func() error {
		for _, n := range []string{"worker-1", "worker-3", "worker-4"} {
			if got, _ := w.captured(n); got < 1000 {
				return fmt.Errorf("%s has %d", n, got)
			}
		}
		return nil
	})

	w.nodes["worker-2"]["interface"] = "zr3"
	w.change("the interface of worker-2", "worker-2", w.String())

	before := pids(w.settled(""))
	restarts := w.whoIsDown("worker-3", "worker-4")
	w.nodes["worker-3"]["env"] = "A=1"
	w.nodes["worker-4"]["env"] = "A=1"
	sent := two.sent.Load()
	began := time.Now()
	w.change("both of an interface", "worker-3 worker-4", w.String())
	took := time.Since(began)
	during := two.sent.Load() - sent
	if both := restarts(); both > 0 {
		t.Errorf("both workers of one interface were down at the same time, %d times looked at", both)
	}
	if now := pids(w.settled("")); now["worker-1"] != before["worker-1"] {
		t.Error("worker-1 was restarted")
	}
	one.end()
	two.end()

	w.eventually("worker-1 has every packet", waitLong, func() error {
		got, dropped := w.captured("worker-1")
		if got != one.sent.Load() || dropped != 0 {
			return fmt.Errorf("%d packets were sent, %d arrived, %d were dropped", one.sent.Load(), got, dropped)
		}
		return nil
	})
	t.Logf("worker-1: %d packets were sent and arrived, none was dropped, while worker-2 got another interface and two others were restarted", one.sent.Load())
	var lost int64
	last := int64(-1)
	w.eventually("all packets are accounted for", waitLong, func() error {
		got := w.ended("worker-3") + w.ended("worker-4")
		for _, n := range []string{"worker-3", "worker-4"} {
			r, _ := w.captured(n)
			got += r
		}
		lost = two.sent.Load() - got
		if lost != last {
			last = lost
			return errors.New("some are on their way")
		}
		return nil
	})
	t.Logf("worker-3 and worker-4, one after the other on the same interface: %d of %d packets lost (%.2f%%) in a rollout of %s at %d/s (%s)",
		lost, during, 100*float64(lost)/float64(during), took.Round(time.Millisecond), packetsPerSecond, loadavg())
	// Each loses what the kernel gives it between its last look and the end of its process. With both down at once, all packets would
	// be gone for as long as Zeek takes to start.
	if lost < 0 || lost > packetsPerSecond {
		t.Errorf("%d packets were lost", lost)
	}
}

// whoIsDown looks at two workers all the time until it is asked how often neither had a process that is ready.
func (w *works) whoIsDown(a, b string) func() int {
	stop, count := make(chan struct{}), make(chan int)
	down := func(n string) bool {
		s, err := os.ReadFile(w.path("state", "clusters", "dmz", "nodes", n, "work", ".status"))
		return err != nil || !strings.HasPrefix(string(s), "RUNNING")
	}
	go func() {
		both := 0
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				count <- both
				return
			case <-tick.C:
				if down(a) && down(b) {
					both++
				}
			}
		}
	}()
	return func() int { close(stop); return <-count }
}
