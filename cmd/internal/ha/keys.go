package ha

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/zeekrec/zeekrec/actuators/keys"
)

// Keys are the CURVE keys of clusters, in the encoding of package keys, an entry for each cluster. Its methods may be called from several
// goroutines and by several controllers: who changes an entry changes the one that he read. No error has anything of an entry's content.
type Keys struct {
	store *Store
	kv    jetstream.KeyValue
	// life of all requests: the engine's Keys take no context.
	life context.Context
	now  func() time.Time
}

// Keys opens the keys. Requests are made as long as ctx lasts, each for no longer than Patience.
func (s *Store) Keys(ctx context.Context) (*Keys, error) {
	kv, err := s.bucket(ctx, "keys", 0)
	if err != nil {
		return nil, err
	}
	return &Keys{store: s, kv: kv, life: ctx, now: time.Now}, nil
}

// keyOf a cluster's entry: its name may have what an entry's may not.
func keyOf(cluster string) string { return base64.RawURLEncoding.EncodeToString([]byte(cluster)) }

// read returns all generations of a cluster and the revision of the entry; none and 0 where there is none.
func (k *Keys) read(cluster string) (pairs []keys.Pair, rev uint64, err error) {
	if err := keys.CheckCluster(cluster); err != nil {
		return nil, 0, err
	}
	var e jetstream.KeyValueEntry
	err = k.store.retry(k.life, func(ctx context.Context) (err error) {
		e, err = k.kv.Get(ctx, keyOf(cluster))
		return err
	})
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return nil, 0, nil
	case err != nil:
		return nil, 0, fmt.Errorf("cannot read the keys of %s: %w", cluster, err)
	}
	if pairs, err = keys.Decode(e.Value()); err != nil {
		return nil, 0, &keys.Damaged{Path: k.path(cluster), Err: err}
	}
	return pairs, e.Revision(), nil
}

// path of an entry, for people.
func (k *Keys) path(cluster string) string {
	return "bucket " + k.kv.Bucket() + ", key " + keyOf(cluster)
}

// write puts generations in the place of the revision that was read. When it returns without an error, they are there for good.
func (k *Keys) write(cluster string, pairs []keys.Pair, rev uint64) error {
	b, err := keys.Encode(pairs)
	if err != nil {
		return fmt.Errorf("cannot keep the keys of %s: %w", cluster, err)
	}
	err = k.store.retry(k.life, func(ctx context.Context) (err error) {
		if rev == 0 {
			_, err = k.kv.Create(ctx, keyOf(cluster), b) // also where somebody has removed them by hand
		} else {
			_, err = k.kv.Update(ctx, keyOf(cluster), b, rev)
		}
		if conflict(err) {
			// An earlier try may have got through.
			e, err := k.kv.Get(ctx, keyOf(cluster))
			if err == nil && !bytes.Equal(e.Value(), b) {
				err = errChanged
			}
			return err
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("cannot keep the keys of %s: %w", cluster, err)
	}
	return nil
}

var errChanged = errors.New("another controller has changed them meanwhile; try again")

// List has all generations of a cluster, the one to use first; none where it has none.
func (k *Keys) List(cluster string) ([]keys.Pair, error) {
	pairs, _, err := k.read(cluster)
	return pairs, err
}

// IDs of a cluster's keys, those to use first; none where it has none.
func (k *Keys) IDs(cluster string) ([]string, error) {
	pairs, _, err := k.read(cluster)
	if err != nil {
		return nil, err
	}
	var ids []string
	for i := range pairs {
		ids = append(ids, pairs[i].ID)
	}
	return ids, nil
}

// Get returns the keys with an id.
func (k *Keys) Get(cluster, id string) (keys.Pair, error) {
	pairs, _, err := k.read(cluster)
	if err != nil {
		return keys.Pair{}, err
	}
	for _, p := range pairs {
		if p.ID == id {
			return p, nil
		}
	}
	return keys.Pair{}, fmt.Errorf("cannot find the keys %s of %s in the %s", id, cluster, k.path(cluster))
}

// Ensure makes keys for a cluster that has none, and returns the id of those to use.
func (k *Keys) Ensure(cluster string) (id string, err error) {
	pairs, rev, err := k.read(cluster)
	if err != nil {
		return "", err
	}
	if len(pairs) > 0 {
		return pairs[0].ID, nil
	}
	return k.add(cluster, nil, rev)
}

// Rotate makes new keys, to be used from now on; those before are still there, until Retire. Where there are several already, it is
// keys.ErrRotating.
func (k *Keys) Rotate(cluster string) (id string, err error) {
	pairs, rev, err := k.read(cluster)
	if err != nil {
		return "", err
	}
	if len(pairs) > 1 {
		return "", keys.ErrRotating
	}
	return k.add(cluster, pairs, rev)
}

func (k *Keys) add(cluster string, pairs []keys.Pair, rev uint64) (string, error) {
	p, err := keys.NewPair(k.now())
	if err != nil {
		return "", err
	}
	if err := k.write(cluster, append([]keys.Pair{p}, pairs...), rev); err != nil {
		return "", err
	}
	return p.ID, nil
}

// Retire removes all keys of a cluster but those with an id, which have to be there.
func (k *Keys) Retire(cluster, keep string) error {
	pairs, rev, err := k.read(cluster)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(pairs, func(p keys.Pair) bool { return p.ID == keep })
	switch {
	case i < 0:
		return fmt.Errorf("cannot remove the other keys of %s: %s, which are to be kept, are not there", cluster, keep)
	case len(pairs) == 1:
		return nil
	}
	return k.write(cluster, pairs[i:i+1], rev)
}
