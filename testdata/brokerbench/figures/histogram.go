package figures

import (
	"fmt"
	"maps"
	"math"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"time"
)

// subBits of a bucket's index lie below the power of two: a bucket is 1/64 of one wide. zmqpeer.c has the same.
const subBits = 6

// Bucket is which bucket a latency falls into.
func Bucket(d time.Duration) int {
	if d < 1<<subBits {
		return int(max(d, 0))
	}
	shift := bits.Len64(uint64(d)) - 1 - subBits
	return shift<<subBits + int(d>>shift)
}

// middle of a bucket.
func middle(bucket int) time.Duration {
	if bucket < 1<<subBits {
		return time.Duration(bucket)
	}
	shift := bucket>>subBits - 1
	low := int64(1<<subBits+bucket&(1<<subBits-1)) << shift
	return time.Duration(low + int64(1)<<shift/2)
}

// Histogram counts latencies by bucket.
type Histogram map[int]uint64

// ParseHistogram reads what zmqpeer answers to "hist": BUCKET:COUNT, separated by blanks.
func ParseHistogram(s string) (Histogram, error) {
	h := Histogram{}
	for _, field := range strings.Fields(s) {
		bucket, count, ok := strings.Cut(field, ":")
		b, err := strconv.Atoi(bucket)
		if err != nil || !ok || b < 0 || b > 64<<subBits {
			return nil, fmt.Errorf("cannot read bucket %q of a histogram", field)
		}
		n, err := strconv.ParseUint(count, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("cannot read bucket %q of a histogram: %w", field, err)
		}
		h[b] += n
	}
	return h, nil
}

// Since is what has been counted after an earlier state of the same histogram.
func (h Histogram) Since(earlier Histogram) Histogram {
	d := Histogram{}
	for b, n := range h {
		if n > earlier[b] {
			d[b] = n - earlier[b]
		}
	}
	return d
}

// Add counts those of another one, too.
func (h Histogram) Add(other Histogram) {
	for b, n := range other {
		h[b] += n
	}
}

// Count of latencies.
func (h Histogram) Count() uint64 {
	var n uint64
	for _, c := range h {
		n += c
	}
	return n
}

// Quantile returns the latency that the share q of all stays below, to 1%. Zero: there are so few that not even
// least are above it.
func (h Histogram) Quantile(q float64, least int) time.Duration {
	total := h.Count()
	if float64(total)*(1-q) < float64(least) {
		return 0
	}
	wanted := uint64(math.Ceil(q * float64(total)))
	var seen uint64
	for _, b := range slices.Sorted(maps.Keys(h)) {
		if seen += h[b]; seen >= wanted {
			return middle(b)
		}
	}
	return 0
}
