package main

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/testdata/brokerbench/figures"
)

// measured is a result with the same figures in each of three rounds.
func measured(c testCase, rate, cpu, p99, peak [2]float64) result {
	r := result{Case: c, Name: c.String(), PacedRate: 1000}
	for i, s := range []*side{&r.Libzmq, &r.Zeekrec} {
		for range 3 {
			s.Full = append(s.Full, full{stretch: stretch{Rate: rate[i], CPU: cpu[i]}, Peak: int64(peak[i])})
			s.Latency = append(s.Latency, latency{Sustained: true, histogram: figures.Histogram{figures.Bucket(time.Duration(p99[i])): 10000}})
		}
	}
	return r
}

func verdictOf(t *testing.T, all []verdict, name string) verdict {
	t.Helper()
	i := slices.IndexFunc(all, func(v verdict) bool { return strings.HasPrefix(v.Name, name) })
	if i < 0 {
		t.Fatalf("no verdict on %q in %v", name, all)
	}
	return all[i]
}

func TestVerdicts(t *testing.T) {
	c := testCase{Clients: libzmqClients, Pubs: 2, Subs: 3, Size: 100}
	good := measured(c, [2]float64{100, 130}, [2]float64{3, 0.9}, [2]float64{1000, 900}, [2]float64{10, 19})
	bad := measured(c, [2]float64{100, 129}, [2]float64{3, 1.1}, [2]float64{1000, 1200}, [2]float64{10, 21})
	for _, name := range []string{"CPU per message", "throughput, NULL, libzmq", "p99", "peak memory"} {
		r := report{Results: []result{good}}
		if v := verdictOf(t, r.verdicts(), name); !v.Pass || v.Held != 1 || v.Cases != 1 {
			t.Errorf("%s: what is good is judged %+v", name, v)
		}
		r = report{Results: []result{good, bad}}
		if v := verdictOf(t, r.verdicts(), name); v.Pass || v.Held != 1 || v.Cases != 2 || len(v.Failed) != 1 {
			t.Errorf("%s: what is bad is judged %+v", name, v)
		}
		if !failed(r.verdicts()) {
			t.Errorf("%s: --check is content", name)
		}
	}
}

// Each criterion is for the cases that the issue names.
func TestCriteriaAreForTheirCases(t *testing.T) {
	counts := map[string]int{}
	for _, c := range allCases() {
		for _, k := range criteria() {
			if k.applies(c) {
				counts[k.name]++
			}
		}
	}
	want := map[string]int{"CPU per message, NULL": 34, "throughput, NULL, libzmq's clients": 17, "throughput, NULL, native generator": 17,
		"throughput, CURVE, up to 500 B": 8, "throughput, CURVE, above 500 B": 8, "p99 latency": 33, "peak memory": 50}
	for name, n := range want {
		if counts[name] != n {
			t.Errorf("%s is for %d cases, want %d", name, counts[name], n)
		}
	}
}

// A p99 that differs from round to round may be as much worse, and no more than a quarter.
func TestNoiseWidensTheBoundOfLatency(t *testing.T) {
	c := testCase{Clients: libzmqClients, Pubs: 1, Subs: 1, Size: 100}
	r := measured(c, [2]float64{1, 1}, [2]float64{1, 1}, [2]float64{1000, 1150}, [2]float64{1, 1})
	judge := func() bool { return verdictOf(t, (&report{Results: []result{r}}).verdicts(), "p99").Pass }
	if judge() {
		t.Error("15% worse without any noise passes")
	}
	r.Libzmq.Latency[0].histogram = figures.Histogram{figures.Bucket(700): 10000}
	r.Libzmq.Latency[2].histogram = figures.Histogram{figures.Bucket(1100): 10000}
	if n := r.noise(); n < 0.19 || n > 0.21 {
		t.Fatalf("the noise is %v", n)
	}
	if !judge() {
		t.Error("15% worse with 20% of noise fails")
	}
}

func TestLossesFail(t *testing.T) {
	r := measured(testCase{Clients: libzmqClients, Pubs: 1, Subs: 1, Size: 100}, [2]float64{1, 1}, [2]float64{1, 1}, [2]float64{1, 1}, [2]float64{1, 1})
	r.Zeekrec.Full[1].Disorder = 1
	if v := verdictOf(t, (&report{Results: []result{r}}).verdicts(), "nothing lost"); v.Pass {
		t.Error("a message out of order passes")
	}
	stalls := []stallRun{{Broker: "libzmq", Before: 100}, {Broker: zeekrecName, Before: 100, After: 99, End: 94},
		{Broker: zeekrecName, Before: 100, After: 99, End: 99}, {Broker: zeekrecName, Before: 100, After: 90, End: 90}}
	if v := verdictOf(t, (&report{Stalls: stalls}).verdicts(), "a stopped"); v.Pass || v.Cases != 1 {
		t.Errorf("94%% of the rate is judged %+v", v)
	}
}

func TestTable(t *testing.T) {
	var b strings.Builder
	r := measured(testCase{Clients: libzmqClients, Curve: true, Pubs: 8, Subs: 8, Size: 4 << 10},
		[2]float64{1234567.4, 2000000}, [2]float64{0.5, 0.25}, [2]float64{64e3, 32e3}, [2]float64{8 << 20, 12 << 20})
	r.write(&b)
	lines := strings.Split(b.String(), "\n")
	if lines[1] != "libzmq/curve/8x8/4KiB" {
		t.Errorf("the case is called %q", lines[1])
	}
	for i, want := range [][]string{{"libzmq", "1 234 567", "0.50", "64", "8.0", "0%"}, {"zeekrec", "2 000 000", "0.25", "32", "12.0"}, {"ratio", "1.62x", "0.50x", "1.50x"}} {
		for _, field := range want {
			if !strings.Contains(lines[3+i], " "+field) {
				t.Errorf("%q is missing in %q", field, lines[3+i])
			}
		}
	}
}

func TestCount(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 999.6: "1 000", 12345: "12 345", 1234567: "1 234 567"} {
		if got := count(v); got != want {
			t.Errorf("count(%v) = %q", v, got)
		}
	}
}

func TestPairRatio(t *testing.T) {
	// The machine was half as fast in the second round: the ratio stays.
	if got := pairRatio([]float64{20, 10, 22}, []float64{10, 5, 10}); got != 2 {
		t.Errorf("the ratio is %v", got)
	}
}

func TestSlots(t *testing.T) {
	var m []marks
	for i := range 11 {
		m = append(m, marks{at: int64(i) * 1e8, messages: uint64(min(i, 5) * 100)})
	}
	if got := rateOf(m); got != 500 {
		t.Errorf("the rate is %v", got)
	}
	if got := worst(m, 5); got != 0 {
		t.Errorf("the worst half second has %v", got)
	}
}

func TestMachineCPU(t *testing.T) {
	got, err := parseMachineCPU("cpu  100 1 20 5000 7 3 4 2 0 0")
	if err != nil || got != 1300*time.Millisecond {
		t.Errorf("busy for %v, %v", got, err)
	}
	if _, err := parseMachineCPU("cpu0 1"); err == nil {
		t.Error("a line of another kind is read")
	}
}

func TestProcessCPU(t *testing.T) {
	before, err := processCPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for begun := time.Now(); time.Since(begun) < 20*time.Millisecond; { // computes
	}
	if after, err := processCPU(os.Getpid()); err != nil || after <= before {
		t.Errorf("from %v to %v, %v", before, after, err)
	}
	if peak, err := peakMemory(os.Getpid()); err != nil || peak < 1<<20 {
		t.Errorf("a peak of %d bytes, %v", peak, err)
	}
	if _, err := processCPU(1 << 27); err == nil {
		t.Error("a process that is not there has computed")
	}
}

func TestMedianStorm(t *testing.T) {
	storms := []stormRun{{Broker: "a", Last: 3}, {Broker: "a", Last: 1}, {Broker: "a", Last: 2}, {Broker: "b", Last: 9}, {Broker: "a", Curve: true, Last: 8}}
	if s, ok := typical(storms, "a", false); !ok || s.Last != 2 {
		t.Errorf("the typical one is %+v", s)
	}
	if _, ok := typical(storms, "c", false); ok {
		t.Error("there is a storm of nobody")
	}
}

func TestCollectPrefersQuietRounds(t *testing.T) {
	b := &bench{rounds: 2, spare: time.Hour}
	foreign := []float64{0.9, 0.01, 0.8, 0.7, 0.02, 0.6}
	calls := 0
	measure := func(contender) (stretch, error) {
		f := foreign[calls/2]
		calls++
		return stretch{Foreign: f, Rate: f}, nil
	}
	same := func(s stretch) stretch { return s }
	got, repeated, err := collect(b, time.Now().Add(time.Hour), measure, same, anything[stretch])
	if err != nil || repeated != 3 || len(got) != 2 || got[0][0].Rate != 0.01 || got[1][1].Rate != 0.02 {
		t.Errorf("of %v it took %v, %d repeated, %v", foreign, got, repeated, err)
	}
	// Without time for more, what there is counts; and when it is late, one round does.
	b.spare, calls = 0, 0
	if got, _, _ := collect(b, time.Now().Add(time.Hour), measure, same, anything[stretch]); len(got) != 2 || got[0][0].Rate != 0.9 || calls != 4 {
		t.Errorf("without time it took %v in %d calls", got, calls)
	}
	calls = 0
	if got, _, _ := collect(b, time.Now().Add(-time.Hour), measure, same, anything[stretch]); len(got) != 1 || calls != 2 {
		t.Errorf("late it took %v in %d calls", got, calls)
	}
	// What is not usable ends it at once when nobody else can be blamed.
	calls, foreign = 2, []float64{0, 0}
	if got, _, _ := collect(b, time.Now().Add(time.Hour), measure, same, func([2]stretch) bool { return false }); len(got) != 0 || calls != 4 {
		t.Errorf("it took %v in %d calls", got, calls)
	}
}

func TestSchedule(t *testing.T) {
	s := &schedule{begun: time.Unix(100, 0), budget: 10 * time.Second}
	cases := allCases()
	for _, c := range cases {
		s.total += c.weight()
	}
	last := s.begun
	for _, c := range cases {
		until := s.until(c.weight())
		if !until.After(last) {
			t.Fatalf("%v has no time", c)
		}
		last = until
	}
	if want := time.Unix(110, 0); last.Sub(want).Abs() > time.Microsecond {
		t.Errorf("the last one ends at %v, want %v", last, want)
	}
}
