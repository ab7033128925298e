package ha

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/zeekrec/zeekrec/reconciler/engine"
)

// The last part of the subjects in the journal's stream: what a message is.
const (
	kindRecords  = "records"  // []*engine.Record that were appended together
	kindSnapshot = "snapshot" // a snapshot: what all records before add up to
	kindTerm     = "term"     // an opening: a controller writes from here on
	kindImport   = "import"   // records that are in the snapshot that follows, for the history alone
	kindPart     = "part"     // a piece of the message after it that was too large
)

// snapshot is a state, and the newest term that opened the journal before.
type snapshot struct {
	Epoch uint64        `json:"epoch"`
	State *engine.State `json:"state"`
	// Import is the sum of an imported state, "" for any other.
	Import string `json:"import,omitempty"`
}

// opening is who writes from here on.
type opening struct {
	Epoch uint64 `json:"epoch"`
	By    string `json:"by"`
}

// Journal is open for appending by one controller, until another opens it. Its methods may be called from several goroutines.
type Journal struct {
	store   *Store
	log     jetstream.Stream
	objects jetstream.Stream
	id      string // of this opening, in what it writes
	epoch   uint64

	mu      sync.Mutex
	written int64 // messages, to name them by
	last    uint64
	broken  error // *Broken or *Deposed: why nothing is appended any more
	state   *engine.State
	base    int64 // bytes of the last snapshot
	size    int64 // and of the records since
	rollAt  int64
	rollErr error
	// snapshot is the first message of the last snapshot, 0 for none. What is before purge is to be removed, 0: nothing.
	snapshot, purge uint64
	// horizon is the last message with a piece of an object when the journal was opened, and own that of each object put since: Collect
	// removes nothing after them, for it would be another's.
	horizon uint64
	own     map[string]uint64
}

func (s *Store) subject(kind string) string { return s.cfg.Prefix + ".journal." + kind }

func (s *Store) openLog(ctx context.Context) (jetstream.Stream, error) {
	return s.stream(ctx, jetstream.StreamConfig{Name: s.name("journal"), Subjects: []string{s.subject(">")}})
}

// Open reads the journal, returns the state that it adds up to, and shuts it for all who opened it before. epoch is the number of the term in which
// it is opened, by who opens it. The streams are made where they are missing. Where a later term has opened it, the error is *Deposed.
func (s *Store) Open(ctx context.Context, epoch uint64, by string) (*Journal, *engine.State, error) {
	j, err := s.open(ctx)
	if err != nil {
		return nil, nil, err
	}
	j.epoch = epoch
	mark, err := json.Marshal(opening{Epoch: epoch, By: by})
	if err != nil {
		return nil, nil, err
	}
	f := &folder{state: engine.NewState()}
	for {
		info, err := s.info(ctx, j.log)
		if err != nil {
			return nil, nil, fmt.Errorf("cannot read the journal: %w", err)
		}
		if err := s.fold(ctx, j.log, f, info.State.LastSeq); err != nil {
			return nil, nil, err
		}
		if f.epoch > epoch {
			return nil, nil, &Deposed{Epoch: f.epoch}
		}
		j.last = f.last
		// Another may have appended meanwhile, which is read then: it does not know yet that its time is over.
		switch _, err := j.write(ctx, kindTerm, mark); {
		case err == nil:
			j.state, j.size, j.base, j.snapshot = f.state, f.size, f.base, f.snapshot
			j.rollAt = j.limit()
			return j, clone(f.state), nil
		case j.broken == nil || !isDeposed(err):
			return nil, nil, fmt.Errorf("cannot open the journal: %w", err)
		}
		j.broken = nil
	}
}

// open opens the streams. The end of the objects is read before the journal is shut for others: what comes after it may be
// a later controller's.
func (s *Store) open(ctx context.Context) (j *Journal, err error) {
	j = &Journal{store: s, id: rand.Text(), own: map[string]uint64{}}
	if j.log, err = s.openLog(ctx); err != nil {
		return nil, err
	}
	if j.objects, err = s.openObjects(ctx); err != nil {
		return nil, err
	}
	info, err := s.info(ctx, j.objects)
	if err != nil {
		return nil, fmt.Errorf("cannot read the accepted revisions: %w", err)
	}
	j.horizon = info.State.LastSeq
	return j, nil
}

func (s *Store) info(ctx context.Context, st jetstream.Stream, opts ...jetstream.StreamInfoOpt) (info *jetstream.StreamInfo, err error) {
	err = s.retry(ctx, func(ctx context.Context) error {
		info, err = st.Info(ctx, opts...)
		return err
	})
	return info, err
}

// Append writes records. They are numbered here, in place. Where it returns nil all of them are there; where it returns an error none is, unless
// it is a *Broken, after which nothing is appended any more. After a *Deposed neither.
func (j *Journal) Append(ctx context.Context, rs ...*engine.Record) error {
	if len(rs) == 0 {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.broken != nil {
		return j.broken
	}
	if ctx.Err() != nil {
		return fmt.Errorf("cannot write the journal: %w", context.Cause(ctx))
	}
	ctx = context.WithoutCancel(ctx) // what is sent has to be followed up to its end, within Patience
	seq := j.state.Seq
	for _, r := range rs {
		seq++
		r.Seq = seq
	}
	b, err := json.Marshal(rs)
	if err != nil {
		return fmt.Errorf("cannot write the journal: %w", err)
	}
	if _, err := j.write(ctx, kindRecords, b); err != nil {
		return err
	}
	j.size += int64(len(b))
	for _, r := range rs {
		j.state.Apply(*r)
	}
	if j.size > j.rollAt {
		j.roll(ctx)
	}
	return nil
}

// rollPause is how much is appended after a roll that failed before the next is tried, as in package journal.
const rollPause = 1 << 20

// limit is how many bytes of records follow a snapshot before the next; a large state must not be written anew with every append.
func (j *Journal) limit() int64 { return max(j.store.cfg.RollAt, 2*j.base) }

// roll writes a snapshot, and removes what is before the last one: from there on all is kept. A removal that comes late, even by one who
// was deposed, removes nothing that anybody reads from.
func (j *Journal) roll(ctx context.Context) {
	var err error
	if j.size > j.limit() {
		err = j.snap(ctx)
	}
	if err == nil && j.purge > 0 {
		err = j.store.retry(ctx, func(ctx context.Context) error { return j.log.Purge(ctx, jetstream.WithPurgeSequence(j.purge)) })
	}
	if err != nil {
		j.rollErr = fmt.Errorf("cannot roll the journal: %w", err)
		j.rollAt = j.size + rollPause
		return
	}
	j.purge, j.rollErr, j.rollAt = 0, nil, j.limit()
}

// snap writes a snapshot.
func (j *Journal) snap(ctx context.Context) error {
	b, err := json.Marshal(snapshot{Epoch: j.epoch, State: j.state})
	if err != nil {
		return err
	}
	first, err := j.write(ctx, kindSnapshot, b)
	if err != nil {
		return err
	}
	j.purge, j.snapshot = j.snapshot, first
	j.size, j.base = 0, int64(len(b))
	return nil
}

// RollError is why the journal grows beyond its bound; nil when it does not. Nothing is lost by it.
func (j *Journal) RollError() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.rollErr
}

// History calls each with every record that is still there, oldest first and once, until it returns an error.
func (j *Journal) History(ctx context.Context, each func(engine.Record) error) error {
	return j.store.History(ctx, each)
}

func clone(s *engine.State) *engine.State {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // a State is made of plain values
	}
	c := &engine.State{}
	if err := json.Unmarshal(b, c); err != nil {
		panic(err)
	}
	c.Init()
	return c
}
