package native

import (
	"bytes"
	"testing"
)

func TestScannerCountsWhateverTheReads(t *testing.T) {
	var stream []byte
	const messages = 7
	for i := range messages {
		stream = append(stream, message("zeek.cluster.worker", i, []int{24, 0, 100, 255, 256, 70000, 1}[i])...)
		if i == 2 {
			stream = append(stream, command("PING", []byte{0, 10, 'x', 'y'})...)
		}
	}
	for _, step := range []int{1, 2, 3, 7, 64, 1000, len(stream)} {
		var s scanner
		var answers [][]byte
		got := 0
		for at := 0; at < len(stream); at += step {
			n, err := s.scan(stream[at:min(at+step, len(stream))], func(body []byte) error {
				answers = append(answers, pong(body))
				return nil
			})
			if err != nil {
				t.Fatalf("reads of %d bytes: %v", step, err)
			}
			got += n
		}
		if got != messages {
			t.Errorf("reads of %d bytes: %d messages, want %d", step, got, messages)
		}
		if len(answers) != 1 || !bytes.Equal(answers[0], []byte("\x04\x07\x04PONGxy")) {
			t.Errorf("reads of %d bytes: PING is answered %q", step, answers)
		}
	}
}

func TestScannerRefusesWhatIsNoMessage(t *testing.T) {
	var s scanner
	stream := appendFrame(appendFrame(nil, flagMore, []byte("topic")), 0, []byte("payload"))
	if _, err := s.scan(stream, nil); err == nil {
		t.Error("a message of two frames is counted")
	}
}

func TestParseFrame(t *testing.T) {
	for _, size := range []int{0, 1, 255, 256, 100000} {
		b := appendFrame(nil, flagMore, bytes.Repeat([]byte{'z'}, size))
		for _, short := range []int{1, 2, len(b) - 1} {
			if _, n := parseFrame(b[:min(short, len(b)-1)]); n != 0 {
				t.Errorf("%d of %d bytes are a frame", short, len(b))
			}
		}
		f, n := parseFrame(append(b, 1, 2, 3))
		if n != len(b) || len(f.body) != size || f.flags&flagMore == 0 {
			t.Errorf("a frame of %d bytes is read as one of %d", size, len(f.body))
		}
	}
}

func TestBatchGoesToEachTopicAlike(t *testing.T) {
	p := &publishers{o: options{topic: "zeek.cluster.pool", spread: 8, size: 100}}
	b, n := p.batch(3)
	if n%8 != 0 || len(b) < batchBytes {
		t.Errorf("a batch of %d messages and %d bytes", n, len(b))
	}
	seen := map[string]int{}
	for part := 0; len(b) > 0; part++ {
		f, m := parseFrame(b)
		if part%4 == 0 {
			seen[string(f.body)]++
		}
		b = b[m:]
	}
	for _, topic := range p.o.topics() {
		if seen[topic] != n/8 {
			t.Errorf("%d of %d messages to %s", seen[topic], n, topic)
		}
	}
}
