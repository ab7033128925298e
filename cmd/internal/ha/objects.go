package ha

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/reconciler/engine/journal"
)

// An object is kept as in the folder of package journal, by the same name, in pieces of which the stream has the newest message each. The first piece
// is written last, and says how many there are.

func (s *Store) piece(object string, i int) string {
	return s.cfg.Prefix + ".objects." + object + "." + strconv.Itoa(i)
}

func (s *Store) openObjects(ctx context.Context) (jetstream.Stream, error) {
	return s.stream(ctx, jetstream.StreamConfig{Name: s.name("objects"), Subjects: []string{s.cfg.Prefix + ".objects.>"}, MaxMsgsPerSubject: 1})
}

// PutFile keeps a cluster's file and returns the name to ask for it by, which is that of the journal on disk. One that this Journal has not
// put itself is written anew, though it may be there: from then on nobody who opened the journal before removes it.
func (j *Journal) PutFile(ctx context.Context, f desired.ClusterFile) (string, error) {
	name, b, err := journal.EncodeFile(f)
	if err != nil {
		return "", fmt.Errorf("cannot keep %s: %w", f.File, err)
	}
	j.mu.Lock()
	_, own := j.own[name]
	j.mu.Unlock()
	if own {
		if there, err := j.store.object(ctx, j.objects, name); err == nil && bytes.Equal(there, b) {
			return name, nil
		}
	}
	last, err := j.store.putObject(ctx, name, b)
	if err != nil {
		return "", fmt.Errorf("cannot keep %s: %w", f.File, err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.own[name] = last
	return name, nil
}

// putObject writes an object, and returns the place of its last message. To write it twice does no harm.
func (s *Store) putObject(ctx context.Context, name string, b []byte) (last uint64, err error) {
	pieces := slices.Collect(slices.Chunk(b, pieceSize))
	for i, p := range slices.Backward(pieces) {
		m := &nats.Msg{Subject: s.piece(name, i), Header: nats.Header{headerParts: {strconv.Itoa(len(pieces))}}, Data: p}
		err := s.retry(ctx, func(ctx context.Context) error {
			ack, err := s.js.PublishMsg(ctx, m, jetstream.WithExpectStream(s.name("objects")))
			if err == nil {
				last = ack.Sequence
			}
			return err
		})
		if err != nil {
			return 0, err
		}
	}
	return last, nil
}

// File returns what PutFile kept. An object whose content does not fit its name is an error.
func (j *Journal) File(ctx context.Context, object string) (desired.ClusterFile, error) {
	return j.store.file(ctx, j.objects, object)
}

// File is Journal.File for a look from outside.
func (s *Store) File(ctx context.Context, object string) (desired.ClusterFile, error) {
	var st jetstream.Stream
	err := s.retry(ctx, func(ctx context.Context) (err error) {
		st, err = s.js.Stream(ctx, s.name("objects"))
		return err
	})
	if err != nil {
		return desired.ClusterFile{}, fmt.Errorf("cannot read an accepted revision: %w", err)
	}
	return s.file(ctx, st, object)
}

func (s *Store) file(ctx context.Context, st jetstream.Stream, name string) (desired.ClusterFile, error) {
	if err := journal.CheckObject(name); err != nil {
		return desired.ClusterFile{}, err
	}
	b, err := s.object(ctx, st, name)
	if err != nil {
		return desired.ClusterFile{}, fmt.Errorf("cannot read an accepted revision: %w", err)
	}
	return journal.DecodeFile(name, b)
}

func (s *Store) object(ctx context.Context, st jetstream.Stream, name string) ([]byte, error) {
	var content []byte
	for i, n := 0, 1; i < n; i++ {
		var m *jetstream.RawStreamMsg
		err := s.retry(ctx, func(ctx context.Context) (err error) {
			m, err = st.GetLastMsgForSubject(ctx, s.piece(name, i))
			return err
		})
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil, fmt.Errorf("object %s is missing, or a piece of it", name)
		}
		if err != nil {
			return nil, err
		}
		if i == 0 {
			if n, err = strconv.Atoi(m.Header.Get(headerParts)); err != nil || n < 1 {
				return nil, fmt.Errorf("object %s is damaged: it does not say how many pieces it has", name)
			}
		}
		content = append(content, m.Data...)
	}
	return content, nil
}

// Collect removes the objects that no revision of the state names any more, but none that somebody put after this journal was opened, unless
// that was this Journal: one who was deposed and does not know it yet must not remove what the next one needs.
func (j *Journal) Collect(ctx context.Context) error {
	prefix := j.store.cfg.Prefix + ".objects."
	info, err := j.store.info(ctx, j.objects, jetstream.WithSubjectFilter(prefix+">"))
	if err != nil {
		return fmt.Errorf("cannot clear old objects away: %w", err)
	}
	there := map[string]bool{}
	for subject := range info.State.Subjects {
		name, _, _ := strings.Cut(strings.TrimPrefix(subject, prefix), ".")
		there[name] = true
	}
	j.mu.Lock()
	for _, h := range j.state.Clusters {
		for _, r := range h.Revisions {
			delete(there, r.Object)
		}
	}
	own := maps.Clone(j.own)
	j.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(there)) {
		// Messages after the last that we know of stay, whoever wrote them.
		upTo := max(j.horizon, own[name]) + 1
		err := j.store.retry(ctx, func(ctx context.Context) error {
			return j.objects.Purge(ctx, jetstream.WithPurgeSubject(prefix+name+".*"), jetstream.WithPurgeSequence(upTo))
		})
		if err != nil {
			return fmt.Errorf("cannot clear old objects away: %w", err)
		}
		j.mu.Lock()
		delete(j.own, name)
		j.mu.Unlock()
	}
	return nil
}
