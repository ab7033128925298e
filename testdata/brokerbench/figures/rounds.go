package figures

import (
	"math"
	"slices"
)

// Median of the values; 0 when there are none.
func Median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	v := slices.Sorted(slices.Values(values))
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}

// Noise says how far rounds of the same measurement differ: half of their range, as a share of their median. 0: there
// is one round or none.
func Noise(values []float64) float64 {
	m := Median(values)
	if len(values) < 2 || m == 0 {
		return 0
	}
	return (slices.Max(values) - slices.Min(values)) / 2 / m
}

// GeometricMean of ratios; those that are not positive are left out. 0: none is.
func GeometricMean(ratios []float64) float64 {
	sum, n := 0.0, 0
	for _, r := range ratios {
		if r > 0 && !math.IsInf(r, 0) {
			sum += math.Log(r)
			n++
		}
	}
	if n == 0 {
		return 0
	}
	return math.Exp(sum / float64(n))
}

// Ratio of two values; 0 when it cannot be told.
func Ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}
