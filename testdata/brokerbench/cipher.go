package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zeekrec/zeekrec/actuators/broker/zmtp"
)

// cipherCost is what sealing and opening the frames of one message takes, in nanoseconds of CPU time. 0: not known.
type cipherCost struct {
	Size      int     `json:"payload"`
	Libsodium float64 `json:"libsodium_ns"`
	Zeekrec   float64 `json:"zeekrec_ns"`
}

// cipherTime is how long each size is tried.
const cipherTime = 400 * time.Millisecond

// smallFrames of a message are those before the payload: topic, sender's id and format.
func smallFrames() []int { return []int{19, 45, 13} }

// ciphers compares zeekrec's with libsodium's, which libzmq uses.
func (b *bench) ciphers(ctx context.Context) ([]cipherCost, error) {
	sodium, err := b.libsodium(ctx)
	if err != nil {
		return nil, err
	}
	seal, open, err := sealAndOpen(ctx)
	if err != nil {
		return nil, err
	}
	var costs []cipherCost
	for i, size := range sizes {
		ns, err := cipherSpeed(seal, open, append(smallFrames(), size))
		if err != nil {
			return nil, err
		}
		cost := cipherCost{Size: size, Zeekrec: ns}
		if i < len(sodium) {
			cost.Libsodium = sodium[i]
		}
		costs = append(costs, cost)
	}
	return costs, nil
}

// libsodium asks boxbench; there are no answers when it was not built.
func (b *bench) libsodium(ctx context.Context) ([]float64, error) {
	if _, err := os.Stat(b.boxbench); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	args := []string{strconv.FormatInt(cipherTime.Milliseconds(), 10)}
	for _, size := range sizes {
		args = append(args, strings.Trim(strings.ReplaceAll(fmt.Sprint(append(smallFrames(), size)), " ", ","), "[]"))
	}
	p, err := startProcess(ctx, "boxbench", nil, b.boxbench, args...)
	if err != nil {
		return nil, err
	}
	var all []float64
	for line := range p.lines {
		ns, err := strconv.ParseFloat(line, 64)
		if err != nil {
			return nil, fmt.Errorf("cannot read %q of boxbench: %w", line, err)
		}
		all = append(all, ns)
	}
	if len(all) != len(sizes) {
		return nil, fmt.Errorf("boxbench measured %d sizes of %d%s", len(all), len(sizes), p.said)
	}
	return all, nil
}

// sealAndOpen returns the two ends of one direction of a CURVE connection.
func sealAndOpen(ctx context.Context) (*zmtp.Sealer, *zmtp.Opener, error) {
	server, err := zmtp.GenerateKeyPair(nil)
	if err != nil {
		return nil, nil, err
	}
	client, err := zmtp.GenerateKeyPair(nil)
	if err != nil {
		return nil, nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = l.Close() }()
	type accepted struct {
		peer *zmtp.Peer
		err  error
	}
	done := make(chan accepted, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			done <- accepted{err: err}
			return
		}
		defer func() { _ = conn.Close() }()
		peer, err := zmtp.ServerHandshake(conn, &zmtp.ServerConfig{SocketType: "XSUB", Accept: []string{"XPUB"},
			Curve: func() zmtp.Keyring {
				return zmtp.Keyring{Servers: []zmtp.KeyPair{server}, Clients: []zmtp.Key{client.Public}}
			}})
		done <- accepted{peer, err}
	}()
	conn, err := zmtp.Dial(ctx, "tcp://"+l.Addr().String(), &zmtp.ClientConfig{SocketType: "XPUB",
		Curve: &zmtp.ClientKeys{Server: server.Public, Client: client}})
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = conn.Close() }()
	a := <-done
	if a.err != nil {
		return nil, nil, a.err
	}
	return conn.Peer().Seal, a.peer.Open, nil
}

// cipherSpeed is the CPU time of a message of these frames, the best of five tries.
func cipherSpeed(seal *zmtp.Sealer, open *zmtp.Opener, frames []int) (float64, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	bodies := make([][]byte, len(frames))
	for i, n := range frames {
		bodies[i] = make([]byte, n)
	}
	burst := 64
	if frames[len(frames)-1] >= 64<<10 {
		burst = 1
	}
	best := 0.0
	var sealed []byte
	for range 5 {
		begun, err := threadCPU()
		if err != nil {
			return 0, err
		}
		took := time.Duration(0)
		n := 0
		for took < cipherTime/5 {
			for range burst {
				for _, body := range bodies {
					sealed = seal.AppendMessage(sealed[:0], 0, body)
					_, _, head, err := zmtp.ParseHeader(sealed)
					if err != nil {
						return 0, err
					}
					if _, _, err := open.Open(sealed[head:]); err != nil {
						return 0, err
					}
				}
			}
			n += burst
			now, err := threadCPU()
			if err != nil {
				return 0, err
			}
			took = now - begun
		}
		if each := float64(took) / float64(n); best == 0 || each < best {
			best = each
		}
	}
	return best, nil
}

// threadCPU is what the present thread has computed.
func threadCPU() (time.Duration, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		return 0, fmt.Errorf("cannot read a thread's CPU time: %w", err)
	}
	return time.Duration(t.Nano()), nil
}
