package bus

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/zeekrec/zeekrec/cmd/internal/api"
)

// Bounds of streams.
const (
	pieceSize     = 64 << 10         // bytes of one piece
	streamsAtOnce = 32               // of one agent
	ackWithin     = 10 * time.Second // that a reader has; then it has gone
	keepAlive     = 5 * time.Second  // without news, an agent says that it is there
	silence       = 15 * time.Second // after which an agent has gone
	patience      = 3 * time.Second  // with whoever takes what was read; then the agent is told to ask again
)

// streamBody asks for a stream. It has been accepted when the answer is no error.
type streamBody struct {
	// ID names the stream; nobody else can guess it.
	ID   string     `json:"id"`
	Kind streamKind `json:"kind"`
	// Left is after how long it is of no use any more; 0: it may go on for ever.
	Left time.Duration   `json:"left,omitempty"`
	Key  string          `json:"key,omitempty"` // of streamLogs and streamDiag
	Logs *api.LogOptions `json:"logs,omitempty"`
	At   time.Time       `json:"at,omitzero"` // of streamDiag
	Ask  *askBody        `json:"ask,omitempty"`
}

// streamKind is what a stream is of.
type streamKind string

const (
	streamLogs streamKind = "logs"
	streamDiag streamKind = "diag"
	streamAsk  streamKind = "ask"
)

// checkID lets only what rand.Text returns be a token of a subject.
func checkID(id string) error {
	if len(id) < 26 || len(id) > 64 {
		return errors.New("the id of the stream has a wrong length")
	}
	for _, c := range []byte(id) {
		if (c < 'A' || c > 'Z') && (c < '2' || c > '7') {
			return errors.New("the id of the stream has wrong characters")
		}
	}
	return nil
}

// pieceKind says what a piece is.
type pieceKind byte

const (
	pieceData pieceKind = 'd' // the next data
	pieceKeep pieceKind = 'k' // nothing new; it asks whether what was sent is taken
	pieceLast pieceKind = 'l' // the end; an answer with an error in it, or nothing
)

// piece of a stream: a byte for its kind, its number with 8 bytes, and data. Numbers begin with 1; a pieceKeep has that of the last.
type piece struct {
	kind   pieceKind
	number uint64
	data   []byte
}

const pieceHead = 9

func (p *piece) pack() []byte {
	b := make([]byte, 0, pieceHead+len(p.data))
	b = append(b, byte(p.kind))
	b = binary.BigEndian.AppendUint64(b, p.number)
	return append(b, p.data...)
}

// unpackPiece shares its memory with b.
func unpackPiece(b []byte) (piece, error) {
	if len(b) < pieceHead {
		return piece{}, errors.New("a piece is too short")
	}
	p := piece{pieceKind(b[0]), binary.BigEndian.Uint64(b[1:]), b[pieceHead:]}
	switch {
	case p.kind != pieceData && p.kind != pieceKeep && p.kind != pieceLast:
		return piece{}, fmt.Errorf("a piece is of a kind that is not known: %q", byte(p.kind))
	case len(p.data) > pieceSize:
		return piece{}, fmt.Errorf("a piece is too large: it has %d bytes", len(p.data))
	case p.kind == pieceKeep && len(p.data) > 0:
		return piece{}, errors.New("a piece has data that is to have none")
	}
	return p, nil
}

// lastPiece ends a stream, with an error or none.
func lastPiece(number uint64, err error) (piece, error) {
	p := piece{kind: pieceLast, number: number}
	if err == nil {
		return p, nil
	}
	a := answerOf(nil, err)
	const most = pieceSize / 8 // each byte may become six in JSON
	if len(a.Error) > most {
		a.Error = a.Error[:most]
	}
	var merr error
	p.data, merr = json.Marshal(a)
	return p, merr
}

// err is what the last piece of an instance's stream says.
func (p *piece) err(instance string) error {
	if len(p.data) == 0 {
		return nil
	}
	var a answer
	if err := json.Unmarshal(p.data, &a); err != nil {
		return fmt.Errorf("cannot read why %s ended: %w", instance, err)
	}
	if a.Error == "" {
		return fmt.Errorf("%s ended without saying why", instance)
	}
	return a.err(instance)
}

// What a piece is answered with.
const (
	ackNext = ""     // all is taken, the next can come
	ackWait = "wait" // it is not taken yet: ask again
)
