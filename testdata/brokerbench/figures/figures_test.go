package figures

import (
	"math"
	"testing"
	"time"
)

func TestBucketsAreOneSixtyfourthWide(t *testing.T) {
	last := -1
	for d := time.Duration(1); d < time.Hour; d += d/200 + 1 {
		b := Bucket(d)
		if b < last {
			t.Fatalf("the bucket of %v is %d, below the one before, %d", d, b, last)
		}
		last = b
		if m := middle(b); math.Abs(float64(m-d)) > float64(d)/64 {
			t.Fatalf("the middle of the bucket of %v is %v", d, m)
		}
	}
}

// The indices are those that zmqpeer.c computes.
func TestBucketsOfTheGenerator(t *testing.T) {
	for d, want := range map[time.Duration]int{0: 0, 63: 63, 64: 64, 127: 127, 128: 128, 130: 129, 1000: 317, 1_000_000: 954, 4_000_000_000: 1719} {
		if got := Bucket(d); got != want {
			t.Errorf("Bucket(%d) = %d, want %d", d, got, want)
		}
	}
}

func TestQuantile(t *testing.T) {
	h := Histogram{}
	for i := 1; i <= 100_000; i++ {
		h[Bucket(time.Duration(i)*time.Microsecond)]++
	}
	for q, want := range map[float64]time.Duration{0.5: 50 * time.Millisecond, 0.99: 99 * time.Millisecond, 0.999: 99900 * time.Microsecond} {
		if got := h.Quantile(q, 10); math.Abs(float64(got-want)) > float64(want)/60 {
			t.Errorf("Quantile(%v) = %v, want about %v", q, got, want)
		}
	}
	if got := (Histogram{5: 500}).Quantile(0.999, 1); got != 0 {
		t.Errorf("500 values have a p99.9 of %v", got)
	}
}

func TestHistogramSince(t *testing.T) {
	before, err := ParseHistogram("12:3 64:1")
	if err != nil {
		t.Fatal(err)
	}
	after, err := ParseHistogram("12:5 64:1 70:9")
	if err != nil {
		t.Fatal(err)
	}
	d := after.Since(before)
	if d.Count() != 11 || d[12] != 2 || d[70] != 9 {
		t.Errorf("the difference is %v", d)
	}
	d.Add(Histogram{2: 1})
	if d.Count() != 12 || d[2] != 1 {
		t.Errorf("one more makes %v", d)
	}
	for _, bad := range []string{"12", "x:1", "1:x", "-1:4", "9999999:1"} {
		if _, err := ParseHistogram(bad); err == nil {
			t.Errorf("%q is read", bad)
		}
	}
}

func TestRounds(t *testing.T) {
	if got := Median([]float64{3, 1, 2}); got != 2 {
		t.Errorf("median %v", got)
	}
	if got := Median([]float64{4, 1, 2, 3}); got != 2.5 {
		t.Errorf("median of four %v", got)
	}
	if got := Noise([]float64{9, 10, 13}); got != 0.2 {
		t.Errorf("noise %v", got)
	}
	if got := GeometricMean([]float64{2, 8, 0}); math.Abs(got-4) > 1e-9 {
		t.Errorf("mean %v", got)
	}
	if got := Ratio(1, 0); got != 0 {
		t.Errorf("ratio %v", got)
	}
}
