package ha

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// LeaseConfig says who campaigns, and how.
type LeaseConfig struct {
	// Name of this controller, for others to read.
	Name string
	// TTL is after how long a lease that is not renewed may be another's, 0: 12 s. All controllers have to have the same TTL and Margin.
	TTL time.Duration
	// Margin is how long before that its holder stops, 0: 2 s.
	Margin time.Duration
	// Floor is an epoch that every term's is above: the last one of a controller that was alone.
	Floor uint64
}

// Lease is what one controller at a time holds. Its methods may be called from several goroutines.
type Lease struct {
	cfg           LeaseConfig
	lease, epochs jetstream.KeyValue
	now           func() time.Time
}

// The keys in the two buckets.
const (
	leaseKey = "leader"
	epochKey = "epoch"
)

// holding is the entry of who leads. It has no holder where the last one gave it up.
type holding struct {
	Holder string    `json:"holder,omitempty"`
	Epoch  uint64    `json:"epoch"`
	Since  time.Time `json:"since"`        // by the holder's clock, for people
	ID     string    `json:"id,omitempty"` // of the attempt, to know one's own writing by
}

// counter is the entry of the newest term. Over says that its holder gave it up, so that nobody has to wait for its end.
type counter struct {
	Epoch uint64 `json:"epoch"`
	ID    string `json:"id"`
	Over  bool   `json:"over,omitempty"`
}

// Lease opens the lease, whose buckets are made where they are missing.
func (s *Store) Lease(ctx context.Context, cfg LeaseConfig) (*Lease, error) {
	if cfg.TTL == 0 {
		cfg.TTL = 12 * time.Second
	}
	if cfg.Margin == 0 {
		cfg.Margin = 2 * time.Second
	}
	if cfg.Name == "" {
		return nil, errors.New("cannot campaign for the lead without a name")
	}
	if cfg.Margin >= cfg.TTL/2 {
		return nil, fmt.Errorf("cannot keep a lease of %v with a margin of %v: the margin has to be less than half of it", cfg.TTL, cfg.Margin)
	}
	l := &Lease{cfg: cfg, now: time.Now}
	var err error
	if l.lease, err = s.bucket(ctx, "lease", cfg.TTL); err != nil {
		return nil, err
	}
	if l.epochs, err = s.bucket(ctx, "epochs", 0); err != nil {
		return nil, err
	}
	return l, nil
}

// Leader says who leads, and since when by its clock; an empty name: nobody. For people: it may be over by now.
func (l *Lease) Leader(ctx context.Context) (name string, since time.Time, err error) {
	v, err := l.look(ctx)
	if err != nil {
		return "", time.Time{}, fmt.Errorf("cannot find out who leads: %w", err)
	}
	return v.Holder, v.Since, nil
}

// view is what is known of the lease.
type view struct {
	holding
	rev uint64 // of the entry; 0: there is none
}

func (l *Lease) look(ctx context.Context) (view, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, l.cfg.TTL/3, errNoAnswer)
	defer cancel()
	e, err := l.lease.Get(ctx, leaseKey)
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return view{}, nil
	case err != nil:
		return view{}, err
	}
	v := view{rev: e.Revision()}
	if err := json.Unmarshal(e.Value(), &v.holding); err != nil {
		return view{}, fmt.Errorf("the lease cannot be understood: %w", err)
	}
	return v, nil
}

// count reads the counter and the revision of its entry; zero where no term ever was.
func (l *Lease) count(ctx context.Context) (c counter, rev uint64, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, l.cfg.TTL/3, errNoAnswer)
	defer cancel()
	e, err := l.epochs.Get(ctx, epochKey)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return counter{Over: true}, 0, nil
	}
	if err != nil {
		return counter{}, 0, err
	}
	if err := json.Unmarshal(e.Value(), &c); err != nil {
		return counter{}, 0, fmt.Errorf("the epoch cannot be understood: %w", err)
	}
	return c, e.Revision(), nil
}

// put writes an entry in the place of the revision that was read.
func put(ctx context.Context, kv jetstream.KeyValue, key string, value any, rev uint64, within time.Duration) (uint64, error) {
	b, err := json.Marshal(value)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, within, errNoAnswer)
	defer cancel()
	return kv.Update(ctx, key, b, rev)
}

// stale is after how long without a sign of life a candidate takes a lease: after its holder has stopped, and before the server clears it away.
func (l *Lease) stale() time.Duration { return l.cfg.TTL - l.cfg.Margin/2 }

// held is how long a holder goes on without having renewed.
func (l *Lease) held() time.Duration { return l.cfg.TTL - l.cfg.Margin }

// candidate is a campaign.
type candidate struct {
	*Lease
	seen  view
	alive time.Time // when the lease last showed a sign of life, or the campaign began
	mine  holding   // the last attempt, which may have got through without an answer
	began time.Time // and when it was made
}

// Campaign waits until this controller leads, and returns its term. ctx bounds the wait alone; who gets a term has to end it with Resign.
// Trouble with JetStream only prolongs the wait; it is in the error when ctx ends.
func (l *Lease) Campaign(ctx context.Context) (*Term, error) {
	c := &candidate{Lease: l, alive: l.now()}
	wctx, stop := context.WithCancel(ctx)
	defer stop()
	var watch jetstream.KeyWatcher
	var last error
	for ctx.Err() == nil {
		// A watch tells of a resignation at once. What it tells is not relied on: it only has the lease be looked at.
		if watch == nil {
			watch, _ = l.lease.Watch(wctx, leaseKey, jetstream.UpdatesOnly())
		}
		t, wait, err := c.step(ctx)
		if t != nil {
			if watch != nil {
				_ = watch.Stop()
			}
			return t, nil
		}
		if err != nil {
			last = err
		}
		if watch == nil {
			pause(ctx, wait)
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case _, ok := <-watch.Updates():
			if !ok {
				watch = nil
				pause(ctx, l.cfg.TTL/20)
			}
		}
		timer.Stop()
	}
	if watch != nil {
		_ = watch.Stop()
	}
	if last != nil {
		return nil, fmt.Errorf("cannot become the leader: %w (%w)", context.Cause(ctx), last)
	}
	return nil, fmt.Errorf("cannot become the leader: %w", context.Cause(ctx))
}

// step looks at the lease once, and takes it where it is free. Where it does not get it, it says how long to wait for the next look.
func (c *candidate) step(ctx context.Context) (*Term, time.Duration, error) {
	v, err := c.look(ctx)
	if err != nil {
		return nil, c.cfg.TTL / 12, err
	}
	if v.rev > c.seen.rev {
		c.alive = c.now() // after the answer: not before it was written
	}
	c.seen = v
	if v.ID != "" && v.ID == c.mine.ID && c.now().Sub(c.began) < c.held() {
		return c.win(ctx, v.rev) // the answer to our attempt was lost
	}
	free := v.rev > 0 && v.Holder == ""
	if v.rev == 0 {
		n, _, err := c.count(ctx)
		if err != nil {
			return nil, c.cfg.TTL / 12, err
		}
		free = n.Over
	}
	if due := c.alive.Add(c.stale()).Sub(c.now()); !free && due > 0 {
		return nil, min(due, c.cfg.TTL/3), nil
	}
	return c.take(ctx)
}

// take writes the lease in the place of what was seen.
func (c *candidate) take(ctx context.Context) (*Term, time.Duration, error) {
	n, _, err := c.count(ctx)
	if err != nil {
		return nil, c.cfg.TTL / 12, err
	}
	c.began = c.now()
	c.mine = holding{Holder: c.cfg.Name, Epoch: max(n.Epoch, c.cfg.Floor) + 1, Since: c.began.UTC().Truncate(time.Millisecond), ID: rand.Text()}
	rev, err := put(ctx, c.lease, leaseKey, c.mine, c.seen.rev, c.cfg.TTL/6)
	if err != nil {
		if conflict(err) {
			err = nil // another was first
		}
		return nil, c.cfg.TTL / 100, err
	}
	return c.win(ctx, rev)
}

// win counts the epoch of a lease that was taken, and begins the term. Where another has counted it, the lease is given back: that term,
// or what was left of it, is not ours.
func (c *candidate) win(ctx context.Context, rev uint64) (*Term, time.Duration, error) {
	n, at, err := c.count(ctx)
	if err == nil && n.ID != c.mine.ID {
		if n.Epoch >= c.mine.Epoch {
			err = fmt.Errorf("epoch %d is another's", c.mine.Epoch)
		} else {
			at, err = put(ctx, c.epochs, epochKey, counter{Epoch: c.mine.Epoch, ID: c.mine.ID}, at, c.cfg.TTL/6)
		}
	}
	if err != nil && !refused(err) {
		// Perhaps it is counted: the next look finds the lease ours, and counts again.
		if n.Epoch < c.mine.Epoch {
			return nil, c.cfg.TTL / 100, err
		}
	}
	if err == nil && c.now().Sub(c.began) >= c.held() {
		err = errNoAnswer
	}
	if err != nil {
		c.mine = holding{}
		_, back := put(ctx, c.lease, leaseKey, holding{}, rev, c.cfg.TTL/6)
		return nil, c.cfg.TTL / 100, errors.Join(err, back)
	}
	return begin(ctx, c.Lease, c.mine, rev, at, c.began), 0, nil
}
