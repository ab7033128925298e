package main

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"time"
)

// traffic invents connections: who talks to whom, and about what, is as uneven as in a network of some hundred hosts, and
// most of it has been there before: the same hosts ask the same servers for the same things. The same seed gives the same
// lines.
type traffic struct {
	rng    *rand.Rand
	local  []string
	remote []string
	pick   *rand.Zipf
	usual  []connection // what has been there before, by how often it is
	again  *rand.Zipf
	kinds  []kind
	at     time.Time
}

// connection is what two of the same kind between the same hosts have in common.
type connection struct {
	kind             *kind
	orig, resp       string
	state, seconds   int // index of the state; of what is usual, in percent
	origB, respB     int // bytes; -1: none known
	origPkts, respPk int
	inside           string
}

func newTraffic(seed uint64, at time.Time) *traffic {
	t := &traffic{rng: rand.New(rand.NewPCG(seed, 1)), at: at}
	for range 400 {
		t.local = append(t.local, fmt.Sprintf("10.%d.%d.%d", t.rng.IntN(4), t.rng.IntN(16), 1+t.rng.IntN(254)))
	}
	for range 6000 {
		t.remote = append(t.remote, fmt.Sprintf("%d.%d.%d.%d", 1+t.rng.IntN(222), t.rng.IntN(256), t.rng.IntN(256), 1+t.rng.IntN(254)))
	}
	t.pick = rand.NewZipf(t.rng, 1.2, 4, uint64(len(t.remote)-1))
	t.kinds = kinds()
	for range 8000 {
		t.usual = append(t.usual, t.fresh())
	}
	t.again = rand.NewZipf(t.rng, 1.1, 20, uint64(len(t.usual)-1))
	return t
}

// kind of connection: its share of a hundred, and what is usual for it.
type kind struct {
	share   int
	port    int
	proto   string
	service string
	number  int // of the protocol
	states  []string
	history []string
	bytes   float64
	seconds float64
	inside  bool // the responder is a local host
}

func kinds() []kind {
	return []kind{
		{42, 53, "udp", "dns", 17, []string{"SF", "SF", "SF", "S0"}, []string{"Dd", "Dd", "Dd", "D"}, 90, 0.03, true},
		{30, 443, "tcp", "ssl", 6, []string{"SF", "SF", "S1", "RSTO", "RSTR"}, []string{"ShADadFf", "ShADadfF", "ShADda", "ShADadR", "ShADadr"}, 6000, 20, false},
		{6, 80, "tcp", "http", 6, []string{"SF", "RSTO"}, []string{"ShADadFf", "ShADadR"}, 2500, 2, false},
		{8, 443, "udp", "quic,ssl", 17, []string{"SF", "S0"}, []string{"Dd", "D"}, 9000, 15, false},
		{4, 123, "udp", "ntp", 17, []string{"SF"}, []string{"Dd"}, 48, 0.05, false},
		{4, 445, "tcp", "-", 6, []string{"S0", "REJ"}, []string{"S", "Sr"}, 0, 0, true},
		{3, 22, "tcp", "ssh", 6, []string{"SF", "OTH"}, []string{"ShAdDaFf", "C"}, 20000, 300, true},
		{3, 5353, "udp", "dns", 17, []string{"S0"}, []string{"D"}, 200, 0.4, false},
	}
}

const header = `#separator \x09
#set_separator	,
#empty_field	(empty)
#unset_field	-
#path	conn
#open	%s
#fields	ts	uid	id.orig_h	id.orig_p	id.resp_h	id.resp_p	proto	service	duration	orig_bytes	resp_bytes	conn_state	local_orig	local_resp	missed_bytes	history	orig_pkts	orig_ip_bytes	resp_pkts	resp_ip_bytes	tunnel_parents	ip_proto
#types	time	string	addr	port	addr	port	enum	string	interval	count	count	string	bool	bool	count	string	count	count	count	count	set[string]	count
`

const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// write a conn.log of about a size.
func (t *traffic) write(w io.Writer, size int64) error {
	out := bufio.NewWriterSize(w, 1<<20)
	n, err := fmt.Fprintf(out, header, t.at.Format("2006-01-02-15-04-05"))
	written := int64(n)
	uid := make([]byte, 17)
	for err == nil && written < size {
		c := t.usual[t.again.Uint64()]
		if t.rng.IntN(10) < 3 {
			c = t.fresh()
		}
		t.at = t.at.Add(time.Duration(t.rng.ExpFloat64() * float64(2*time.Millisecond)))
		uid[0] = 'C'
		for i := range uid[1:] {
			uid[1+i] = digits[t.rng.IntN(len(digits))]
		}
		duration, ob, rb := "-", "-", "-"
		if c.origB >= 0 {
			duration = fmt.Sprintf("%.6f", t.rng.ExpFloat64()*c.kind.seconds*float64(c.seconds)/100)
			ob, rb = fmt.Sprint(c.origB), fmt.Sprint(c.respB)
		}
		n, err = fmt.Fprintf(out, "%d.%06d\t%s\t%s\t%d\t%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\tT\t%s\t0\t%s\t%d\t%d\t%d\t%d\t-\t%d\n",
			t.at.Unix(), t.at.Nanosecond()/1000, uid, c.orig, 32768+t.rng.IntN(28000), c.resp, c.kind.port, c.kind.proto, c.kind.service, duration, ob, rb,
			c.kind.states[c.state], c.inside, c.kind.history[c.state], c.origPkts, max(0, c.origB)+c.origPkts*40, c.respPk, max(0, c.respB)+c.respPk*40, c.kind.number)
		written += int64(n)
	}
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(out, "#close\t%s\n", t.at.Format("2006-01-02-15-04-05")); err != nil {
		return err
	}
	return out.Flush()
}

// fresh is a connection that nobody has seen before.
func (t *traffic) fresh() connection {
	r, i := t.rng.IntN(100), 0
	for ; r >= t.kinds[i].share; i++ {
		r -= t.kinds[i].share
	}
	k := &t.kinds[i]
	c := connection{kind: k, orig: t.local[int(t.pick.Uint64())%len(t.local)], resp: t.remote[t.pick.Uint64()], inside: "F"}
	if k.inside {
		c.resp, c.inside = t.local[int(t.pick.Uint64())%8], "T"
	}
	c.state, c.seconds, c.origB, c.respB, c.origPkts = t.rng.IntN(len(k.states)), 20+t.rng.IntN(160), -1, -1, 1
	if k.seconds > 0 && k.states[c.state] != "S0" {
		c.origB, c.respB = int(t.rng.ExpFloat64()*k.bytes/3), int(t.rng.ExpFloat64()*k.bytes)
		c.origPkts, c.respPk = 1+c.origB/900, 1+c.respB/1200
	}
	return c
}
