package reconciler

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"io"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/observed"
)

// Digest identifies the plan and what it was computed from: two plans have the same digest only when
// they would do the same in the same world. It survives the way through JSON, so a saved plan is
// stale when its digest is not that of the plan computed now. Diagnostics are not part of it.
func (p *Plan) Digest() string {
	h := canonical{sha256.New()}
	h.num(len(p.Clusters))
	for i := range p.Clusters {
		c := &p.Clusters[i]
		h.text(c.Name, c.Revision.From, c.Revision.To, c.Basis)
		h.num(len(c.Actions))
		for j := range c.Actions {
			a := &c.Actions[j]
			h.num(a.Wave)
			h.text(string(a.Kind), a.Resource, a.Instance)
			h.num(len(a.Reasons))
			for _, r := range a.Reasons {
				h.text(r.Field, r.From, r.To)
			}
		}
		if c.Held != nil {
			h.text(c.Held.Reason)
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// canonical writes values so that different ones never give the same bytes.
type canonical struct{ hash.Hash }

func (c canonical) num(n int) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(n))
	_, _ = c.Write(b[:])
}

func (c canonical) text(ss ...string) {
	for _, s := range ss {
		c.num(len(s))
		_, _ = io.WriteString(c.Hash, s)
	}
}

// basis hashes what a plan is computed from, while it is. It is reckoned on every reconcile, also where
// nothing changed, hence a fast hash: it tells a moved world from a still one, not friend from foe.
type basis struct {
	h   xxhash.Digest
	buf []byte
}

func newBasis() *basis {
	b := &basis{buf: make([]byte, 0, 4096)}
	b.h.Reset()
	return b
}

func (b *basis) text(s string) {
	b.buf = binary.AppendUvarint(b.buf, uint64(len(s)))
	b.buf = append(b.buf, s...)
	if len(b.buf) > 3072 {
		b.flush()
	}
}

func (b *basis) num(n int) { b.buf = binary.AppendVarint(b.buf, int64(n)) }

func (b *basis) flag(v bool) {
	if v {
		b.num(1)
		return
	}
	b.num(0)
}

func (b *basis) flush() {
	_, _ = b.h.Write(b.buf)
	b.buf = b.buf[:0]
}

func (b *basis) sum() string {
	b.flush()
	return hex.EncodeToString(binary.BigEndian.AppendUint64(nil, b.h.Sum64()))
}

// want adds a desired resource. Its ID stands for its parts.
func (b *basis) want(r *desired.Resource) {
	b.text(r.Name)
	b.text(r.Instance)
	b.text(r.ID)
}

// seen adds a resource as it was observed: what it was told, what runs, and whether it does.
func (b *basis) seen(instance string, o *observed.Resource) {
	b.text(instance)
	b.text(o.Name)
	b.text(o.Told)
	b.text(o.Started)
	b.text(o.Hold)
	b.num(o.Incarnation)
	b.flag(alive(o))
}

// settings adds the rest of the input. Maps are small here, as people fill them.
func (b *basis) settings(in *Input) {
	b.text(in.Cluster)
	b.text(in.From)
	b.text(in.To)
	b.num(in.MaxUnavailable.N)
	b.flag(in.MaxUnavailable.Percent)
	for _, m := range []map[string]string{in.Held, in.Suspended} {
		b.num(len(m))
		for _, k := range sortedKeys(m) {
			b.text(k)
			b.text(m[k])
		}
	}
	b.num(len(in.Restart))
	for _, k := range sortedKeys(in.Restart) {
		b.text(k)
		b.num(in.Restart[k].Incarnation)
	}
}

func sortedKeys[V any](m map[string]V) []string {
	if len(m) == 0 {
		return nil
	}
	ks := make([]string, 0, len(m))
	for k := range m {
		ks = append(ks, k)
	}
	slices.Sort(ks)
	return ks
}

func splitKey(key string) (cluster, name string) {
	cluster, name, _ = strings.Cut(key, "/")
	return cluster, name
}
