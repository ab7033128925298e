package ha

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/zeekrec/zeekrec/actuators/keys"
	"github.com/zeekrec/zeekrec/reconciler/engine"
	"github.com/zeekrec/zeekrec/reconciler/engine/journal"
)

var errImportCut = errors.New("the import of a controller's state was cut short: import it again")

// Import brings what a controller had that was alone: the journal of its state folder with the accepted revisions, and its keys. It has to have ended; while
// its folder is held, the error is journal.ErrLocked. One controller at a time may import: who has the lease, before he opens the journal.
//
// The state is there at once, in the end; where it fails before, it is to be called again. It does nothing where this very state was
// imported already and no snapshot was written since, and is a *NotEmpty where anything else is there. The folder stays as it is.
func (s *Store) Import(ctx context.Context, dir string) (err error) {
	if _, err := os.Stat(filepath.Join(dir, "journal.jsonl")); err != nil {
		return fmt.Errorf("cannot import a controller's state: %w", err)
	}
	from, state, err := journal.Open(dir)
	if err != nil {
		return fmt.Errorf("cannot import a controller's state: %w", err)
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	b, err := json.Marshal(state)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(b)
	snap := snapshot{State: state, Import: hex.EncodeToString(sum[:])}

	j, err := s.open(ctx)
	if err != nil {
		return err
	}
	switch done, err := j.imported(ctx, snap.Import); {
	case err != nil:
		return err
	case done:
		return nil
	}
	// What the journal names comes first.
	if err := s.importObjects(ctx, from, state); err != nil {
		return err
	}
	if err := s.importKeys(ctx, dir); err != nil {
		return err
	}
	if err := j.importRecords(ctx, dir); err != nil {
		return err
	}
	if b, err = json.Marshal(snap); err != nil {
		return err
	}
	if _, err := j.write(ctx, kindSnapshot, b); err != nil {
		return fmt.Errorf("cannot import a controller's state: %w", err)
	}
	return nil
}

// imported reports whether the state is there already that is to be imported. What an import has left that was cut short does not count, and
// stays: what comes after it repeats it, and History has every record once.
func (j *Journal) imported(ctx context.Context, mark string) (bool, error) {
	info, err := j.store.info(ctx, j.log, jetstream.WithSubjectFilter(">"))
	if err != nil {
		return false, fmt.Errorf("cannot read the journal: %w", err)
	}
	j.last = info.State.LastSeq
	there := info.State.Subjects
	if there[j.store.subject(kindRecords)]+there[j.store.subject(kindTerm)]+there[j.store.subject(kindSnapshot)] == 0 {
		return false, nil
	}
	f, err := j.store.load(ctx)
	if err != nil {
		return false, err
	}
	if f.mark != mark {
		return false, &NotEmpty{Stream: j.store.name("journal")}
	}
	return true, nil
}

func (s *Store) importObjects(ctx context.Context, from *journal.Journal, state *engine.State) error {
	brought := map[string]bool{"": true}
	for _, h := range state.Clusters {
		for _, r := range h.Revisions {
			if brought[r.Object] {
				continue
			}
			brought[r.Object] = true
			f, err := from.File(ctx, r.Object)
			if err != nil {
				return fmt.Errorf("cannot import an accepted revision: %w", err)
			}
			name, b, err := journal.EncodeFile(f)
			if err == nil && name != r.Object {
				err = errors.New("another version of zeekrec has written it")
			}
			if err == nil {
				_, err = s.putObject(ctx, name, b)
			}
			if err != nil {
				return fmt.Errorf("cannot import the accepted revision %s: %w", r.Object, err)
			}
		}
	}
	return nil
}

// importKeys brings the keys of all clusters. Where others are there already it is an error, since nobody knows which are in use.
func (s *Store) importKeys(ctx context.Context, dir string) error {
	from := keys.Open(dir)
	clusters, err := from.Clusters()
	if err != nil {
		return err
	}
	to, err := s.Keys(ctx)
	if err != nil {
		return err
	}
	for _, cluster := range clusters {
		pairs, err := from.List(cluster)
		if err != nil {
			return err
		}
		if err := to.write(cluster, pairs, 0); errors.Is(err, errChanged) {
			return fmt.Errorf("cannot import the keys of %s: others are in the %s already", cluster, to.path(cluster))
		} else if err != nil {
			return err
		}
	}
	return nil
}

// importRecords brings the history, many records to a message.
func (j *Journal) importRecords(ctx context.Context, dir string) error {
	var rs []engine.Record
	size := 0
	flush := func() error {
		if len(rs) == 0 {
			return nil
		}
		b, err := json.Marshal(rs)
		if err == nil {
			_, err = j.write(ctx, kindImport, b)
		}
		rs, size = rs[:0], 0
		return err
	}
	err := journal.History(dir, func(r engine.Record) error {
		b, err := json.Marshal(r)
		if err != nil {
			return err
		}
		if size+len(b) > pieceSize/2 {
			if err := flush(); err != nil {
				return err
			}
		}
		rs, size = append(rs, r), size+len(b)
		return nil
	})
	if err == nil {
		err = flush()
	}
	if err != nil {
		return fmt.Errorf("cannot import a controller's history: %w", err)
	}
	return nil
}
