package ha

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

var errNoAnswer = errors.New("JetStream does not answer in time")

// ErrResigned is why a term ended that its holder gave up.
var ErrResigned = errors.New("the lead was given up")

// Lost is why a term ended that its holder did not give up.
type Lost struct{ Why string }

// Error says why.
func (l *Lost) Error() string { return "the lead is lost: " + l.Why }

// Deposed says that another controller has opened the journal since. Nothing was written.
type Deposed struct {
	// Epoch of the other, 0 where that is not known.
	Epoch uint64
}

// Error names the other's term.
func (d *Deposed) Error() string {
	if d.Epoch == 0 {
		return "cannot write the journal: another controller writes it now"
	}
	return fmt.Sprintf("cannot write the journal: another controller writes it now, that of term %d", d.Epoch)
}

// Broken says that a journal cannot go on, since it is not known whether an append is there. The controller has to end its term; who opens
// the journal next sees what is there.
type Broken struct{ Err error }

// Error gives the cause.
func (b *Broken) Error() string {
	return fmt.Sprintf("cannot go on with the journal, since it is not known what the last append has left (open it anew): %v", b.Err)
}

// Unwrap gives the cause.
func (b *Broken) Unwrap() error { return b.Err }

// NotEmpty says that a state is not imported, since another is there.
type NotEmpty struct{ Stream string }

// Error names the stream.
func (n *NotEmpty) Error() string {
	return fmt.Sprintf("cannot import the journal: the stream %s is not empty, and what is in it was not imported from there", n.Stream)
}

// conflict reports whether something else was written before. It is the only answer to that: one of several, by the number of replicas.
func conflict(err error) bool {
	e, ok := errors.AsType[*jetstream.APIError](err)
	return ok && (e.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || e.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

// refused reports whether an error says for certain that a message was not stored: the server said so, nobody took it, or it was not sent.
func refused(err error) bool {
	_, api := errors.AsType[*jetstream.APIError](err)
	return api || unsent(err) || errors.Is(err, jetstream.ErrNoStreamResponse)
}

// unsent reports whether a message cannot be sent at all, now or later.
func unsent(err error) bool {
	return errors.Is(err, nats.ErrMaxPayload) || errors.Is(err, nats.ErrConnectionClosed)
}

// final reports whether an answer stays what it is when asked again.
func final(err error) bool {
	if unsent(err) || conflict(err) || errors.Is(err, errChanged) || errors.Is(err, jetstream.ErrMsgNotFound) || errors.Is(err, jetstream.ErrKeyNotFound) || errors.Is(err, jetstream.ErrKeyDeleted) {
		return true
	}
	if _, ok := errors.AsType[*stop](err); ok {
		return true
	}
	e, ok := errors.AsType[*jetstream.APIError](err)
	return ok && e.Code == http.StatusNotFound
}
