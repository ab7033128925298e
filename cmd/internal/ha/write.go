package ha

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Headers of our messages.
const (
	headerID    = "Zeekrec-Id"    // who wrote it, and his how manieth it is
	headerParts = "Zeekrec-Parts" // how many pieces it has before it
)

// pieceSize is how large a message may be, in bytes: a quarter of what servers take by default.
const pieceSize = 256 << 10

// write puts a message at the end, after its pieces where it is too large for one. It counts with the last: pieces alone are nothing. It returns the
// place of the first. Errors are those of put.
func (j *Journal) write(ctx context.Context, kind string, b []byte) (first uint64, err error) {
	first = j.last + 1
	parts := 0
	for ; len(b) > pieceSize; b = b[pieceSize:] {
		if err := j.put(ctx, kindPart, 0, b[:pieceSize]); err != nil {
			return 0, err
		}
		parts++
	}
	return first, j.put(ctx, kind, parts, b)
}

// put puts one message right after the last that is known, and nowhere else, so it may be sent again as often as it takes to hear what
// became of it. Errors: *Deposed and *Broken, which are in j.broken then, too; after any other the message is not there and will not be.
func (j *Journal) put(ctx context.Context, kind string, parts int, b []byte) error {
	j.written++
	id := j.id + "." + strconv.FormatInt(j.written, 10)
	ctx, cancel := j.store.patient(ctx)
	defer cancel()
	unknown := false // something was sent of which nothing was heard
	for {
		m := &nats.Msg{Subject: j.store.subject(kind), Header: nats.Header{headerID: {id}}, Data: b}
		if parts > 0 {
			m.Header.Set(headerParts, strconv.Itoa(parts))
		}
		try, done := context.WithTimeoutCause(ctx, j.store.cfg.Patience/4, errNoAnswer)
		ack, err := j.store.js.PublishMsg(try, m, jetstream.WithExpectLastSequence(j.last), jetstream.WithExpectStream(j.store.name("journal")))
		done()
		if err == nil {
			j.last = ack.Sequence
			return nil
		}
		if conflict(err) {
			var there bool
			if there, err = j.find(ctx, id); there || isDeposed(err) {
				return err
			}
			// Something is before us that cannot be read yet; it may be ours, and may come to nothing.
			unknown = true
		} else if !refused(err) {
			unknown = true
		}
		if unsent(err) || !pause(ctx, j.store.cfg.Patience/40) {
			err = fmt.Errorf("cannot write the journal: %w", err)
			if unknown {
				j.broken = &Broken{Err: err}
				return j.broken
			}
			return err
		}
	}
}

// find looks at the message after the last that is known. It says whether that is ours; where it is another's, the error is a *Deposed.
func (j *Journal) find(ctx context.Context, id string) (ours bool, err error) {
	try, done := context.WithTimeoutCause(ctx, j.store.cfg.Patience/4, errNoAnswer)
	defer done()
	m, err := j.log.GetMsg(try, j.last+1)
	switch {
	case err != nil:
		return false, err
	case m.Header.Get(headerID) == id:
		j.last++
		return true, nil
	}
	d := &Deposed{}
	if o, err := decode[opening](m.Data); err == nil && m.Subject == j.store.subject(kindTerm) {
		d.Epoch = o.Epoch
	}
	j.broken = d
	return false, d
}

func isDeposed(err error) bool {
	_, ok := errors.AsType[*Deposed](err)
	return ok
}
