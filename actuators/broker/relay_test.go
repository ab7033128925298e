package broker

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/zeekrec/zeekrec/actuators/broker/internal/rawpeer"
)

func TestRelaysByPrefix(t *testing.T) {
	r := newRig(t, Config{})
	all := r.subscriber("")
	worker := r.subscriber("zeek.cluster.worker")
	overlap := r.subscriber("zeek.", "zeek.cluster.", "zeek.cluster.worker", "zeek.cluster.worker")
	exact := r.subscriber("zeek.cluster.worker-1")
	nobody := r.subscriber()
	p := r.publisher()
	sent := []string{"zeek.cluster.worker", "zeek.cluster.worker-1", "zeek.cluster.worke", "other", "", "zeek.cluster.worker-10"}
	for _, topic := range sent {
		p.must(p.Send(topic, "me", "format", "payload of "+topic))
	}
	for n, prefix := range map[*node]string{all: "", worker: "zeek.cluster.worker", overlap: "zeek.", exact: "zeek.cluster.worker-1"} {
		for _, topic := range sent {
			if strings.HasPrefix(topic, prefix) {
				n.want(topic, "me", "format", "payload of "+topic)
			}
		}
		n.settle() // and nothing else, nothing twice
	}
	nobody.settle()
}

func TestRelaysFromManyInOrder(t *testing.T) {
	const publishers, subscribers, messages = 4, 3, 2000
	r := newRig(t, Config{Settings: Settings{SndHWM: -1, QueueBytes: -1}})
	var subs []*node
	for range subscribers {
		subs = append(subs, r.subscriber("t"))
	}
	var sending sync.WaitGroup
	for i := range publishers {
		p := r.publisher()
		sending.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(i)))
			var b []byte
			for n := range messages {
				b = rawpeer.AppendMessage(b, []byte("t"), []byte{byte(i)}, fmt.Append(nil, n), make([]byte, rnd.IntN(300)))
				if rnd.IntN(20) == 0 || n == messages-1 {
					if err := p.Write(b); err != nil {
						t.Error(err)
						return
					}
					b = b[:0]
				}
			}
		})
	}
	for _, s := range subs {
		var next [publishers]int
		for range publishers * messages {
			m := s.message()
			if len(m) != 4 {
				t.Fatalf("%d frames", len(m))
			}
			from := m[1][0]
			if m[2] != fmt.Sprint(next[from]) {
				t.Fatalf("message %s of %d, want %d", m[2], from, next[from])
			}
			next[from]++
		}
		s.settle()
	}
	sending.Wait()
}

// TestRelaysShapes sends messages of one frame to a hundred, and of nothing to several megabytes, one after the other
// in one stream.
func TestRelaysShapes(t *testing.T) {
	r := newRig(t, Config{Settings: Settings{SndHWM: -1, QueueBytes: -1}})
	subs := []*node{r.subscriber("t"), r.subscriber("t"), r.subscriber("")}
	p := r.publisher()
	var messages [][][]byte
	body := func(n int) []byte { return bytes.Repeat([]byte{byte(n), byte(n >> 8)}, n/2+1)[:n] }
	for _, n := range []int{1, 2, 3, 4, 17, 100} {
		for _, size := range []int{0, 1, 255, 256, 4096, 65535} {
			m := [][]byte{[]byte("t")}
			for range n - 1 {
				m = append(m, body(size))
			}
			messages = append(messages, m)
		}
	}
	for _, size := range []int{smallChunk - 14, smallChunk, mediumChunk - 12, mediumChunk - 11, mediumChunk, mediumChunk + 1, largeChunk, 3*largeChunk + 7, 5 << 20} {
		messages = append(messages, [][]byte{[]byte("t"), body(size)}, [][]byte{[]byte("t"), body(3), body(size), {}, body(size / 3), body(7)}, [][]byte{[]byte("t")})
	}
	var sending sync.WaitGroup
	sending.Go(func() {
		for _, m := range messages {
			if err := p.Write(rawpeer.AppendMessage(nil, m...)); err != nil {
				t.Error(err)
				return
			}
		}
	})
	var reading sync.WaitGroup
	for _, s := range subs {
		reading.Go(func() {
			for i, m := range messages {
				it, err := s.receive()
				if err != nil || !slices.EqualFunc(it.Frames, m, bytes.Equal) {
					t.Errorf("message %d: got %s, want %s: %v", i, brief(it.Message()), brief(rawpeer.Item{Frames: m}.Message()), err)
					return
				}
			}
		})
	}
	reading.Wait()
	sending.Wait()
}

func TestRelaysHundredMegabytes(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some hundred megabytes of memory")
	}
	r := newRig(t, Config{})
	subs := []*node{r.subscriber("t"), r.subscriber("t")}
	p := r.publisher()
	payload := make([]byte, 100<<20)
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := 0; i < len(payload); i += 1 << 10 {
		payload[i] = byte(rnd.Uint32())
	}
	var sending sync.WaitGroup
	sending.Go(func() {
		_ = p.Write(rawpeer.AppendMessage(nil, []byte("t"), []byte("me"), payload))
		_ = p.Send("t", "after")
	})
	for _, s := range subs {
		it := s.next()
		if len(it.Frames) != 3 || !bytes.Equal(it.Frames[2], payload) {
			t.Fatal("not what was sent")
		}
		s.want("t", "after")
	}
	sending.Wait()
}

// TestCommandsBetweenFrames has PINGs wherever a frame ends, in messages that are read in one chunk and in such as
// are not, and cut at each of these places.
func TestCommandsBetweenFrames(t *testing.T) {
	for _, sizes := range [][]int{{1, 1, 1}, {0, 0, 0}, {10, 3000, 3000}, {5000, 5000, 5000}, {10, 70 << 10, 20}, {3, 70 << 10, 400 << 10, 2 << 20, 0, 1}, {1, 60 << 10, 9 << 10, 3}} {
		t.Run(fmt.Sprint(sizes), func(t *testing.T) {
			r := newRig(t, Config{})
			s := r.subscriber("t")
			p := r.publisher()
			var frames [][]byte
			for i, n := range sizes {
				frames = append(frames, append([]byte("t"), bytes.Repeat([]byte{byte('a' + i)}, n)...))
			}
			message := func(pings bool) []byte {
				var b []byte
				for i, f := range frames {
					flags := byte(rawpeer.More)
					if i == len(frames)-1 {
						flags = 0
					}
					if pings {
						b = rawpeer.AppendCommand(b, "PING", fmt.Appendf(nil, "\x00\x00%d", i))
						b = rawpeer.AppendCommand(b, "PONG", nil)
					}
					b = rawpeer.AppendFrame(b, flags, f)
				}
				return b
			}
			var sending sync.WaitGroup
			sending.Go(func() {
				for _, pings := range []bool{true, false, true, true} {
					if err := p.Write(message(pings)); err != nil {
						t.Error(err)
					}
				}
			})
			for range 4 {
				if it := s.next(); !slices.EqualFunc(it.Frames, frames, bytes.Equal) {
					t.Fatalf("got %s", brief(it.Message()))
				}
			}
			sending.Wait()
			for range 3 {
				for i := range frames {
					if it := p.next(); it.Command != "PONG" || string(it.Data) != fmt.Sprint(i) {
						t.Fatalf("got %+v, want the answer to PING %d", it, i)
					}
				}
			}
		})
	}
}

// TestRelaysWhateverTheCuts: messages at random, cut anywhere, arrive as they were sent, at three subscribers.
func TestRelaysWhateverTheCuts(t *testing.T) {
	r := newRig(t, Config{Settings: Settings{SndHWM: -1, QueueBytes: -1}})
	subs := []*node{r.subscriber("t"), r.subscriber("t", "ta"), r.subscriber("")}
	p := r.publisher()
	p.must(p.Conn.SetDeadline(time.Time{}))
	for _, s := range subs {
		s.must(s.Conn.SetDeadline(time.Time{}))
	}
	rapid.Check(t, func(t *rapid.T) {
		var messages [][][]byte
		var stream []byte
		for i := range rapid.IntRange(1, 30).Draw(t, "messages") {
			m := [][]byte{[]byte("t" + rapid.StringN(0, 3, 10).Draw(t, "topic"))}
			for range rapid.SampledFrom([]int{0, 0, 1, 3, 3, 3, 3, 8}).Draw(t, "frames") {
				n := rapid.SampledFrom([]int{0, 1, 20, 254, 255, 256, 257, 1000, 4096, 5000, 16 << 10, 60 << 10, 64 << 10, 65 << 10, 300 << 10}).Draw(t, "size")
				m = append(m, bytes.Repeat([]byte{byte(i)}, n))
			}
			messages = append(messages, m)
			for j, f := range m {
				if rapid.IntRange(0, 9).Draw(t, "ping") == 0 {
					stream = rawpeer.AppendCommand(stream, "PONG", []byte("x"))
				}
				flags := byte(rawpeer.More)
				if j == len(m)-1 {
					flags = 0
				}
				stream = rawpeer.AppendFrame(stream, flags, f)
			}
		}
		var cuts []int
		for range rapid.IntRange(0, 40).Draw(t, "cuts") {
			cuts = append(cuts, rapid.IntRange(0, len(stream)).Draw(t, "cut"))
		}
		slices.Sort(cuts)
		sent := make(chan error, 1)
		go func() {
			from := 0
			for _, c := range append(cuts, len(stream)) {
				if err := p.Write(stream[from:c]); err != nil {
					sent <- err
					return
				}
				from = c
			}
			sent <- nil
		}()
		for _, s := range subs {
			for i, m := range messages {
				it, err := s.receive()
				if err != nil || !slices.EqualFunc(it.Frames, m, bytes.Equal) {
					t.Fatalf("message %d: got %s, want %s: %v", i, brief(it.Message()), brief(rawpeer.Item{Frames: m}.Message()), err)
				}
			}
		}
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
	})
}

// TestLargeTopic: a topic that fits into no chunk is matched by what it begins with, wherever it begins in what was read.
func TestLargeTopic(t *testing.T) {
	prefix := strings.Repeat("p", maxTopic)
	for _, before := range []int{0, 1, smallChunk - 20, smallChunk - 13, smallChunk - 12, smallChunk - 11, smallChunk - 5, smallChunk - 3} {
		r := newRig(t, Config{})
		s := r.subscriber(prefix, "filler")
		short := r.subscriber("pp")
		p := r.publisher()
		topic := prefix + strings.Repeat("q", 100<<10)
		var b []byte
		if before > 0 {
			b = rawpeer.AppendMessage(b, []byte("filler"), make([]byte, max(0, before-10)))
		}
		p.must(p.Write(rawpeer.AppendMessage(b, []byte(topic), []byte("me"))))
		if before > 0 {
			s.message()
		}
		s.want(topic, "me")
		short.want(topic, "me")
	}
}

// TestNewSubscriberHearsTheAnswer: who publishes because of a subscription reaches the subscriber, also with a topic that it
// has published to all the time.
func TestNewSubscriberHearsTheAnswer(t *testing.T) {
	r := newRig(t, Config{})
	old := r.subscriber("t")
	p := r.publisher()
	for i := range 50 {
		p.must(p.Send("t", "before"))
		old.want("t", "before")
		n := r.join(rawpeer.XSUB(1), "")
		n.must(n.Subscribe("t"))
		p.told("+t")
		p.must(p.Send("t", fmt.Sprint("welcome", i)))
		n.want("t", fmt.Sprint("welcome", i))
		old.want("t", fmt.Sprint("welcome", i))
		n.must(n.Conn.Close())
	}
}
