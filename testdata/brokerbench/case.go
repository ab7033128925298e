package main

import (
	"fmt"
	"strings"
	"time"
)

// clients are what publishes and subscribes.
type clients string

const (
	libzmqClients clients = "libzmq"
	nativeClients clients = "native"
)

// testCase is one load that both brokers get.
type testCase struct {
	Clients clients `json:"clients"`
	Curve   bool    `json:"curve"`
	Pubs    int     `json:"publishers"`
	Subs    int     `json:"subscribers"`
	Size    int     `json:"payload"`
	// Spread: each message goes to one of so many topics, and subscribers have one each. 0: all get everything.
	Spread int `json:"spread,omitempty"`
	quick  bool
}

// String names it, for --only too: libzmq/null/2x3/100B.
func (c testCase) String() string {
	mechanism, spread := "null", ""
	if c.Curve {
		mechanism = "curve"
	}
	if c.Spread > 0 {
		spread = fmt.Sprintf("/1-of-%d", c.Spread)
	}
	return fmt.Sprintf("%s/%s/%dx%d/%s%s", c.Clients, mechanism, c.Pubs, c.Subs, strings.ReplaceAll(sizeName(c.Size), " ", ""), spread)
}

// fanOut is how many subscribers a message goes to.
func (c testCase) fanOut() int {
	if c.Spread > 0 {
		return c.Subs / c.Spread
	}
	return c.Subs
}

// large messages fill gigabytes where queues take a thousand, and there are only a few of them in a second.
func (c testCase) large() bool { return c.Size >= 64<<10 }

// window bounds how many messages are on their way to the slowest subscriber, where messages are large; 0: nothing
// has to. All that is on its way to all subscribers is 256 MiB, so that a round is long compared with it.
func (c testCase) window() int {
	if !c.large() {
		return 0
	}
	return min(64, max(2, 256<<20/c.Size/c.Subs))
}

// times by which a case's rounds are longer than others'. Full speed begins when all queues are full, and 50 publishers
// and 50 subscribers, who hold a thousand messages each, need half a second to a second for that: before it they are
// woken for each message, and what is measured is the processors' being shared out.
func (c testCase) times() time.Duration {
	switch {
	case c.Subs > 8:
		return 3
	case c.large():
		return 2
	}
	return 1
}

func sizeName(n int) string {
	switch {
	case n >= 1<<20:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 1<<10:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d B", n)
}

// The sizes and numbers that zeekrec is judged by.
var (
	shapes = [][2]int{{1, 1}, {2, 3}, {8, 8}, {50, 50}}
	sizes  = []int{100, 500, 4 << 10, 1 << 20}
)

// quick cases are every shape with small messages, and every size with 2 publishers and 3 subscribers; of CURVE and of
// the native generator only some of those.
func quick(c testCase) bool {
	two := c.Pubs == 2
	switch {
	case c.Curve:
		return two && (c.Size == 100 || c.Size == 4<<10)
	case c.Clients == nativeClients:
		return two && c.Size <= 4<<10 && c.Size != 500 || c.Pubs < 50 && c.Size == 100
	}
	return two || c.Size == 100
}

// allCases in the order in which they are run.
func allCases() []testCase {
	var all []testCase
	for _, kind := range []struct {
		clients clients
		curve   bool
	}{{libzmqClients, false}, {libzmqClients, true}, {nativeClients, false}} {
		for _, shape := range shapes {
			for _, size := range sizes {
				c := testCase{Clients: kind.clients, Curve: kind.curve, Pubs: shape[0], Subs: shape[1], Size: size}
				c.quick = quick(c)
				all = append(all, c)
			}
		}
		if !kind.curve {
			all = append(all, testCase{Clients: kind.clients, Pubs: 8, Subs: 8, Size: 500, Spread: 8, quick: kind.clients == libzmqClients})
		}
	}
	return all
}
