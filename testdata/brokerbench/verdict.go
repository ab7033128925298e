package main

import (
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/zeekrec/zeekrec/testdata/brokerbench/figures"
)

// noiseLimit is how much worse a p99 may look for the noise of the measurement.
const noiseLimit = 0.25

// criterion is a bound of a ratio, zeekrec's to libzmq's.
type criterion struct {
	name    string
	bound   float64
	atLeast bool // else at most
	applies func(testCase) bool
	value   func(result) float64 // 0: nothing is known
	// slack widens the bound by a share of it, for noise; nil: there is none.
	slack func(result) float64
}

// criteria that zeekrec's broker is judged by.
func criteria() []criterion {
	rate := result.rateRatio
	null := func(of clients) func(testCase) bool {
		return func(c testCase) bool { return !c.Curve && c.Clients == of }
	}
	return []criterion{
		{name: "CPU per message, NULL", bound: 1.0 / 3, applies: func(c testCase) bool { return !c.Curve }, value: result.cpuRatio},
		{name: "throughput, NULL, libzmq's clients", bound: 1.3, atLeast: true, applies: null(libzmqClients), value: rate},
		{name: "throughput, NULL, native generator", bound: 3, atLeast: true, applies: null(nativeClients), value: rate},
		{name: "throughput, CURVE, up to 500 B", bound: 1, atLeast: true, value: rate,
			applies: func(c testCase) bool { return c.Curve && c.Size <= 500 }},
		{name: "throughput, CURVE, above 500 B", bound: 0.6, atLeast: true, value: rate,
			applies: func(c testCase) bool { return c.Curve && c.Size > 500 }},
		{name: "p99 latency", bound: 1, applies: func(c testCase) bool { return c.Clients == libzmqClients },
			value: func(r result) float64 { return r.latencyRatio(0.99) },
			slack: func(r result) float64 { return min(noiseLimit, r.noise()) }},
		{name: "peak memory", bound: 2, applies: func(testCase) bool { return true }, value: result.peakRatio},
	}
}

// verdict on one criterion.
type verdict struct {
	Name string `json:"name"`
	Pass bool   `json:"pass"`
	// Held in so many of so many cases.
	Held  int `json:"held"`
	Cases int `json:"cases"`
	// Mean (geometric) and Worst of the ratios.
	Mean   float64  `json:"mean"`
	Worst  float64  `json:"worst"`
	Failed []string `json:"failed,omitempty"`
}

// judge applies a criterion to all results.
func (c criterion) judge(results []result) verdict {
	sign := "at most"
	if c.atLeast {
		sign = "at least"
	}
	v := verdict{Name: fmt.Sprintf("%s: %s %.2fx", c.name, sign, c.bound), Pass: true}
	var ratios []float64
	for _, r := range results {
		value := c.value(r)
		if !c.applies(r.Case) || value == 0 {
			continue
		}
		v.Cases++
		ratios = append(ratios, value)
		if v.Worst == 0 || c.atLeast == (value < v.Worst) {
			v.Worst = value
		}
		bound := c.bound
		if c.slack != nil {
			bound *= 1 + c.slack(r)
		}
		if c.holds(value, bound) {
			v.Held++
			continue
		}
		v.Pass = false
		v.Failed = append(v.Failed, fmt.Sprintf("%s %.2fx", r.Name, value))
	}
	v.Mean = figures.GeometricMean(ratios)
	return v
}

func (c criterion) holds(value, bound float64) bool {
	if c.atLeast {
		return value >= bound
	}
	return value <= bound
}

// verdicts on everything that was measured.
func (r *report) verdicts() []verdict {
	var all []verdict
	for _, c := range criteria() {
		if v := c.judge(r.Results); v.Cases > 0 {
			all = append(all, v)
		}
	}
	faultless := verdict{Name: "nothing lost or out of order (policy block)", Pass: true}
	for _, result := range r.Results {
		if result.Case.Clients != libzmqClients {
			continue
		}
		faultless.Cases++
		if lost, disorder := result.Zeekrec.faults(); lost+disorder == 0 {
			faultless.Held++
		} else {
			faultless.Pass = false
			faultless.Failed = append(faultless.Failed, fmt.Sprintf("%s %d lost, %d out of order", result.Name, lost, disorder))
		}
	}
	if faultless.Cases > 0 {
		all = append(all, faultless)
	}
	stalled := verdict{Name: "a stopped subscriber: the others keep at least 95%", Pass: true, Worst: math.Inf(1)}
	for _, s := range typicalStalls(r.Stalls) {
		if s.Broker != zeekrecName {
			continue
		}
		stalled.Cases++
		stalled.Worst = min(stalled.Worst, s.kept())
		if s.kept() >= 0.95 {
			stalled.Held++
		} else {
			stalled.Pass = false
			stalled.Failed = append(stalled.Failed, fmt.Sprintf("%s %.1f%%", s.Load, 100*s.kept()))
		}
	}
	if stalled.Cases > 0 {
		all = append(all, stalled)
	}
	return all
}

func writeVerdicts(w io.Writer, all []verdict) {
	fmt.Fprintf(w, "\nVerdict: zeekrec's broker against libzmq's proxy\n")
	for _, v := range all {
		word := "PASS"
		if !v.Pass {
			word = "FAIL"
		}
		detail := ""
		if v.Worst > 0 {
			detail = "worst " + times(v.Worst)
		}
		if v.Mean > 0 {
			detail += ", mean " + times(v.Mean)
		}
		fmt.Fprintf(w, "  %s  %-54s %2d of %2d cases  %s\n", word, v.Name, v.Held, v.Cases, detail)
		if len(v.Failed) > 0 {
			fmt.Fprintf(w, "        not in: %s\n", strings.Join(v.Failed, ", "))
		}
	}
}

// failed reports whether a criterion does not hold.
func failed(all []verdict) bool {
	for _, v := range all {
		if !v.Pass {
			return true
		}
	}
	return false
}
