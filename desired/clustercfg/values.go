package clustercfg

import (
	"fmt"
	"math"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/zeekrec/zeekrec/desired"
)

// complaint is why a value of a zeekrec key cannot be used, and what to write.
type complaint struct {
	what, hint string
}

func (c *complaint) Error() string { return c.what }

func complain(hint, format string, args ...any) error {
	return &complaint{fmt.Sprintf(format, args...), hint}
}

// into stores what a parser yields, if it yields something.
func into[T any](dst *T, parse func(string) (T, error)) func(string) error {
	return func(s string) error {
		v, err := parse(s)
		if err == nil {
			*dst = v
		}
		return err
	}
}

// verbatim takes any text.
func verbatim(s string) (string, error) { return s, nil }

func yesNo(s string) (bool, error) {
	switch strings.ToLower(s) {
	case "yes", "true", "on", "1":
		return true, nil
	case "no", "false", "off", "0":
		return false, nil
	}
	return false, complain("write yes or no", "%s is neither yes nor no", quote(s))
}

// choice accepts one of a few words.
func choice[T ~string](words ...T) func(string) (T, error) {
	return func(s string) (T, error) {
		if slices.Contains(words, T(s)) {
			return T(s), nil
		}
		known := make([]string, len(words))
		for i, w := range words {
			known[i] = string(w)
		}
		what := quote(s) + " is none of the choices"
		if near := closest(s, known); near != "" {
			what += fmt.Sprintf(": did you mean %q?", near)
		}
		return "", complain("the choices are "+one(known), "%s", what)
	}
}

// number accepts a whole number within bounds.
func number(low, high int) func(string) (int, error) {
	return func(s string) (int, error) {
		n, err := strconv.Atoi(s)
		if err != nil || n < low || n > high {
			return 0, complain(fmt.Sprintf("write a number from %d to %d", low, high), "%s is not a number from %d to %d", quote(s), low, high)
		}
		return n, nil
	}
}

// quantity accepts a number or a percentage, both within bounds.
func quantity(low, highNumber, highPercent int) func(string) (desired.Quantity, error) {
	return func(s string) (desired.Quantity, error) {
		digits, percent := strings.CutSuffix(s, "%")
		n, err := strconv.Atoi(digits)
		high := highNumber
		if percent {
			high = highPercent
		}
		if err != nil || n < low || n > high {
			return desired.Quantity{}, complain(fmt.Sprintf("write a number (from %d to %d) or a percentage (from %d%% to %d%%)", low, highNumber, low, highPercent), "%s is neither a number nor a percentage that is possible here", quote(s))
		}
		return desired.Quantity{N: n, Percent: percent}, nil
	}
}

// percent accepts "150%".
func percent(low, high int) func(string) (int, error) {
	return func(s string) (int, error) {
		digits, ok := strings.CutSuffix(s, "%")
		n, err := strconv.Atoi(digits)
		if !ok || err != nil || n < low || n > high {
			return 0, complain(fmt.Sprintf("write a percentage from %d%% to %d%%", low, high), "%s is not a percentage from %d%% to %d%%", quote(s), low, high)
		}
		return n, nil
	}
}

// span accepts "90d", "1h", "30m", "10s" and sums of those ("1h30m"), at least low.
func span(low time.Duration) func(string) (time.Duration, error) {
	units := map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour, 'w': 7 * 24 * time.Hour}
	return func(s string) (time.Duration, error) {
		bad := complain("write a number and a unit: 10s, 30m, 1h, 90d", "%s is not a duration of at least %v", quote(s), low)
		var sum time.Duration
		for rest := s; rest != ""; {
			i := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
			if i < 1 || i > 9 { // without a number, without a unit, or beyond all bounds
				return 0, bad
			}
			n, err := strconv.Atoi(rest[:i])
			unit := units[rest[i]]
			if err != nil || unit == 0 || time.Duration(n) > (math.MaxInt64-sum)/unit {
				return 0, bad
			}
			sum += time.Duration(n) * unit
			rest = rest[i+1:]
		}
		if s == "" || sum < low {
			return 0, bad
		}
		return sum, nil
	}
}

// patience accepts a duration of 10 s or more, the time in which a node that does not answer is seen; no is never, for which
// desired has negative durations.
func patience(s string) (time.Duration, error) {
	if v, err := yesNo(s); err == nil && !v {
		return -1, nil
	}
	d, err := span(10 * time.Second)(s)
	if err != nil {
		return 0, complain("write for how long a node may give no sign of life, 1m for example, or no", "%s is neither a duration of at least 10s nor no", quote(s))
	}
	return d, nil
}

// size accepts "512M", "8G" and "8GiB".
func size(s string) (int64, error) {
	bad := complain("write a number and a unit: 512M, 8G", "%s is not a size", quote(s))
	digits := strings.TrimRight(s, "KMGTiB")
	shift, ok := map[string]int{
		"K": 10, "M": 20, "G": 30, "T": 40, "KB": 10, "MB": 20, "GB": 30, "TB": 40, "KiB": 10, "MiB": 20, "GiB": 30, "TiB": 40,
	}[s[len(digits):]]
	n, err := strconv.ParseInt(digits, 10, 64)
	if !ok || err != nil || n < 1 || n > math.MaxInt64>>shift {
		return 0, bad
	}
	return n << shift, nil
}

// share accepts a percentage of a disk or a size.
func share(s string) (desired.Quantity, error) {
	if strings.HasSuffix(s, "%") {
		n, err := percent(0, 99)(s)
		return desired.Quantity{N: n, Percent: true}, err
	}
	n, err := size(s)
	return desired.Quantity{N: int(n)}, err
}

// maxCPU is the highest number that a CPU can have (Linux knows at most 8192 of them).
const maxCPU = 8191

// cpuList accepts "4-7,9", and returns it sorted, without doubles.
func cpuList(s string) ([]int, error) {
	var cpus []int
	for item := range strings.SplitSeq(s, ",") {
		first, last, isRange := strings.Cut(strip(item), "-")
		low, err := number(0, maxCPU)(strip(first))
		high := low
		if err == nil && isRange {
			high, err = number(0, maxCPU)(strip(last))
		}
		if err != nil || high < low {
			return nil, complain("write numbers and ranges of CPUs, separated by commas: 4-7,9", "%s is not a list of CPUs", quote(s))
		}
		for c := low; c <= high; c++ {
			cpus = append(cpus, c)
		}
		if len(cpus) > 4*maxCPU {
			return nil, complain("state each CPU once", "%s names too many CPUs", quote(s))
		}
	}
	slices.Sort(cpus)
	return slices.Compact(cpus), nil
}

// endpoint accepts tcp://HOST:PORT.
func endpoint(s string) (string, error) {
	rest, ok := strings.CutPrefix(s, "tcp://")
	host, port, err := net.SplitHostPort(rest)
	if ok && err == nil {
		_, err = number(1, 65535)(port)
	}
	if !ok || err != nil || !isHost(host) {
		return "", complain("write tcp://HOST:PORT, for example tcp://10.0.0.1:5555", "%s is not an endpoint", quote(s))
	}
	if a, err := netip.ParseAddr(host); err == nil && a.IsUnspecified() {
		return "", complain("state one address of the broker's host", "nodes cannot connect to %s, which stands for every address", quote(s))
	}
	return s, nil
}

// address accepts an IPv4 or IPv6 address.
func address(s string) (string, error) {
	if _, err := netip.ParseAddr(s); err != nil {
		return "", complain("write an IPv4 or IPv6 address", "%s is not an address", quote(s))
	}
	return s, nil
}

func host(s string) (string, error) {
	if !isHost(s) {
		return "", complain("write an IPv4 or IPv6 address or a host name", "%s is neither an address nor a host name", quote(s))
	}
	return s, nil
}

func absolutePath(s string) (string, error) {
	if !filepath.IsAbs(s) {
		return "", complain("write the whole path, beginning with /", "%s is not an absolute path", quote(s))
	}
	return s, nil
}

func words(s string) ([]string, error) {
	w, err := splitWords(s)
	if err != nil {
		return nil, complain("close the quotation mark, or write a backslash before one that is meant as such", "%s: %v", quote(s), err)
	}
	return w, nil
}

// networks accepts prefixes, separated by blanks or commas.
func networks(s string) ([]string, error) {
	nets := []string{}
	for _, f := range strings.FieldsFunc(s, func(r rune) bool { return isBlank(r) || r == ',' }) {
		p, err := netip.ParsePrefix(f)
		if err != nil {
			hint := "write networks like 10.0.0.0/8 2001:db8::/32"
			if a, err := netip.ParseAddr(f); err == nil {
				hint = fmt.Sprintf("write %s/%d for the one address", a, a.BitLen())
			}
			return nil, complain(hint, "%s is not a network", quote(f))
		}
		nets = append(nets, p.String())
	}
	return nets, nil
}

// userName accepts what can be the name of a user.
func userName(s string) (string, error) {
	if s[0] == '-' || strings.ContainsFunc(s, func(r rune) bool { return isBlank(r) || r == ':' || r == '/' }) {
		return "", complain("write the name of a user", "%s cannot be the name of a user", quote(s))
	}
	return s, nil
}
