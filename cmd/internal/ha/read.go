package ha

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/zeekrec/zeekrec/reconciler/engine"
)

// message is one of the journal, with its pieces put together.
type message struct {
	seq, first uint64 // its place, and that of its first piece
	kind       string
	data       []byte
}

// assembler puts messages together from their pieces.
type assembler struct{ parts [][]byte }

// add takes the next message of the stream; nil: it is a piece.
func (a *assembler) add(seq uint64, kind string, h nats.Header, data []byte) (*message, error) {
	if kind == kindPart {
		a.parts = append(a.parts, data)
		return nil, nil
	}
	parts := a.parts
	a.parts = nil
	m := &message{seq: seq, first: seq, kind: kind, data: data}
	n := 0
	if v := h.Get(headerParts); v != "" {
		var err error
		if n, err = strconv.Atoi(v); err != nil || n < 1 || n > len(parts) {
			return nil, fmt.Errorf("it is to have %q pieces, and %d are there", v, len(parts))
		}
		// Those before them are of a message that never was.
		m.data = bytes.Join(append(parts[len(parts)-n:], data), nil)
		m.first -= uint64(n)
	}
	return m, nil
}

// read calls each with the messages from one place to another, in their order. What is missing is an error; with purged, nothing is said of what is
// missing at the beginning.
func (s *Store) read(ctx context.Context, st jetstream.Stream, from, to uint64, purged bool, each func(*message) error) error {
	var a assembler
	next := from
	take := func(m jetstream.Msg) error {
		meta, err := m.Metadata()
		if err != nil {
			return err
		}
		switch at := meta.Sequence.Stream; {
		case at < next:
			return nil
		case at > next && !purged:
			return fmt.Errorf("message %d is missing", next)
		default:
			next, purged = at, false
		}
		if next > to {
			return nil
		}
		got, err := a.add(next, strings.TrimPrefix(m.Subject(), s.subject("")), m.Headers(), m.Data())
		if err == nil && got != nil {
			err = each(got)
		}
		if err != nil {
			return fmt.Errorf("message %d: %w", next, err)
		}
		next++
		return nil
	}
	for next <= to {
		before := next
		err := s.retry(ctx, func(ctx context.Context) error {
			bad, err := consume(ctx, st, next, func(m jetstream.Msg) (bool, error) { err := take(m); return next <= to, err })
			if bad != nil {
				return &stop{bad}
			}
			if next > before {
				return nil // as far as it came; what is left is asked for with new patience
			}
			return err
		})
		if e, ok := errors.AsType[*stop](err); ok {
			return fmt.Errorf("cannot read the journal: %w (mend the stream %s; nothing was started or stopped)", e.error, s.name("journal"))
		}
		if err != nil {
			return fmt.Errorf("cannot read the journal: %w", err)
		}
	}
	return nil
}

// stop is what another try cannot change.
type stop struct{ error }

// Unwrap gives what it is.
func (s *stop) Unwrap() error { return s.error }

// consume hands messages from a place on to take until it wants no more. bad is what take said, err why no more came.
func consume(ctx context.Context, st jetstream.Stream, from uint64, take func(jetstream.Msg) (more bool, err error)) (bad, err error) {
	c, err := st.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: from})
	if err != nil {
		return nil, err
	}
	it, err := c.Messages(jetstream.PullMaxMessages(64))
	if err != nil {
		return nil, err
	}
	defer it.Stop()
	for {
		m, err := it.Next(jetstream.NextContext(ctx))
		if err != nil {
			return nil, err
		}
		if more, err := take(m); err != nil || !more {
			return err, nil
		}
	}
}

// folder adds messages up.
type folder struct {
	state    *engine.State
	last     uint64 // message that was read
	epoch    uint64 // of the newest opening
	snapshot uint64 // first message of the last snapshot
	base     int64  // its size
	size     int64  // of the records since
	imported int    // messages of an import that has not come to its end
	mark     string // of the imported snapshot
}

func (f *folder) add(m *message) error {
	f.last = m.seq
	if f.imported > 0 && m.kind != kindImport && m.kind != kindSnapshot {
		return errImportCut
	}
	switch m.kind {
	case kindSnapshot:
		s, err := decode[snapshot](m.data)
		if err == nil && s.State == nil {
			err = errors.New("it has no state")
		}
		if err != nil {
			return err
		}
		s.State.Init()
		*f = folder{state: s.State, last: m.seq, epoch: max(f.epoch, s.Epoch), snapshot: m.first, base: int64(len(m.data)), mark: s.Import}
	case kindRecords:
		rs, err := decode[[]engine.Record](m.data)
		if err != nil {
			return err
		}
		for _, r := range rs {
			f.state.Apply(r)
		}
		f.size += int64(len(m.data))
	case kindTerm:
		o, err := decode[opening](m.data)
		if err != nil {
			return err
		}
		f.epoch = max(f.epoch, o.Epoch)
	case kindImport:
		f.imported++
	default:
		return fmt.Errorf("nobody knows what %q is", m.kind)
	}
	return nil
}

// fold adds up what is there up to a message: from the last snapshot on, or from where an earlier fold ended.
func (s *Store) fold(ctx context.Context, log jetstream.Stream, f *folder, to uint64) error {
	from := f.last + 1
	if f.last == 0 {
		var err error
		if from, err = s.start(ctx, log); err != nil {
			return err
		}
		if from > to {
			return nil
		}
	}
	if err := s.read(ctx, log, from, to, false, f.add); err != nil {
		return err
	}
	f.last = max(f.last, to) // the last may be pieces of nothing
	if f.imported > 0 {
		return fmt.Errorf("cannot read the journal: %w", errImportCut)
	}
	return nil
}

// start is the place of the first piece of the last snapshot; where there is none, of the first message.
func (s *Store) start(ctx context.Context, log jetstream.Stream) (seq uint64, err error) {
	var m *jetstream.RawStreamMsg
	err = s.retry(ctx, func(ctx context.Context) error {
		m, err = log.GetLastMsgForSubject(ctx, s.subject(kindSnapshot))
		return err
	})
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		info, err := s.info(ctx, log)
		if err == nil && info.State.FirstSeq > 1 {
			err = fmt.Errorf("it begins with message %d, without a snapshot (mend the stream %s)", info.State.FirstSeq, s.name("journal"))
		}
		if err != nil {
			return 0, fmt.Errorf("cannot read the journal: %w", err)
		}
		return 1, nil
	case err != nil:
		return 0, fmt.Errorf("cannot read the journal: %w", err)
	}
	seq = m.Sequence
	if v := m.Header.Get(headerParts); v != "" {
		n, err := strconv.ParseUint(v, 10, 32)
		if err != nil || n >= seq {
			return 0, fmt.Errorf("cannot read the journal: message %d is to have %q pieces", seq, v)
		}
		seq -= n
	}
	return seq, nil
}

// Load returns the state that the journal adds up to, for a look from outside. Nothing is shut, and nothing made that is missing.
func (s *Store) Load(ctx context.Context) (*engine.State, error) {
	f, err := s.load(ctx)
	if err != nil {
		return nil, err
	}
	return f.state, nil
}

func (s *Store) load(ctx context.Context) (*folder, error) {
	f := &folder{state: engine.NewState()}
	log, info, err := s.look(ctx)
	if err != nil || log == nil {
		return f, err
	}
	return f, s.fold(ctx, log, f, info.State.LastSeq)
}

// look opens the journal's stream to read; nil where there is none.
func (s *Store) look(ctx context.Context) (log jetstream.Stream, info *jetstream.StreamInfo, err error) {
	err = s.retry(ctx, func(ctx context.Context) error {
		log, err = s.js.Stream(ctx, s.name("journal"))
		return err
	})
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("cannot read the journal: %w", err)
	}
	return log, log.CachedInfo(), nil
}

// History calls each with every record that is still there, oldest first and once, until it returns an error.
func (s *Store) History(ctx context.Context, each func(engine.Record) error) error {
	log, info, err := s.look(ctx)
	if err != nil || log == nil || info.State.Msgs == 0 {
		return err
	}
	var last int64
	var theirs error
	err = s.read(ctx, log, info.State.FirstSeq, info.State.LastSeq, true, func(m *message) error {
		if m.kind != kindRecords && m.kind != kindImport {
			return nil
		}
		rs, err := decode[[]engine.Record](m.data)
		if err != nil {
			return err
		}
		for _, r := range rs {
			if r.Seq <= last {
				continue
			}
			last = r.Seq
			if theirs = each(r); theirs != nil {
				return theirs
			}
		}
		return nil
	})
	if theirs != nil {
		return theirs
	}
	return err
}

func decode[T any](b []byte) (v T, err error) {
	if err := json.Unmarshal(b, &v); err != nil {
		return v, fmt.Errorf("it cannot be understood: %w", err)
	}
	return v, nil
}
