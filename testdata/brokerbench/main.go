package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/zeekrec/zeekrec/testdata/brokerbench/native"
)

const zeekrecName = "zeekrec"

// errFailed is a criterion that does not hold, with --check.
var errFailed = errors.New("not every criterion holds")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	var err error
	if len(os.Args) > 1 && os.Args[1] == "native" {
		err = native.Run(ctx, os.Args[2:], os.Stdin, os.Stdout)
	} else {
		err = benchmark(ctx, os.Args[1:], os.Stdout, os.Stderr)
	}
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "brokerbench:", err)
		os.Exit(1)
	}
}

// settings of the command line.
type settings struct {
	bin, zeekrec, extra, json string
	quick, check, itself      bool
	only                      *regexp.Regexp
	rounds                    int
}

func readSettings(args []string, errs io.Writer) (settings, error) {
	var s settings
	f := flag.NewFlagSet("brokerbench", flag.ContinueOnError)
	f.SetOutput(errs)
	f.StringVar(&s.bin, "bin", "bin/bench", "folder of zmqproxy, zmqpeer and boxbench")
	f.StringVar(&s.zeekrec, "zeekrec", "bin/zeekrec", "zeekrec, whose broker is compared")
	f.StringVar(&s.extra, "zeekrec-args", "", "further arguments of zeekrec broker, separated by blanks")
	f.BoolVar(&s.itself, "against-itself", false, "compare libzmq's proxy with libzmq's proxy: all ratios should be 1, and what they are is noise")
	f.BoolVar(&s.quick, "quick", false, "fewer cases and shorter rounds, in less than 3 minutes")
	f.BoolVar(&s.check, "check", false, "exit with 1 when a criterion does not hold")
	f.IntVar(&s.rounds, "rounds", 0, "rounds of each broker in each case (default 3, with --quick 2)")
	f.StringVar(&s.json, "json", "", "file to write all rounds to")
	only := f.String("only", "", "regular expression: only cases whose name it matches, such as 'libzmq/null/2x3/'; also stall, storm, default, ciphers")
	if err := f.Parse(args); err != nil {
		return s, err
	}
	if f.NArg() > 0 {
		return s, fmt.Errorf("cannot use the argument %q", f.Arg(0))
	}
	if s.rounds == 0 {
		if s.rounds = 3; s.quick {
			s.rounds = 2
		}
	}
	var err error
	if s.only, err = regexp.Compile(*only); err != nil {
		return s, fmt.Errorf("cannot use --only: %w", err)
	}
	return s, nil
}

// benchmark runs everything that the arguments ask for.
func benchmark(ctx context.Context, args []string, out, errs io.Writer) (err error) {
	s, err := readSettings(args, errs)
	if err != nil {
		return err
	}
	b, err := newBench(ctx, s)
	if err != nil {
		return err
	}
	defer func() {
		if e := os.RemoveAll(b.folder); err == nil {
			err = e
		}
	}()
	r := &report{Begun: time.Now(), Quick: s.quick, Rounds: b.rounds, Window: b.window}
	writeIntroduction(out, b)
	if err := b.everything(ctx, s, r, out); err != nil {
		return err
	}
	r.Took = time.Since(r.Begun)
	r.Verdicts = r.verdicts()
	writeVerdicts(out, r.Verdicts)
	fmt.Fprintf(out, "\nIt took %v.\n", r.Took.Round(time.Second))
	if s.json != "" {
		text, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(s.json, append(text, '\n'), 0o644); err != nil {
			return err
		}
	}
	if s.check && failed(r.Verdicts) {
		return errFailed
	}
	return nil
}

func newBench(ctx context.Context, s settings) (*bench, error) {
	b := &bench{rounds: s.rounds, warm: 200 * time.Millisecond, window: 600 * time.Millisecond, spare: 60 * time.Second, budget: 11 * time.Minute,
		peer: filepath.Join(s.bin, "zmqpeer")}
	if s.quick {
		b.window, b.spare, b.budget = 400*time.Millisecond, 10*time.Second, 85*time.Second
	}
	proxy := filepath.Join(s.bin, "zmqproxy")
	b.libzmq = contender{name: "libzmq", program: proxy}
	b.zeekrec = contender{name: zeekrecName, program: s.zeekrec, args: append([]string{"broker", "--log-level", "error"}, strings.Fields(s.extra)...)}
	if s.itself {
		b.zeekrec.program, b.zeekrec.args = proxy, nil
	}
	for _, program := range []string{proxy, b.peer, b.zeekrec.program} {
		if _, err := os.Stat(program); err != nil {
			return nil, fmt.Errorf("%w (make bench-broker builds what is needed)", err)
		}
	}
	var err error
	if b.self, err = os.Executable(); err != nil {
		return nil, err
	}
	if b.keys, err = newKeys(ctx, b.peer); err != nil {
		return nil, err
	}
	b.boxbench = filepath.Join(s.bin, "boxbench")
	b.folder, err = os.MkdirTemp("", "brokerbench")
	return b, err
}

// everything measures what is asked for, and prints each part as it is known.
func (b *bench) everything(ctx context.Context, s settings, r *report, out io.Writer) error {
	if s.only.MatchString("ciphers") {
		var err error
		if r.Ciphers, err = b.ciphers(ctx); err != nil {
			return err
		}
		writeCiphers(out, r.Ciphers)
	}
	var cases []testCase
	times := &schedule{begun: time.Now(), budget: b.budget}
	for _, c := range allCases() {
		if (!s.quick || c.quick) && s.only.MatchString(c.String()) {
			cases = append(cases, c)
			times.total += c.weight()
		}
	}
	for _, c := range cases {
		one, err := b.run(ctx, c, times)
		if err != nil {
			return err
		}
		one.write(out)
		r.Results = append(r.Results, one)
	}
	if s.only.MatchString("default") {
		for _, shape := range [][2]int{{1, 1}, {2, 3}} {
			d, err := b.defaults(ctx, testCase{Clients: libzmqClients, Pubs: shape[0], Subs: shape[1], Size: 100})
			if err != nil {
				return err
			}
			r.Defaults = append(r.Defaults, d)
		}
		writeDefaults(out, r.Defaults)
	}
	stall, storm := s.only.MatchString("stall"), s.only.MatchString("storm")
	if !stall && !storm {
		return nil
	}
	rate, err := b.moderate(ctx)
	if err != nil {
		return err
	}
	if stall {
		for _, load := range []int{rate, 0} {
			// What libzmq's proxy does needs no repetition.
			who := b.pair()
			if !s.quick {
				who = append(who, b.zeekrec, b.zeekrec)
			}
			for _, who := range who {
				one, err := b.stall(ctx, who, load)
				if err != nil {
					return err
				}
				r.Stalls = append(r.Stalls, one)
			}
		}
		writeStalls(out, r.Stalls)
	}
	if storm {
		mechanisms := []bool{false, true}
		if s.quick {
			mechanisms = mechanisms[:1]
		}
		for _, curve := range mechanisms {
			for range b.rounds {
				for _, who := range b.pair() {
					one, err := b.storm(ctx, who, curve, rate/4)
					if err != nil {
						return err
					}
					r.Storms = append(r.Storms, one)
				}
			}
		}
		writeStorms(out, r.Storms)
	}
	return nil
}

// moderate is half of the rate, in messages published per second, that both brokers deliver from 2 publishers to 3
// subscribers.
func (b *bench) moderate(ctx context.Context) (int, error) {
	c := testCase{Clients: libzmqClients, Pubs: 2, Subs: 3, Size: 500}
	rate := 0
	for _, who := range b.pair() {
		f, err := b.full(ctx, who, c, nil)
		if err != nil {
			return 0, err
		}
		if half := int(f.Rate) / c.Subs / 2; rate == 0 || half < rate {
			rate = half
		}
	}
	return rate, nil
}

func writeIntroduction(w io.Writer, b *bench) {
	fmt.Fprintf(w, "zeekrec's broker beside libzmq's proxy (XPUB_NODROP, XPUB_VERBOSER, 2 I/O threads), the same load in turn:\n"+
		"up to %d rounds each of %v. Values are medians of rounds (memory: the largest), ratios medians of each round's ratio.\n"+
		"Brokers and generators share %d processors: libzmq's clients limit what can be delivered. share is the broker's part of\n"+
		"all CPU time, foreign how many processors others kept busy: where that is not about 0, rates and latencies say little.\n"+
		"zeekrec runs with --policy block, which loses nothing, as NODROP does. Latencies are measured at a fixed rate, half of\n"+
		"what the slower broker delivers, or less where clients cannot keep up; never at saturation.\n",
		b.rounds, b.window, runtime.NumCPU())
	if b.zeekrec.program == b.libzmq.program {
		fmt.Fprintln(w, "What is called zeekrec is libzmq's proxy once more: what differs is noise.")
	}
}
