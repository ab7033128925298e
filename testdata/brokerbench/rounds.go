package main

import (
	"cmp"
	"runtime"
	"slices"
	"time"
)

// round is what each contender did, one right after the other.
type round[T any] struct {
	pair    [2]T
	foreign float64 // processors that others kept busy meanwhile
}

// collect measures rounds until enough of them were quiet, and returns the quietest, b.rounds at most, in their order. It
// makes do with those that it has when it has tried three times as often, when the time for repetitions is used up, or,
// with one round, when it is late. Rounds that usable refuses do not count. repeated is how many were measured in vain.
func collect[T any](b *bench, until time.Time, measure func(contender) (T, error), of func(T) stretch, usable func([2]T) bool) (pairs [][2]T, repeated int, err error) {
	var all []round[T]
	quiet, tries := 0, 0
	for quiet < b.rounds && tries < 3*b.rounds {
		begun := time.Now()
		if len(all) > 0 && begun.After(until) || len(all) >= b.rounds && b.spare <= 0 {
			break
		}
		tries++
		var r round[T]
		for i, who := range b.pair() {
			if r.pair[i], err = measure(who); err != nil {
				return nil, 0, err
			}
			r.foreign = max(r.foreign, of(r.pair[i]).Foreign)
		}
		if tries > b.rounds {
			b.spare -= time.Since(begun)
		}
		if !usable(r.pair) {
			if !loud(r.foreign) {
				return nil, 0, nil
			}
			continue
		}
		all = append(all, r)
		if !loud(r.foreign) {
			quiet++
		}
	}
	for _, r := range quietest(all, b.rounds) {
		pairs = append(pairs, r.pair)
	}
	return pairs, tries - len(pairs), nil
}

// quietest n rounds, in their order.
func quietest[T any](all []round[T], n int) []round[T] {
	if len(all) <= n {
		return all
	}
	sorted := slices.SortedStableFunc(slices.Values(all), func(a, b round[T]) int { return cmp.Compare(a.foreign, b.foreign) })
	bound := sorted[n-1].foreign
	var some []round[T]
	for _, r := range all {
		if len(some) < n && r.foreign <= bound {
			some = append(some, r)
		}
	}
	return some
}

// loud: others keep so much of the machine busy that a round is not worth much.
func loud(foreign float64) bool { return foreign > 0.1*float64(runtime.NumCPU()) }

// schedule is how long cases may take in all: a slow or busy machine gets fewer rounds of each, not a longer benchmark.
type schedule struct {
	begun  time.Time
	budget time.Duration
	done   float64
	total  float64
}

// weight of a case: the rounds that it has, in units of the shortest.
func (c testCase) weight() float64 {
	w := float64(c.times())
	if c.Clients == libzmqClients {
		w *= 2
	}
	return w
}

// until when a further share of the work ought to be done.
func (s *schedule) until(weight float64) time.Time {
	s.done += weight
	return s.begun.Add(time.Duration(float64(s.budget) * s.done / s.total))
}
