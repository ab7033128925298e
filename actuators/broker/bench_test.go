package broker

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/zeekrec/zeekrec/actuators/broker/internal/rawpeer"
)

// BenchmarkRelay relays messages of Zeek's form from publishers to subscribers over loopback TCP, everything in
// this process. One op is one message in; what the peers here do allocates nothing either.
func BenchmarkRelay(b *testing.B) {
	for _, shape := range []struct{ publishers, subscribers int }{{1, 1}, {2, 3}} {
		for _, size := range []int{100, 500} {
			b.Run(fmt.Sprintf("%dx%d/%dB", shape.publishers, shape.subscribers, size), func(b *testing.B) {
				benchmarkRelay(b, shape.publishers, shape.subscribers, size)
			})
		}
	}
}

func benchmarkRelay(b *testing.B, publishers, subscribers, size int) {
	r := newRig(b, Config{Settings: Settings{Policy: Block, Heartbeat: -1}})
	var subs, pubs []*node
	for range subscribers {
		subs = append(subs, r.subscriber("zeek.cluster.worker"))
	}
	for range publishers {
		pubs = append(pubs, r.publisher())
	}
	one := rawpeer.AppendMessage(nil, []byte("zeek.cluster.worker"), []byte("zeromq_worker-1_host_4711_NrXoqb2SxwL"), []byte("broker-bin-v1"), make([]byte, size))
	const batch = 64
	var run []byte
	for range batch {
		run = append(run, one...)
	}
	read := make(chan error, subscribers)
	each := make(chan int, subscribers)
	for _, s := range subs {
		_ = s.Conn.SetDeadline(noDeadline)
		go func() {
			buf := make([]byte, 256<<10)
			for want := range each {
				var err error
				for n := 0; want > 0 && err == nil; want -= n {
					n, err = s.Conn.Read(buf[:min(len(buf), want)])
				}
				read <- err
			}
		}()
	}
	sent := make(chan error, publishers)
	share := make(chan int, publishers)
	for _, p := range pubs {
		_ = p.Conn.SetDeadline(noDeadline)
		go func() {
			for left := range share {
				var err error
				for n := 0; left > 0 && err == nil; left -= n {
					n = min(left, batch)
					_, err = p.Conn.Write(run[:n*len(one)])
				}
				sent <- err
			}
		}()
	}
	relay := func(n int) {
		for range subscribers {
			each <- n * len(one)
		}
		for i := range publishers {
			k := n / publishers
			if i == 0 {
				k += n % publishers
			}
			share <- k
		}
		for range publishers {
			if err := <-sent; err != nil {
				b.Fatal(err)
			}
		}
		for range subscribers {
			if err := <-read; err != nil {
				b.Fatal(err)
			}
		}
	}
	relay(20_000) // queues and chunks have their sizes then
	runtime.GC()
	relay(20_000)
	b.ReportAllocs()
	b.SetBytes(int64(len(one)))
	b.ResetTimer()
	relay(b.N)
	b.StopTimer()
	close(each)
	close(share)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}

// TestRelayAllocatesNothing for a message, in the steady state.
func TestRelayAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector has pools forget")
	}
	for _, size := range []int{100, 500} {
		res := testing.Benchmark(func(b *testing.B) { benchmarkRelay(b, 2, 3, size) })
		if res.N < 1000 {
			t.Fatalf("the benchmark failed: %+v", res)
		}
		if per := float64(res.MemAllocs) / float64(res.N); per > 0.01 {
			t.Errorf("%d bytes: %.3f allocations for a message", size, per)
		}
	}
}
