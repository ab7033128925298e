package hooks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/google/renameio/v2"
	"golang.org/x/sync/errgroup"

	"github.com/zeekrec/zeekrec/reconciler/engine"
	"github.com/zeekrec/zeekrec/reconciler/engine/news"
)

// Bounds of a hook.
const (
	maxAttempts = 5
	maxQueue    = 100 // the oldest go first
	firstPause  = 2 * time.Second
	maxPause    = time.Minute
	// lastWords is how long a delivery that is under way may go on when zeekrec ends.
	lastWords = 3 * time.Second
)

// Sender tells hooks. Begin comes first, then Take and Run, which may be called from different goroutines.
type Sender struct {
	path   string
	hooks  []Hook
	env    []string
	log    *slog.Logger
	client *http.Client
	first  time.Duration // pause after the first attempt

	mu     sync.Mutex
	state  memory
	saving sync.Mutex // one writes at a time
	wake   map[string]chan struct{}
}

// memory is hooks.json.
type memory struct {
	Ledger news.Ledger       `json:"ledger"`
	Queues map[string]*queue `json:"queues"` // by hook
}

// queue is what a hook has not been told yet, oldest first.
type queue struct {
	News []news.News `json:"news"`
	// Attempts at the first of them, also those that were begun and cut short.
	Attempts int `json:"attempts,omitempty"`
}

// New returns a sender for a state folder. env is the environment of commands.
func New(dir string, hooks []Hook, env []string, log *slog.Logger) *Sender {
	s := &Sender{
		path: filepath.Join(dir, "hooks.json"), hooks: hooks, env: env, log: log, first: firstPause, wake: map[string]chan struct{}{},
		// A redirect is an answer that somebody has to look at: what is posted goes where the file says, or nowhere.
		client: &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}
	for _, h := range hooks {
		s.wake[h.Name] = make(chan struct{}, 1)
	}
	return s
}

// Begin reads what was told before, and catches up with the journal, whose newest record is last. The state folder has to be held. Without a
// file, as at the first time, everything up to last is old. What cannot be read is an error; the way out is to remove hooks.json.
func (s *Sender) Begin(last int64, history func(each func(engine.Record) error) error) error {
	b, err := os.ReadFile(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		s.state.Ledger.Seq, err = last, nil
	} else if err == nil {
		err = json.Unmarshal(b, &s.state)
	}
	if err != nil {
		return fmt.Errorf("cannot read what hooks were told in %s: %w (where it is damaged, remove it)", s.path, err)
	}
	before := s.state.Queues
	s.state.Queues = map[string]*queue{}
	for _, h := range s.hooks {
		s.state.Queues[h.Name] = &queue{}
		if q := before[h.Name]; q != nil {
			s.state.Queues[h.Name] = q
		}
	}
	if s.state.Ledger.Seq < last {
		err := history(func(r engine.Record) error {
			s.Take(&r)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return s.save()
}

// Take is told of records that are in the journal now, in their order. It writes nothing and does not wait: what is not on disk yet when zeekrec is
// killed is in the journal.
func (s *Sender) Take(rs ...*engine.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range rs {
		n, ok := s.state.Ledger.Take(r)
		if !ok {
			continue
		}
		for i := range s.hooks {
			if h := &s.hooks[i]; slices.Contains(h.On, n.Kind) {
				s.enqueue(h.Name, n)
			}
		}
	}
}

func (s *Sender) enqueue(hook string, n news.News) {
	q := s.state.Queues[hook]
	q.News = append(q.News, n)
	if len(q.News) > maxQueue {
		s.log.Error("A hook is too slow, or does not answer: news are lost", "hook", hook, "id", q.News[1].ID)
		q.News = slices.Delete(q.News, 1, 2) // the first is on its way
	}
	select {
	case s.wake[hook] <- struct{}{}:
	default:
	}
}

// Run tells hooks until ctx ends, and then returns nil.
func (s *Sender) Run(ctx context.Context) error {
	var g errgroup.Group
	for i := range s.hooks {
		g.Go(func() error {
			s.serve(ctx, &s.hooks[i])
			return nil
		})
	}
	_ = g.Wait()
	s.note()
	return nil
}

// serve tells one hook what its queue has.
func (s *Sender) serve(ctx context.Context, h *Hook) {
	// What is on its way when zeekrec ends is not cut off at once: it would be told again.
	onTheWay, cut := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cut(nil)
	defer context.AfterFunc(ctx, func() {
		t := time.AfterFunc(lastWords, func() { cut(context.Cause(ctx)) })
		context.AfterFunc(onTheWay, func() { t.Stop() })
	})()
	for ctx.Err() == nil {
		n, attempt, ok := s.next(h.Name)
		if !ok {
			select {
			case <-ctx.Done():
			case <-s.wake[h.Name]:
			}
			continue
		}
		s.note()
		err := h.deliver(onTheWay, s.client, s.env, &n)
		_, final := errors.AsType[refusal](err)
		switch {
		case err == nil:
			s.log.Debug("A hook was told", "hook", h.Name, "event", n.Kind, "id", n.ID)
		case final || attempt >= maxAttempts:
			s.log.Error("A hook could not be told; it is not tried again", "hook", h.Name, "event", n.Kind, "id", n.ID, "attempts", attempt, "error", err)
		default:
			s.log.Warn("A hook could not be told; it is tried again", "hook", h.Name, "event", n.Kind, "id", n.ID, "attempt", attempt, "error", err)
			pause := time.NewTimer(min(s.first<<(attempt-1), maxPause))
			select {
			case <-ctx.Done():
			case <-pause.C:
			}
			pause.Stop()
			continue
		}
		s.done(h.Name)
		s.note()
	}
}

// next is the oldest news of a hook, and which attempt at it begins now.
func (s *Sender) next(hook string) (n news.News, attempt int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.state.Queues[hook]
	if len(q.News) == 0 {
		return n, 0, false
	}
	q.Attempts++
	return q.News[0], q.Attempts, true
}

// done takes the oldest news of a hook away.
func (s *Sender) done(hook string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.state.Queues[hook]
	q.News, q.Attempts = slices.Delete(q.News, 0, 1), 0
}

// note saves, and goes on where that fails: telling is more important than to know what was told.
func (s *Sender) note() {
	if err := s.save(); err != nil {
		s.log.Warn("Cannot keep what hooks were told; after a restart they may be told again", "error", err)
	}
}

func (s *Sender) save() error {
	s.saving.Lock()
	defer s.saving.Unlock()
	s.mu.Lock()
	b, err := json.Marshal(&s.state)
	s.mu.Unlock()
	if err == nil {
		err = renameio.WriteFile(s.path, append(b, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("cannot write what hooks were told: %w", err)
	}
	return nil
}
