package process

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// collect is a program that listens, says on which port, and reads what comes until its input ends: then it says how many bytes
// there were.
func collect() {
	var plain net.ListenConfig
	plain.SetMultipathTCP(false) // Go's default, and nobody else's
	l, err := plain.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(l.Addr().(*net.TCPAddr).Port)
	total := make(chan int64)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				panic(err)
			}
			fmt.Println("accepted")
			go func() {
				var n int64
				buf := make([]byte, 1000)
				for {
					time.Sleep(time.Millisecond) // it takes its time
					got, err := c.Read(buf)
					n += int64(got)
					if err != nil {
						_ = c.Close()
						total <- n
						return
					}
				}
			}()
		}
	}()
	stop := make(chan struct{})
	go func() {
		var one [1]byte
		_, _ = io.ReadFull(os.Stdin, one[:])
		close(stop)
	}()
	var sum int64
	for {
		select {
		case n := <-total:
			sum += n
		case <-stop:
			fmt.Println(sum)
			return
		}
	}
}

// Whoever is connected goes when told, everything that was sent is read, and nobody else gets in until the door is opened
// again.
func TestCloseDoor(t *testing.T) {
	cmd := exec.Command("/proc/self/exe", "program", "collect")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	lines := bufio.NewReader(out)
	line := func() string {
		s, err := lines.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(s)
	}
	var port int
	if _, err := fmt.Sscan(line(), &port); err != nil {
		t.Fatal(err)
	}
	id, err := Identify(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", port)

	// A sender writes until it is told to go.
	sent := make(chan int64)
	const senders = 3
	for range senders {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		line()
		go func() {
			gone := make(chan struct{})
			go func() { _, _ = io.Copy(io.Discard, c); close(gone) }()
			var n int64
			for {
				select {
				case <-gone:
					_ = c.Close()
					sent <- n
					return
				default:
					w, _ := c.Write(make([]byte, 100))
					n += int64(w)
					time.Sleep(100 * time.Microsecond)
				}
			}
		}()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for {
		n, err := Visitors(id, port, 300)
		if err != nil {
			t.Fatal(err)
		}
		if n == senders {
			break
		}
	}
	if n, err := Visitors(id, port, 1<<40); err != nil || n != 0 {
		t.Errorf("%d have said a terabyte; %v", n, err)
	}
	n, err := CloseDoor(ctx, id, port)
	if err != nil || n != senders {
		t.Fatalf("%d connections, %v", n, err)
	}
	var want int64
	for range senders {
		want += <-sent
	}
	if _, err := net.DialTimeout("tcp", address, 100*time.Millisecond); err == nil {
		t.Error("somebody got in")
	}
	if n, err := CloseDoor(ctx, id, port); err != nil || n != 0 {
		t.Errorf("again: %d, %v", n, err)
	}
	for range 2 { // the second one finds it open
		if err := OpenDoor(id, port); err != nil {
			t.Fatal(err)
		}
	}
	c, err := net.DialTimeout("tcp", address, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	line()
	short, stop := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer stop()
	if n, err := CloseDoor(short, id, port); !errors.Is(err, context.DeadlineExceeded) || n != 1 {
		t.Errorf("a connection that stays: %d, %v", n, err)
	}
	_ = c.Close()
	if _, err := CloseDoor(ctx, id, port); err != nil {
		t.Error(err)
	}
	if _, err := in.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	var got int64
	if _, err := fmt.Sscan(line(), &got); err != nil || got != want || want == 0 {
		t.Errorf("%d bytes were sent, %d read; %v", want, got, err)
	}
	_ = cmd.Wait()
	if _, err := CloseDoor(ctx, id, port); !errors.Is(err, ErrGone) {
		t.Errorf("of a process that is gone: %v", err)
	}
}

func FuzzParseTCP(f *testing.F) {
	f.Add("  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"+
		"   0: 0100007F:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1234 1 0 100 0 0 10 0\n", 80)
	f.Add("0: x:50 y 0A z z z z z 7", 80)
	f.Fuzz(func(t *testing.T, table string, port int) {
		for _, s := range parseTCP(table, port) {
			if s.inode == 0 {
				t.Errorf("%+v", s)
			}
		}
	})
}

func TestParseTCP(t *testing.T) {
	table := "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n" +
		"   0: 0100007F:0899 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1 x 100 0 0 10 0\n" +
		"   1: 0100007F:0899 0100007F:8AC2 01 00000000:00000000 00:00000000 00000000     0        0 12 1 x 20 4 30 10 -1\n" +
		"   2: 0100007F:8AC2 0100007F:0899 01 00000000:00000000 00:00000000 00000000     0        0 13 1 x 20 4 30 10 -1\n" +
		"   3: 0100007F:0899 0100007F:8AC4 06 00000000:00000000 03:00000000 00000000     0        0 0 3 x\n"
	got := parseTCP(table, 2201)
	if len(got) != 2 || got[0] != (tcpSocket{11, true}) || got[1] != (tcpSocket{12, false}) {
		t.Errorf("%+v", got)
	}
}
