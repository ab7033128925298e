package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/zeekrec/zeekrec/testdata/brokerbench/figures"
)

// report is everything that was measured; its JSON has each round, what is printed are medians of rounds.
type report struct {
	Begun    time.Time     `json:"begun"`
	Quick    bool          `json:"quick"`
	Rounds   int           `json:"rounds"`
	Window   time.Duration `json:"window_ns"`
	Results  []result      `json:"results"`
	Stalls   []stallRun    `json:"stalls,omitempty"`
	Storms   []stormRun    `json:"storms,omitempty"`
	Defaults []defaultRun  `json:"default_policy,omitempty"`
	Ciphers  []cipherCost  `json:"ciphers,omitempty"`
	Verdicts []verdict     `json:"verdicts"`
	Took     time.Duration `json:"took_ns"`
}

// count writes a number with blanks between the thousands.
func count(v float64) string {
	s := strconv.FormatInt(int64(v+0.5), 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + " " + s[i:]
	}
	return s
}

// micros writes nanoseconds as microseconds; nothing is known of 0.
func micros(ns float64) string {
	if ns == 0 {
		return "-"
	}
	return count(ns / 1e3)
}

// seconds writes CPU seconds; nothing is known of 0.
func seconds(s float64) string {
	if s == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", s)
}

// times writes a ratio; nothing is known of 0.
func times(r float64) string {
	if r == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2fx", r)
}

const rowFormat = "  %-8s%13s%11s%11s%10s%10s%10s%10s%7s%9s\n"

// head of a case's table.
func (r result) head(w io.Writer) {
	fmt.Fprintf(w, "\n%s\n", r.Name)
	fmt.Fprintf(w, rowFormat, "", "delivered/s", "CPU s/1e6", "when paced", "p50 µs", "p99 µs", "p99.9 µs", "peak MiB", "share", "foreign")
}

// write prints a case: each broker, and the ratio of zeekrec's broker to libzmq's.
func (r result) write(w io.Writer) {
	r.head(w)
	a, b := r.Libzmq, r.Zeekrec
	sides := []struct {
		name string
		side
	}{{"libzmq", a}, {zeekrecName, b}}
	for _, s := range sides {
		foreign := figures.Median(s.values(func(f full) float64 { return f.Foreign }))
		fmt.Fprintf(w, rowFormat, s.name, count(s.rate()), fmt.Sprintf("%.2f", s.cpu()), seconds(figures.Median(s.pacedCPU())), micros(s.latency(0.5)), micros(s.latency(0.99)),
			micros(s.latency(0.999)), fmt.Sprintf("%.1f", s.peak()/(1<<20)), fmt.Sprintf("%.0f%%", 100*s.share()), fmt.Sprintf("%.2f", foreign))
	}
	fmt.Fprintf(w, rowFormat, "ratio", times(r.rateRatio()), times(r.cpuRatio()), times(pairRatio(b.pacedCPU(), a.pacedCPU())), times(r.latencyRatio(0.5)), times(r.latencyRatio(0.99)),
		times(r.latencyRatio(0.999)), times(r.peakRatio()), "", "")
	notes := []string{fmt.Sprintf("%d rounds", len(a.Full))}
	if len(a.Latency) > 0 {
		notes = append(notes, fmt.Sprintf("latencies of %d rounds at %s published/s", len(a.Latency), count(float64(r.PacedRate))))
		if n := r.noise(); n > 0 {
			notes = append(notes, fmt.Sprintf("the p99 of one broker differs by ±%.0f%% from round to round", 100*n))
		}
	}
	if r.Case.Clients == libzmqClients && len(a.Latency) == 0 {
		notes = append(notes, "NO RATE WAS SUSTAINED")
	}
	for _, s := range sides {
		if lost, disorder := s.faults(); lost+disorder > 0 {
			notes = append(notes, fmt.Sprintf("%s LOST %d AND DISORDERED %d", s.name, lost, disorder))
		}
	}
	if r.Repeated > 0 {
		notes = append(notes, fmt.Sprintf("%d more rounds measured, for foreign load", r.Repeated))
	}
	fmt.Fprintf(w, "  %s\n", strings.Join(notes, "; "))
}

// noise of p99: how far rounds of the same broker differ, the larger of the two.
func (r result) noise() float64 {
	return max(figures.Noise(r.Libzmq.quantiles(0.99)), figures.Noise(r.Zeekrec.quantiles(0.99)))
}

// faults that subscribers found in any round.
func (s side) faults() (lost, disorder uint64) {
	for _, f := range s.Full {
		lost, disorder = lost+f.Lost, disorder+f.Disorder
	}
	for _, l := range s.Latency {
		lost, disorder = lost+l.Lost, disorder+l.Disorder
	}
	return lost, disorder
}

func writeStalls(w io.Writer, stalls []stallRun) {
	fmt.Fprintf(w, "\nA stopped subscriber: 2 publishers, 3 subscribers, 500 B, NULL; one is stopped with SIGSTOP. Messages/s of the other two\n")
	fmt.Fprintf(w, "  %-10s%14s%12s%12s%14s%14s%8s%8s\n", "", "load", "before", "after", "last 1.5 s", "worst 0.5 s", "kept", "lost")
	for _, s := range typicalStalls(stalls) {
		fmt.Fprintf(w, "  %-10s%14s%12s%12s%14s%14s%7.1f%%%8d\n", s.Broker, s.Load, count(s.Before), count(s.After), count(s.End), count(s.Worst), 100*s.kept(), s.Lost)
	}
}

// typical storm of a broker: the one whose last subscriber took the median time.
func typical(storms []stormRun, broker string, curve bool) (stormRun, bool) {
	var some []stormRun
	for _, s := range storms {
		if s.Broker == broker && s.Curve == curve {
			some = append(some, s)
		}
	}
	if len(some) == 0 {
		return stormRun{}, false
	}
	slices.SortFunc(some, func(a, b stormRun) int { return cmp.Compare(a.Last, b.Last) })
	return some[len(some)/2], true
}

func writeStorms(w io.Writer, storms []stormRun) {
	fmt.Fprintf(w, "\nA reconnect storm: %d subscribers close and connect again while 2 publishers and 3 subscribers work (500 B)\n", stormSubscribers)
	fmt.Fprintf(w, "  %-10s%10s%15s%15s%12s%22s%22s%8s\n", "", "mechanism", "half back ms", "all back ms", "CPU ms", "rate before/during", "p99 µs before/during", "lost")
	millis := func(d time.Duration) string { return fmt.Sprintf("%.1f", d.Seconds()*1e3) }
	for _, kind := range []struct {
		broker, mechanism string
		curve             bool
	}{{"libzmq", "NULL", false}, {zeekrecName, "NULL", false}, {"libzmq", "CURVE", true}, {zeekrecName, "CURVE", true}} {
		s, ok := typical(storms, kind.broker, kind.curve)
		if !ok {
			continue
		}
		fmt.Fprintf(w, "  %-10s%10s%15s%15s%12s%22s%22s%8d\n", s.Broker, kind.mechanism, millis(s.Median), millis(s.Last), millis(s.CPU),
			count(s.Before)+" / "+count(s.During), micros(float64(s.P99Before))+" / "+micros(float64(s.P99During)), s.Lost)
	}
}

func writeDefaults(w io.Writer, runs []defaultRun) {
	fmt.Fprintf(w, "\nzeekrec with its default policy (a full queue costs its own subscriber messages), at full speed\n")
	for _, r := range runs {
		fmt.Fprintf(w, "  %-28s%12s delivered/s%12s dropped/s (%.2f%%)%8.2f CPU s/1e6\n", r.Name, count(r.Rate), count(r.Dropped),
			100*figures.Ratio(r.Dropped, r.Dropped+r.Rate), r.CPU)
	}
}

func writeCiphers(w io.Writer, costs []cipherCost) {
	fmt.Fprintf(w, "\nThe bare ciphers: sealing and opening the 4 frames of a message, on one core\n")
	fmt.Fprintf(w, "  %-10s%16s%16s%22s\n", "payload", "libsodium ns", "zeekrec ns", "speed of zeekrec's")
	for _, c := range costs {
		fmt.Fprintf(w, "  %-10s%16s%16s%22s\n", sizeName(c.Size), count(c.Libsodium), count(c.Zeekrec), times(figures.Ratio(c.Libsodium, c.Zeekrec)))
	}
}
