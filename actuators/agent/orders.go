package agent

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/observed"
)

// decision is what becomes of an order.
type decision struct {
	// done: the order was carried out before, or asks for what is so already. Nothing is to be written.
	done bool
	// then is the trigger for the machine; empty: only the record changes.
	then trigger
	// forget: told is removed instead of written.
	forget bool
	// hold is what told says of holding.
	hold string
}

// situation is what an order is judged against.
type situation struct {
	told    *toldRecord
	running *runningRecord // of the last start; nil for none
	phase   phase
	// renewing: it is being stopped to be started afresh.
	renewing bool
}

func (s *situation) toldID() string {
	if s.told == nil {
		return ""
	}
	return s.told.Resource.ID
}

func refuse(format string, args ...any) error {
	return &observed.Refused{Why: fmt.Sprintf(format, args...)}
}

// judge decides on an order, and changes nothing. Orders may be lost, late or repeated: what has been
// done already is a success, what was planned against another spec is refused (decisions 4).
func judge(o *desired.Order, instance string, s *situation, now time.Time) (decision, error) {
	r := &o.Resource
	if r.Instance != "" && r.Instance != instance {
		return decision{}, refuse("%s belongs to instance %s, and this is %s", r.Key(), r.Instance, instance)
	}
	if !o.Deadline.IsZero() && now.After(o.Deadline) {
		return decision{}, refuse("the order came too late: its deadline was %s", o.Deadline.Format(time.RFC3339))
	}
	if o.Verb != desired.Stop && !known(r) {
		return decision{}, fmt.Errorf("cannot %s %s: this agent does not know how to run a resource of type %q", o.Verb, r.Key(), r.Type)
	}
	switch o.Verb {
	case desired.Start:
		return judgeStart(o, s)
	case desired.Stop:
		return judgeStop(o, s)
	case desired.Restart:
		return judgeRestart(o, s)
	case desired.Update:
		return judgeUpdate(o, s)
	}
	return decision{}, fmt.Errorf("cannot carry out an order of the kind %q", o.Verb)
}

// known reports whether a resource is one that agents run, and says how.
func known(r *desired.Resource) bool {
	switch r.Type {
	case desired.TypeNode:
		return r.Node != nil && r.Broker == nil && r.Archiver == nil
	case desired.TypeBroker:
		return r.Broker != nil && r.Node == nil && r.Archiver == nil
	case desired.TypeArchiver:
		return r.Archiver != nil && r.Node == nil && r.Broker == nil
	}
	return false
}

// expected checks the precondition that every order carries.
func expected(o *desired.Order, s *situation) error {
	if s.toldID() == o.Expect {
		return nil
	}
	name := func(id string) string {
		if id == "" {
			return "nothing"
		}
		return id
	}
	return refuse("%s was told %s, and the order expects %s", o.Resource.Key(), name(s.toldID()), name(o.Expect))
}

func judgeStart(o *desired.Order, s *situation) (decision, error) {
	if s.told != nil && s.told.Hold == "" && s.told.Resource.ID == o.Resource.ID {
		switch {
		case s.phase == starting, s.phase == running, s.phase == backoff, s.renewing:
			return decision{done: true}, nil
		}
		return decision{then: run}, nil // failed: an order is a reason to try again
	}
	if err := expected(o, s); err != nil {
		return decision{}, err
	}
	if (s.phase == starting || s.phase == running) && s.running != nil {
		if diff := differing(&s.running.Resource, &o.Resource); diff != "" {
			return decision{}, refuse("%s runs already, with another %s: a restart is due, not a start", o.Resource.Key(), diff)
		}
	}
	return decision{then: run}, nil
}

func judgeStop(o *desired.Order, s *situation) (decision, error) {
	busy := s.phase == starting || s.phase == running || s.renewing
	switch {
	case busy:
	case s.told == nil && o.Hold == "":
		return decision{done: true}, nil // stopped before, whatever was expected
	case s.told != nil && o.Hold != "" && s.told.Hold == o.Hold:
		return decision{done: true}, nil
	}
	if err := expected(o, s); err != nil {
		return decision{}, err
	}
	return decision{then: halt, forget: o.Hold == "", hold: o.Hold}, nil
}

func judgeRestart(o *desired.Order, s *situation) (decision, error) {
	if s.told != nil && s.told.Hold != "" {
		return decision{}, refuse("%s is held stopped: %s", o.Resource.Key(), s.told.Hold)
	}
	if s.toldID() == o.Resource.ID {
		fresh := s.running != nil && s.running.Resource.ID == o.Resource.ID && (s.phase == starting || s.phase == running)
		switch {
		case s.renewing,
			fresh && o.Incarnation != 0 && s.running.Incarnation > o.Incarnation:
			return decision{done: true}, nil
		case o.Expect != o.Resource.ID: // the same order was accepted before
			done := fresh || s.phase == starting || s.phase == backoff
			if done {
				return decision{done: true}, nil
			}
			return decision{then: again}, nil
		}
	}
	if err := expected(o, s); err != nil {
		return decision{}, err
	}
	return decision{then: again}, nil
}

func judgeUpdate(o *desired.Order, s *situation) (decision, error) {
	if s.toldID() == o.Resource.ID {
		return decision{done: true}, nil
	}
	if err := expected(o, s); err != nil {
		return decision{}, err
	}
	if s.phase.alive() && s.running != nil {
		// A safety net under the plan: an update never leaves a process behind that differs.
		if diff := differing(&s.running.Resource, &o.Resource); diff != "" {
			return decision{}, refuse("%s runs with another %s: that takes a restart, not an update", o.Resource.Key(), diff)
		}
	}
	d := decision{}
	if s.told != nil {
		d.hold = s.told.Hold
	} else {
		d.then = run // an orphan that is told again; it goes on undisturbed
	}
	return d, nil
}

// differing names the parts that have to be equal and are not; empty for none.
func differing(was, is *desired.Resource) string {
	relation := map[string]desired.Relation{}
	for _, p := range was.Parts {
		relation[p.Field] = p.Relation
	}
	for _, p := range is.Parts {
		relation[p.Field] = p.Relation // the newer one knows best
	}
	var out []string
	for field, rel := range relation {
		from, to := was.Part(field), is.Part(field)
		if rel == desired.Tune && was.Tunable != nil {
			from, _ = desired.SplitOptions(from, was.Tunable, is.Tunable)
			to, _ = desired.SplitOptions(to, was.Tunable, is.Tunable)
		}
		if (rel == desired.Equal || rel == desired.Tune) && !slices.Equal(from, to) {
			out = append(out, field)
		}
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}
