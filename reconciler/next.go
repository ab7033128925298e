package reconciler

import (
	"cmp"

	"github.com/zeekrec/zeekrec/desired"
)

// Progress is what a rollout has done and not yet seen through. The engine keeps it, by key of the
// resource, and keeps it across a revision that supersedes the running one.
type Progress struct {
	// InFlight are resources with an order on its way: sent, and its effect not seen yet. One leaves when the
	// plan has the action no longer, or when a report that is younger than the order's deadline still
	// shows no effect: before that the agent may yet begin with it.
	InFlight map[string]Acted
	// Unsettled are resources that were acted on and are not yet, or not for long enough, what they
	// should be: healthy, or stopped (but healthy where the stop Costs: it was the first half of a move).
	// One leaves when it is, when it is no longer wanted and gone, or when the engine gives it up. Where the
	// plan still has the action, being healthy counts only after the order's deadline: before that
	// the agent may yet take the healthy process down.
	Unsettled map[string]Acted
}

// Acted is what Next has to know of an action that was sent.
type Acted struct {
	Role   desired.Role
	Costs  bool
	Shares string
}

// Sent records that an action is on its way.
func (p *Progress) Sent(a *Action) {
	if p.InFlight == nil {
		p.InFlight = map[string]Acted{}
	}
	// What was taken down before and never settled is still down on our account.
	was := p.Unsettled[a.Resource]
	p.InFlight[a.Resource] = Acted{Role: a.Role, Costs: a.Costs || was.Costs, Shares: cmp.Or(a.Shares, was.Shares)}
}

// Seen records that the effect of what was sent shows in a report.
func (p *Progress) Seen(key string) {
	a, ok := p.InFlight[key]
	if !ok {
		return
	}
	p.InFlight = dropped(p.InFlight, key)
	if p.Unsettled == nil {
		p.Unsettled = map[string]Acted{}
	}
	p.Unsettled[key] = a
}

// Lost records that what was sent had no effect, and will have none any more.
func (p *Progress) Lost(key string) { p.InFlight = dropped(p.InFlight, key) }

// Settled records that a resource is what it should be, or was given up.
func (p *Progress) Settled(key string) { p.Unsettled = dropped(p.Unsettled, key) }

// dropped is m without a key. The last key takes the map with it, which has room for all that it ever had: a controller keeps the
// progress of every cluster for as long as it runs.
func dropped(m map[string]Acted, key string) map[string]Acted {
	delete(m, key)
	if len(m) == 0 {
		return nil
	}
	return m
}

// Next returns the actions that may be sent now, in the plan's order. They are those of the plan's first
// wave, and there are none while
//
//   - a guard holds the plan, or an order is on its way;
//   - something acted on before is not settled, unless the plan acts on it again: then nothing is to be
//     learned from waiting for it.
//
// Independent of the waves, a restart waits while as many of its role as Limits allow, or one with which it shares the packets of an
// interface, have been taken down by this rollout, or the one before, and are not settled. Where that leaves nothing of the first
// wave, what brings those back goes ahead of its own wave. A wave of which a part could not be sent
// is completed when what was sent has settled.
func Next(p *ClusterPlan, pr Progress) []Action {
	if p.Held != nil || len(p.Actions) == 0 || len(pr.InFlight) > 0 {
		return nil
	}
	down, sharing := map[desired.Role]int{}, map[string]bool{}
	if len(pr.Unsettled) > 0 {
		again := make(map[string]bool, len(p.Actions)) // acted on again: does it come back?
		for i := range p.Actions {
			a := &p.Actions[i]
			again[a.Resource] = again[a.Resource] || a.Kind != desired.Stop
		}
		for key, a := range pr.Unsettled {
			back, planned := again[key]
			if !planned {
				return nil
			}
			if a.Costs && back {
				down[a.Role]++
				sharing[a.Shares] = true
			}
		}
	}
	var out []Action
	for i := range p.Actions {
		a := &p.Actions[i]
		if a.Wave != p.Actions[0].Wave {
			break
		}
		if prior, mine := pr.Unsettled[a.Resource]; a.Costs && (!mine || !prior.Costs) {
			if down[a.Role] >= max(1, p.Limits[a.Role]) || a.Shares != "" && sharing[a.Shares] {
				continue
			}
			down[a.Role]++
			sharing[a.Shares] = true
		}
		out = append(out, *a)
	}
	if len(out) == 0 {
		return bringBack(p, pr)
	}
	return out
}

// bringBack returns what starts again, from any wave, what was taken down before. It is asked for where
// that uses up max_unavailable: without it, the first wave would wait for a later one.
func bringBack(p *ClusterPlan, pr Progress) []Action {
	var out []Action
	for i := range p.Actions {
		a := &p.Actions[i]
		if pr.Unsettled[a.Resource].Costs && !a.Costs && !a.Follows && a.Kind != desired.Stop {
			out = append(out, *a)
		}
	}
	return out
}
