package reconciler

import (
	"cmp"
	"slices"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/observed"
)

// The order of a plan:
//
//	wave 1      updates, which disturb nothing, so that all nodes learn of newcomers at the same time;
//	            and the stops that free a port which something in this plan needs.
//	then        the roles in their start order. In each: first whatever is new or broken, all at once,
//	            since that costs nobody anything and shows whether the revision is any good (proxies
//	            like that go with the manager: neither waits for the other); then the
//	            restarts of healthy nodes, in chunks of max_unavailable, no two of a chunk among those who
//	            share the packets of an interface. What moves to another instance is
//	            stopped there in the wave of its chunk, and started in a wave of its own after that.
//	last        stops, in the reverse order of roles, archivers at the very end: nothing is given up before its
//	            successor is healthy.
//
// A restart that frees a port goes before the one that needs it, across roles if need be. Where two
// need each other's, one of them is stopped in wave 1 and started in its turn.

// item is an action on its way to a place in the plan.
type item struct {
	Action
	seen *observed.Resource // what the action was planned against
	// first are stops that have to be over before the action begins, leaves what they were planned against.
	first  []Action
	leaves []*observed.Resource
	early  bool // its stop belongs into the first wave

	needs   []int // items that free what this one needs
	visited visit
	rank    int // of the role, or of the first role that needs what it frees
	depth   int // longest chain of needs within the rank
	slot    int // place within the rank: 0 costs nobody anything, then the chunks
}

// shares names the packets that what it takes down shares with others.
func (it *item) shares() string {
	for i := range it.first {
		if it.first[i].Shares != "" {
			return it.first[i].Shares
		}
	}
	return it.Shares
}

// sortItems by role, then by name: the order in which everything that follows looks at them.
func sortItems(items []item) {
	slices.SortFunc(items, func(a, b item) int {
		return cmp.Or(cmp.Compare(a.Role.Rank(), b.Role.Rank()), cmp.Compare(a.Resource, b.Resource), cmp.Compare(a.Instance, b.Instance))
	})
}

type visit uint8

const (
	unvisited visit = iota
	visiting
	done
)

// costs reports whether the item takes down something healthy that is to come back.
func (it *item) costs() bool {
	return it.Costs || slices.ContainsFunc(it.first, func(a Action) bool { return a.Costs })
}

// startRank is the place in the start order.
func (it *item) startRank() int {
	if it.Role == desired.RoleProxy && !it.costs() {
		return desired.RoleManager.Rank()
	}
	return it.Role.Rank()
}

// arrange puts items into waves.
func arrange(items []item, limits map[desired.Role]int) []Action {
	if len(items) == 0 {
		return []Action{}
	}
	rank(items, untie(items))

	w := &waves{}
	var middle, late []*item
	for i := range items {
		it := &items[i]
		switch {
		case it.Kind == desired.Update, it.early && it.Kind == desired.Stop:
			w.add(it.Action)
		case it.Kind == desired.Stop:
			late = append(late, it)
		case it.early: // a knot that was cut: its stop goes first, itself in its turn
			w.add(it.first...)
			it.first = nil
			middle = append(middle, it)
		default:
			middle = append(middle, it)
		}
	}
	w.next()
	slices.SortStableFunc(middle, func(a, b *item) int { return cmp.Compare(a.rank, b.rank) })
	for group := range chunkBy(middle, func(it *item) int { return it.rank }) {
		w.addRank(items, group, limits)
	}
	slices.SortStableFunc(late, func(a, b *item) int { return cmp.Compare(a.Role.StopRank(), b.Role.StopRank()) })
	for group := range chunkBy(late, func(it *item) int { return it.Role.StopRank() }) {
		for _, it := range group {
			w.add(it.Action)
		}
		w.next()
	}
	return w.actions()
}

// untie makes stops that are needed early ones, and cuts knots: of a circle of restarts that need each
// other's ports, one is taken apart into a stop in the first wave and a start in its turn. It returns all
// items, each after those that it needs.
func untie(items []item) []int {
	order := make([]int, 0, len(items))
	var walk func(i int)
	walk = func(i int) {
		it := &items[i]
		it.visited = visiting
		left := it.needs[:0]
		for _, j := range it.needs {
			r := &items[j]
			switch {
			case r.Kind == desired.Stop:
				r.early = true
			case r.visited == visiting:
				r.cut(Reason{Field: "port", To: "needed by " + it.Resource})
			case r.visited == unvisited:
				walk(j)
			}
			if !r.early {
				left = append(left, j)
			}
		}
		it.needs = left
		it.visited = done
		order = append(order, i)
	}
	for i := range items {
		if items[i].visited == unvisited {
			walk(i)
		}
	}
	return order
}

// rank moves what frees a port up to the first role that needs it, and reckons the longest chain of needs
// within a rank.
func rank(items []item, order []int) {
	for i := range items {
		items[i].rank = items[i].startRank()
	}
	for _, i := range slices.Backward(order) {
		for _, j := range items[i].needs {
			items[j].rank = min(items[j].rank, items[i].rank)
		}
	}
	for _, i := range order {
		for _, j := range items[i].needs {
			if items[j].rank == items[i].rank {
				items[i].depth = max(items[i].depth, items[j].depth+1)
			}
		}
	}
}

// cut takes a restart or a move apart: it stops in the first wave, why says what for, and starts in its turn.
func (it *item) cut(why Reason) {
	if it.early {
		return
	}
	it.early = true
	if it.Kind == desired.Restart {
		s := it.Action
		// The two have to be down together for a moment, whatever max_unavailable says: it costs, but it
		// must not count, or the other could never go on.
		s.Kind, s.Target, s.Costs, s.Follows = desired.Stop, nil, false, false
		s.Reasons = []Reason{why}
		it.first = append(it.first, s)
		it.Kind, it.Disruptive, it.Costs, it.Follows = desired.Start, false, false, true
	}
}

// waves collects actions wave by wave.
type waves struct {
	done    []Action
	current int // index in done where the current wave begins
	number  int
}

func (w *waves) add(as ...Action) { w.done = append(w.done, as...) }

// next closes the current wave; an empty one leaves no gap in the numbers.
func (w *waves) next() {
	if w.current == len(w.done) {
		return
	}
	w.number++
	wave := w.done[w.current:]
	for i := range wave {
		wave[i].Wave = w.number
	}
	slices.SortFunc(wave, func(a, b Action) int {
		return cmp.Or(cmp.Compare(a.Resource, b.Resource), cmp.Compare(a.Instance, b.Instance))
	})
	w.current = len(w.done)
}

func (w *waves) actions() []Action {
	w.next()
	return w.done
}

// addRank gives each item of a rank its slot, and each slot its waves.
func (w *waves) addRank(items []item, group []*item, limits map[desired.Role]int) {
	slices.SortStableFunc(group, func(a, b *item) int {
		return cmp.Or(cmp.Compare(a.depth, b.depth), compareBool(a.costs(), b.costs()), compareBool(a.seen.Healthy, b.seen.Healthy))
	})
	taken := map[desired.Role][]int{} // by slot
	open := map[desired.Role]int{}    // the first slot with room
	shared := map[string]map[int]bool{}
	top := 0
	for _, it := range group {
		for _, j := range it.needs {
			if items[j].rank == it.rank {
				it.slot = max(it.slot, items[j].slot+1)
			}
		}
		if it.costs() {
			it.slot = max(it.slot, 1, open[it.Role])
			t := taken[it.Role]
			limit := max(1, limits[it.Role])
			for len(t) <= it.slot {
				t = append(t, 0)
			}
			shares := it.shares()
			for t[it.slot] >= limit || shares != "" && shared[shares][it.slot] {
				it.slot++
				if len(t) == it.slot {
					t = append(t, 0)
				}
			}
			t[it.slot]++
			if shares != "" {
				if shared[shares] == nil {
					shared[shares] = map[int]bool{}
				}
				shared[shares][it.slot] = true
			}
			taken[it.Role] = t
			for s := max(1, open[it.Role]); s < len(t) && t[s] >= limit; s++ {
				open[it.Role] = s + 1
			}
		}
		top = max(top, it.slot)
	}
	slots := make([][]*item, top+1)
	for _, it := range group {
		slots[it.slot] = append(slots[it.slot], it)
	}
	for _, slot := range slots {
		for _, it := range slot {
			w.add(it.first...)
			if len(it.first) == 0 {
				w.add(it.Action)
			}
		}
		w.next()
		for _, it := range slot {
			if len(it.first) > 0 {
				w.add(it.Action)
			}
		}
		w.next()
	}
}

// chunkBy yields runs of neighbours with the same value.
func chunkBy[T any](s []T, by func(T) int) func(yield func([]T) bool) {
	return func(yield func([]T) bool) {
		for len(s) > 0 {
			n := 1
			for n < len(s) && by(s[n]) == by(s[0]) {
				n++
			}
			if !yield(s[:n]) {
				return
			}
			s = s[n:]
		}
	}
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}
