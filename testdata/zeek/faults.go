package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// faults are what the ZEEK_STANDIN variables ask for.
type faults struct {
	when      string // a file; empty: always
	startTime time.Duration
	stopTime  time.Duration
	hangStart bool
	hangStop  bool
	stderr    string
	crash     *time.Duration // after RUNNING; 0: at once, before it
	exit      *time.Duration
	exitCode  int
	eats      int      // MB of memory, after RUNNING
	logRate   float64  // lines of conn.log a second
	drops     *float64 // share of the packets; nil: there are none
}

// faultVariables are the variables with the text that --help shows.
var faultVariables = []struct{ name, help string }{
	{"ZEEK_STANDIN_CRASH", "now, or seconds after RUNNING: die of SIGSEGV"},
	{"ZEEK_STANDIN_EXIT", "CODE or CODE@SECONDS after RUNNING: end with that status"},
	{"ZEEK_STANDIN_EATS", "MB of memory to use up, a second after RUNNING"},
	{"ZEEK_STANDIN_HANG", "start: never reach RUNNING; stop: ignore TERM and INT"},
	{"ZEEK_STANDIN_SLOW", "duration: the time a start takes (50ms)"},
	{"ZEEK_STANDIN_SLOW_STOP", "duration: the time between TERM and the end (0)"},
	{"ZEEK_STANDIN_STDERR", "text to print on stderr at the start"},
	{"ZEEK_STANDIN_LOG_RATE", "lines of conn.log a second, as a logger or with -i (1)"},
	{"ZEEK_STANDIN_DROPS", "percent: count 1000 packets a second, and drop so many of them"},
	{"ZEEK_STANDIN_WHEN", "file: the variables above count only while it exists"},
}

func readFaults(getenv func(string) string) (faults, error) {
	f := faults{when: getenv("ZEEK_STANDIN_WHEN"), startTime: 50 * time.Millisecond, logRate: 1}
	var err error
	invalid := func(name, value string) (faults, error) {
		return f, fmt.Errorf("%s: cannot understand %q", name, value)
	}
	if v := getenv("ZEEK_STANDIN_DROPS"); v != "" { // it counts whenever the file comes and goes
		percent, err := strconv.ParseFloat(v, 64)
		if err != nil || !(percent >= 0 && percent <= 100) {
			return invalid("ZEEK_STANDIN_DROPS", v)
		}
		f.drops = new(percent / 100)
	}
	if !f.apply() {
		return f, nil
	}
	f.stderr = getenv("ZEEK_STANDIN_STDERR")
	if v := getenv("ZEEK_STANDIN_SLOW"); v != "" {
		if f.startTime, err = time.ParseDuration(v); err != nil {
			return invalid("ZEEK_STANDIN_SLOW", v)
		}
	}
	if v := getenv("ZEEK_STANDIN_SLOW_STOP"); v != "" {
		if f.stopTime, err = time.ParseDuration(v); err != nil {
			return invalid("ZEEK_STANDIN_SLOW_STOP", v)
		}
	}
	if v := getenv("ZEEK_STANDIN_LOG_RATE"); v != "" {
		if f.logRate, err = strconv.ParseFloat(v, 64); err != nil || f.logRate < 0 || f.logRate > 1e6 {
			return invalid("ZEEK_STANDIN_LOG_RATE", v)
		}
	}
	if v := getenv("ZEEK_STANDIN_EATS"); v != "" {
		if f.eats, err = strconv.Atoi(v); err != nil || f.eats < 0 {
			return invalid("ZEEK_STANDIN_EATS", v)
		}
	}
	switch v := getenv("ZEEK_STANDIN_HANG"); v {
	case "":
	case "start":
		f.hangStart = true
	case "stop":
		f.hangStop = true
	default:
		return invalid("ZEEK_STANDIN_HANG", v)
	}
	if v := getenv("ZEEK_STANDIN_CRASH"); v != "" {
		if f.crash, err = after(v); err != nil {
			return invalid("ZEEK_STANDIN_CRASH", v)
		}
	}
	if v := getenv("ZEEK_STANDIN_EXIT"); v != "" {
		code, seconds, _ := strings.Cut(v, "@")
		if f.exitCode, err = strconv.Atoi(code); err != nil || f.exitCode < 0 || f.exitCode > 255 {
			return invalid("ZEEK_STANDIN_EXIT", v)
		}
		if f.exit, err = after(seconds); err != nil {
			return invalid("ZEEK_STANDIN_EXIT", v)
		}
	}
	return f, nil
}

// after reads a number of seconds; "now" and nothing are 0.
func after(s string) (*time.Duration, error) {
	d := time.Duration(0)
	if s != "" && s != "now" {
		seconds, err := strconv.ParseFloat(s, 64)
		if err != nil || seconds < 0 {
			return nil, fmt.Errorf("not a number of seconds: %q", s)
		}
		d = time.Duration(seconds * float64(time.Second))
	}
	return &d, nil
}

// apply says whether the variables count now.
func (f faults) apply() bool {
	if f.when == "" {
		return true
	}
	_, err := os.Stat(f.when)
	return err == nil
}

// atStart does what comes before anything is read: it may not return.
func (f faults) atStart(status statusFile) {
	if f.stderr != "" {
		fmt.Fprintln(os.Stderr, f.stderr)
	}
	if f.crash != nil && *f.crash == 0 {
		crash()
	}
	if f.exit != nil && *f.exit == 0 {
		status.set(stateTerminated)
		os.Exit(f.exitCode)
	}
}

// timer returns a channel that fires when a fault is due; nil and thus never for
// none.
func timer(d *time.Duration) <-chan time.Time {
	if d == nil {
		return nil
	}
	return time.After(*d)
}

// eat uses up memory: it is there only once it has been written to.
func eat(mb int) []byte {
	b := make([]byte, mb<<20)
	for i := 0; i < len(b); i += 4096 {
		b[i] = 1
	}
	return b
}
