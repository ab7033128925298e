package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/desired/launch"
)

// A process has at its start the options that it is told then, as redefs. What it is told afterwards it finds in a file,
// and writes down what it has when it has taken that: launch.TuneFile and TuneAnswerFile.

// untold is said until the process was seen to have its options.
const untold = "is being told its options"

// tunePatience is how long a process is looked at often, and how long nothing is said of one that does not answer.
const tunePatience = 5 * time.Second

// tuneNews is how far a process has got with its options.
type tuneNews struct {
	from *tuner
	why  string // it has not taken them; empty: it has
}

// optionsHash is of what a resource says of options.
func optionsHash(r *desired.Resource) string {
	lines := slices.Sorted(slices.Values(r.Part(desired.PartOptions)))
	return fmt.Sprintf("%016x", xxhash.Sum64String(strings.Join(lines, "\n")))
}

// tunes reports whether the process can be told options.
func (u *unit) tunes() bool {
	return u.proc != nil && u.last != nil && u.last.Resource.Node != nil && u.last.Resource.Tunable != nil
}

// tunable are the names of options that can be changed while the process runs; nil: it cannot be told any.
func (r *runningRecord) tunable(told *toldRecord) []string {
	if r.Resource.Tunable == nil || told == nil {
		return r.Resource.Tunable
	}
	all := slices.Concat(r.Resource.Tunable, told.Resource.Tunable)
	slices.Sort(all)
	return append([]string{}, slices.Compact(all)...)
}

// tune has the process take the options that it was told last, where it was not seen to have them, until ctx ends. What
// comes of it is news.
func (u *unit) tune(ctx context.Context) {
	u.stopTuning()
	if !u.tunes() || u.told == nil || u.told.Resource.Node == nil {
		return
	}
	t := &tuner{unit: u, resource: u.told.Resource, options: optionsHash(&u.told.Resource), started: optionNames(&u.last.Resource)}
	if t.options == u.last.Tuned {
		return
	}
	u.untaken, u.tuner = untold, t
	within, cancel := context.WithCancel(ctx)
	u.endTuning = cancel
	u.talks.Go(func() { t.run(within) })
}

func (u *unit) stopTuning() {
	if u.untaken = ""; u.tuner != nil {
		u.endTuning()
		u.tuner = nil
	}
}

// tuneHeard takes the news.
func (u *unit) tuneHeard(n tuneNews) {
	if n.from != u.tuner {
		return // of another process, or of what it is no longer to have
	}
	if u.untaken = n.why; n.why != "" {
		u.log.Warn("options", "trouble", n.why)
		return
	}
	u.log.Info("has taken its options")
	u.last.Tuned = n.from.options
	u.saveLast()
}

// clearOptions makes the file of a process that is about to start: it has its options by redefs.
func (u *unit) clearOptions() error {
	if err := os.Remove(u.dir.tuneAnswer()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	content, _ := launch.TuneTable(nil)
	return putTable(u.dir.tune(), content, u.now())
}

// tuner has one process take its options.
type tuner struct {
	unit     *unit
	resource desired.Resource
	options  string   // its hash
	started  []string // names that the process has had since its start

	found    *launch.Found // what Zeek says of the values; nil: not asked yet
	texts    []launch.OptionText
	revision string
	written  time.Time
}

// run goes on until the process has them, or has refused them, or ctx ends.
func (t *tuner) run(ctx context.Context) {
	timings := t.unit.agent.cfg.Timings
	pause := time.NewTimer(0)
	defer pause.Stop()
	said := untold
	for {
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
		why, final := t.step(ctx)
		if ctx.Err() != nil {
			return
		}
		if why != said {
			said = why
			select {
			case t.unit.tuneNews <- tuneNews{t, why}:
			case <-ctx.Done():
				return
			}
		}
		switch {
		case final:
			return
		case t.found != nil && t.unit.now().Sub(t.written) < tunePatience:
			pause.Reset(timings.Poll)
		default:
			pause.Reset(timings.Tick)
		}
	}
}

// step does what is to be done next, and says why the process has not taken the options; final: nothing more is to be done.
func (t *tuner) step(ctx context.Context) (why string, final bool) {
	if t.found == nil {
		if err := t.tell(ctx); err != nil {
			return "cannot tell it its options: " + err.Error(), false
		}
	}
	b, err := os.ReadFile(t.unit.dir.tuneAnswer())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "cannot see its options: " + err.Error(), false
	}
	var got launch.Tuned
	if err == nil {
		if got, err = launch.ReadTuned(b); err != nil {
			return err.Error(), false
		}
	}
	if got.Revision != t.revision {
		if t.unit.now().Sub(t.written) < tunePatience {
			return untold, false
		}
		return "it has not taken its options since " + t.written.Local().Format(time.TimeOnly), false
	}
	return t.refusal(got), true
}

// tell writes the file: all that was ever in it since the process began, and what it is to have now. What is in the
// configuration no more is to be what a fresh start would make it.
func (t *tuner) tell(ctx context.Context) error {
	f, _, err := t.unit.agent.probe(ctx, &t.resource)
	if err != nil {
		return err
	}
	old, err := os.ReadFile(t.unit.dir.tune())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	names := slices.Concat(launch.TuneNames(old), t.started, optionNames(&t.resource))
	slices.Sort(names)
	if t.texts, err = tuneTexts(&f, slices.Compact(names)); err != nil {
		return err
	}
	content, revision := launch.TuneTable(t.texts)
	if err := putTable(t.unit.dir.tune(), content, t.unit.now()); err != nil {
		return err
	}
	t.found, t.revision, t.written = &f, revision, t.unit.now()
	return nil
}

// refusal compares what the process has with what it is to have.
func (t *tuner) refusal(got launch.Tuned) string {
	var wrong []string
	for _, o := range t.texts {
		typ, want, _ := t.found.Value(o.Name)
		has, known := got.Values[o.Name]
		switch {
		case slices.Contains(got.Refused, o.Name), !known:
			wrong = append(wrong, o.Name)
		case !launch.SameValue(typ, has, want):
			wrong = append(wrong, o.Name+" (a handler of it has other ideas)")
		}
	}
	if len(wrong) == 0 {
		return ""
	}
	return "it does not take " + strings.Join(wrong, ", ") + "; zeekrec restart lets it begin with that"
}
