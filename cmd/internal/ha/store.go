package ha

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/zeekrec/zeekrec/reconciler/engine/journal"
)

// Config of a Store. All controllers have to have the same.
type Config struct {
	// Prefix of the names of everything in JetStream: letters, digits, - and _. Empty: "zeekrec".
	Prefix string
	// Replicas of everything, 1 or 3; 0: 1. What is there with fewer or more is changed when it is opened.
	Replicas int
	// Patience is how long an answer is waited for and asked for again, elections of the servers included; 0: 10 s.
	Patience time.Duration
	// RollAt is how many bytes of records follow a snapshot before the next; twice that much is kept. 0: journal.RollAt.
	RollAt int64
}

// Store is what the controllers share. Its methods may be called from several goroutines.
type Store struct {
	js  jetstream.JetStream
	cfg Config
}

var validPrefix = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`)

// New makes a Store on a connection, which stays the caller's. It should reconnect for ever. Nothing is sent yet.
func New(conn *nats.Conn, cfg Config) (*Store, error) {
	if cfg.Prefix == "" {
		cfg.Prefix = "zeekrec"
	}
	if !validPrefix.MatchString(cfg.Prefix) {
		return nil, fmt.Errorf("cannot share a state under the prefix %q: it may have letters, digits, - and _ alone", cfg.Prefix)
	}
	if cfg.Replicas == 0 {
		cfg.Replicas = 1
	}
	if cfg.Replicas != 1 && cfg.Replicas != 3 {
		return nil, fmt.Errorf("cannot share a state in %d replicas: there are 1 or 3", cfg.Replicas)
	}
	if cfg.Patience == 0 {
		cfg.Patience = 10 * time.Second
	}
	if cfg.RollAt == 0 {
		cfg.RollAt = journal.RollAt
	}
	js, err := jetstream.New(conn, jetstream.WithDefaultTimeout(cfg.Patience))
	if err != nil {
		return nil, fmt.Errorf("cannot use JetStream: %w", err)
	}
	return &Store{js: js, cfg: cfg}, nil
}

// name of a stream or a bucket.
func (s *Store) name(what string) string { return s.cfg.Prefix + "-" + what }

// stream opens a stream, which is made where it is missing.
func (s *Store) stream(ctx context.Context, c jetstream.StreamConfig) (st jetstream.Stream, err error) {
	c.Storage, c.Replicas, c.Discard, c.DenyDelete = jetstream.FileStorage, s.cfg.Replicas, jetstream.DiscardNew, true
	err = s.retry(ctx, func(ctx context.Context) error {
		st, err = s.js.Stream(ctx, c.Name)
		switch {
		case errors.Is(err, jetstream.ErrStreamNotFound):
			st, err = s.js.CreateStream(ctx, c)
		case err == nil:
			now := st.CachedInfo().Config
			if now.Replicas != c.Replicas || now.MaxAge != c.MaxAge || now.AllowDirect {
				st, err = s.js.UpdateStream(ctx, c)
			}
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot open %s in JetStream: %w", c.Name, err)
	}
	return st, nil
}

// bucket opens a key-value bucket. It is made as a stream, because its entries are to be read from the stream's leader: what any replica
// knows (AllowDirect, which the client turns on) may be old.
func (s *Store) bucket(ctx context.Context, what string, ttl time.Duration) (jetstream.KeyValue, error) {
	name := s.name(what)
	c := jetstream.StreamConfig{
		Name: "KV_" + name, Subjects: []string{"$KV." + name + ".>"}, MaxMsgsPerSubject: 1, AllowRollup: true, MaxAge: ttl,
	}
	if ttl > 0 {
		c.Duplicates = min(ttl, 2*time.Minute)
	}
	if _, err := s.stream(ctx, c); err != nil {
		return nil, err
	}
	var kv jetstream.KeyValue
	err := s.retry(ctx, func(ctx context.Context) (err error) {
		kv, err = s.js.KeyValue(ctx, name)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot open the bucket %s: %w", name, err)
	}
	return kv, nil
}

// retry repeats what may be repeated until it succeeds, for as long as Patience. What another try cannot change ends it.
func (s *Store) retry(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := s.patient(ctx)
	defer cancel()
	for {
		try, done := context.WithTimeoutCause(ctx, s.cfg.Patience/4, errNoAnswer)
		err := f(try)
		done()
		if err == nil || final(err) || !pause(ctx, s.cfg.Patience/40) {
			return err
		}
	}
}

// patient bounds a context by Patience.
func (s *Store) patient(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, s.cfg.Patience, errNoAnswer)
}

// pause waits, and says whether there is still time.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
