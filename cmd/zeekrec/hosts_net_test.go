package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The wire between hosts is plain Go: each host has one network device, a TAP, whose other end this process reads and writes. So cuts are
// silent in each direction, as those of a broken switch are (a link that is set down tells its host, and `ip route blackhole` tells who
// sends), and loss and delay need no qdisc: many kernels, that of this project's machines among them, have no netem. A TAP goes away with
// the process that holds it, so nothing of it outlives a test that is killed. It offers no offloading, so what arrives here are frames of at
// most 1514 bytes with proper checksums.

// link is how frames fare from one host to another.
type link struct {
	cut   bool
	loss  float64 // the part that is lost
	delay time.Duration
}

// fabric is the switch that all hosts are plugged into. It learns no addresses: it knows them, since it has given them.
type fabric struct {
	mu    sync.Mutex
	dice  *rand.Rand
	ports map[string]*socket // by host
	links map[[2]string]link // from, to; absent: as it should be
	done  sync.WaitGroup
}

// socket is where a host is plugged in.
type socket struct {
	host string
	mac  [6]byte
	tap  *os.File
	out  chan frame
}

// frame is on its way to a host until due.
type frame struct {
	due  time.Time
	data []byte
}

const (
	frameMax = 1600
	// wayBound is how many frames may be on their way to a host; more are lost, as in any switch.
	wayBound = 1 << 14
)

func newFabric(seed uint64) *fabric {
	return &fabric{dice: rand.New(rand.NewPCG(seed, 1)), ports: map[string]*socket{}, links: map[[2]string]link{}}
}

// plug makes the network device of a host; its namespace is for the caller to choose.
func (f *fabric) plug(t *testing.T, host, device string, mac [6]byte) {
	t.Helper()
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Skipf("network devices cannot be made here: /dev/net/tun: %v", err)
	}
	r, err := unix.NewIfreq(device)
	if err == nil {
		r.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, r)
	}
	if err != nil {
		_ = unix.Close(fd)
		t.Skipf("network devices cannot be made here: %v", err)
	}
	p := &socket{host: host, mac: mac, tap: os.NewFile(uintptr(fd), device), out: make(chan frame, wayBound)}
	f.mu.Lock()
	f.ports[host] = p
	f.mu.Unlock()
	f.done.Go(func() { f.read(p) })
	f.done.Go(p.write)
}

// close unplugs all hosts.
func (f *fabric) close() {
	f.mu.Lock()
	for _, p := range f.ports {
		_ = p.tap.Close()
		close(p.out)
	}
	clear(f.ports)
	f.mu.Unlock()
	f.done.Wait()
}

// read takes what a host sends.
func (f *fabric) read(p *socket) {
	buf := make([]byte, frameMax)
	for {
		n, err := p.tap.Read(buf)
		if err != nil {
			return
		}
		if n >= 14 {
			f.pass(p.host, buf[:n])
		}
	}
}

// pass brings a frame on its way to those that it is for.
func (f *fabric) pass(from string, data []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := data[0]&1 == 1 // broadcast: who has this address?
	for host, p := range f.ports {
		l := f.links[[2]string{from, host}]
		if host == from || !all && [6]byte(data[:6]) != p.mac || l.cut || l.loss > 0 && f.dice.Float64() < l.loss {
			continue
		}
		select {
		case p.out <- frame{time.Now().Add(l.delay), append([]byte(nil), data...)}:
		default:
		}
	}
}

// write hands a host what has arrived.
func (p *socket) write() {
	for x := range p.out {
		if d := time.Until(x.due); d > 0 {
			time.Sleep(d)
		}
		_, _ = p.tap.Write(x.data) // a device that is down takes nothing
	}
}

// between sets how frames fare from each of some hosts to each of others.
func (f *fabric) between(from, to []string, l link) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range from {
		for _, b := range to {
			if a != b {
				f.links[[2]string{a, b}] = l
			}
		}
	}
}

// heal makes everything as it should be.
func (f *fabric) heal() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.links)
}

// macOf is the hardware address of a host, by its number.
func macOf(n int) [6]byte { return [6]byte{2, 'z', 'r', 0, 0, byte(n)} }

func macText(m [6]byte) string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5])
}
