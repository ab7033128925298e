//go:build linux

package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// ether is a network between namespaces, in this process: each has a TAP device, and what one sends goes to the others by rules that a
// test sets. So it needs no netem, which not every kernel has, and can lose what goes in one direction alone.
type ether struct {
	mu    sync.Mutex
	rng   *rand.Rand
	ports map[string]*port
	where map[[6]byte]string // by hardware address
	rules map[direction]rule
	wg    sync.WaitGroup
}

type direction struct{ from, to string }

// rule of a direction; the zero value lets everything through at once.
type rule struct {
	loss  float64 // 1: nothing passes
	delay time.Duration
}

type port struct {
	dev   *os.File
	queue chan frame // to be written
}

type frame struct {
	due  time.Time
	data []byte
}

// queued bounds what waits for a host; more is lost, as in any network.
const queued = 8192

func newEther(seed uint64) *ether {
	return &ether{rng: rand.New(rand.NewPCG(seed, 1)), ports: map[string]*port{}, where: map[[6]byte]string{}, rules: map[direction]rule{}}
}

// plug makes the device eth0 in a namespace, and connects it.
func (e *ether) plug(name, netns string) error {
	dev, err := tapIn(netns)
	if err != nil {
		return fmt.Errorf("cannot make a device in %s: %w", netns, err)
	}
	p := &port{dev: dev, queue: make(chan frame, queued)}
	e.mu.Lock()
	e.ports[name] = p
	e.mu.Unlock()
	e.wg.Go(func() {
		for f := range p.queue {
			time.Sleep(time.Until(f.due)) // what was sent later is due later, but for a moment when rules change
			_, _ = p.dev.Write(f.data)    // a device that is down takes nothing
		}
	})
	e.wg.Go(func() {
		buf := make([]byte, 1<<16)
		for {
			n, err := dev.Read(buf)
			if err != nil {
				return
			}
			if n >= 14 {
				e.pass(name, append([]byte(nil), buf[:n]...))
			}
		}
	})
	return nil
}

// pass hands a frame on.
func (e *ether) pass(from string, data []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.where[[6]byte(data[6:12])] = from
	to, known := e.where[[6]byte(data[:6])]
	for name, p := range e.ports {
		if name == from || known && name != to {
			continue
		}
		r := e.rules[direction{from, name}]
		if r.loss > 0 && e.rng.Float64() < r.loss {
			continue
		}
		select {
		case p.queue <- frame{time.Now().Add(r.delay), data}:
		default:
		}
	}
}

// set the rule of both directions between any of one side and any of the other.
func (e *ether) set(a, b []string, r rule) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, x := range a {
		for _, y := range b {
			e.rules[direction{x, y}], e.rules[direction{y, x}] = r, r
		}
	}
}

// others are all but some.
func (e *ether) others(but ...string) (out []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
next:
	for name := range e.ports {
		for _, b := range but {
			if name == b {
				continue next
			}
		}
		out = append(out, name)
	}
	return out
}

// cut a host off; silence lets nothing out of it, deafen nothing in; split parts the network; weather is the same for all.
func (e *ether) cut(host string)      { e.set([]string{host}, e.others(host), rule{loss: 1}) }
func (e *ether) split(half ...string) { e.set(half, e.others(half...), rule{loss: 1}) }
func (e *ether) weather(r rule)       { e.set(e.others(), e.others(), r) }
func (e *ether) silence(host string) {
	e.oneWay(host, func(x string) direction { return direction{host, x} })
}
func (e *ether) deafen(host string) {
	e.oneWay(host, func(x string) direction { return direction{x, host} })
}
func (e *ether) oneWay(host string, d func(string) direction) {
	others := e.others(host)
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, x := range others {
		e.rules[d(x)] = rule{loss: 1}
	}
}

// heal makes everything as it was.
func (e *ether) heal() {
	e.mu.Lock()
	defer e.mu.Unlock()
	clear(e.rules)
}

func (e *ether) close() {
	e.mu.Lock()
	for _, p := range e.ports {
		_ = p.dev.Close()
	}
	e.mu.Unlock()
	defer e.wg.Wait()
	e.mu.Lock()
	defer e.mu.Unlock()
	for name, p := range e.ports {
		close(p.queue)
		delete(e.ports, name)
	}
}

// tapIn makes a TAP device in a namespace. Only opening it takes a thread that is in there.
func tapIn(netns string) (*os.File, error) {
	type result struct {
		f   *os.File
		err error
	}
	done := make(chan result, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		f, err := func() (*os.File, error) {
			ns, err := unix.Open("/var/run/netns/"+netns, unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				return nil, err
			}
			defer unix.Close(ns)
			if err := unix.Setns(ns, unix.CLONE_NEWNET); err != nil {
				return nil, err
			}
			fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
			if err != nil {
				return nil, err
			}
			r, err := unix.NewIfreq("eth0")
			if err == nil {
				r.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
				err = unix.IoctlIfreq(fd, unix.TUNSETIFF, r)
			}
			if err != nil {
				_ = unix.Close(fd)
				return nil, err
			}
			return os.NewFile(uintptr(fd), "tap"), nil
		}()
		done <- result{f, err}
	}()
	r := <-done
	return r.f, r.err
}
