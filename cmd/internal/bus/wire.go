package bus

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/zeekrec/zeekrec/cmd/internal/api"
	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/observed"
)

// Beat is how often an agent says that it is there when nothing changes.
const Beat = 5 * time.Second

// method says what is asked.
type method string

const (
	methodDo          method = "do"
	methodFiles       method = "files"
	methodChunk       method = "chunk"
	methodLearn       method = "learn"
	methodLoads       method = "loads"
	methodCheck       method = "check"
	methodCheckUpdate method = "check-update"
	methodNames       method = "names"
	methodKeys        method = "keys"
	methodTop         method = "top"
	methodAsk         method = "ask"
	methodStream      method = "stream"
)

// callHeader of a request has its id, which no other has.
const callHeader = "Zeekrec-Call"

// call is a request. Epoch is of the controller that asks, Left what the caller still waits.
type call struct {
	Method method          `json:"method"`
	Epoch  uint64          `json:"epoch"`
	Left   time.Duration   `json:"left"`
	Body   json.RawMessage `json:"body"`
}

// answer to a call. Refused marks an *observed.Refused, Code an *api.Error.
type answer struct {
	Error   string          `json:"error,omitempty"`
	Refused bool            `json:"refused,omitempty"`
	Code    string          `json:"code,omitempty"`
	Body    json.RawMessage `json:"body,omitempty"`
}

func (a *answer) err(instance string) error {
	switch {
	case a.Refused:
		return &observed.Refused{Why: a.Error}
	case a.Code != "":
		return &api.Error{Text: a.Error, Code: a.Code}
	case a.Error != "":
		return &said{instance, a.Error}
	}
	return nil
}

// said is an error that an agent answers with.
type said struct{ instance, text string }

// Error is what it said, and who did.
func (s *said) Error() string { return s.instance + ": " + s.text }

// Unreachable says that no agent of an instance is connected.
type Unreachable struct{ Instance string }

// Error says so.
func (u *Unreachable) Error() string {
	return fmt.Sprintf("cannot reach %s: no agent of that name is connected", u.Instance)
}

func answerOf(body any, err error) answer {
	if r, ok := errors.AsType[*observed.Refused](err); ok {
		return answer{Error: r.Why, Refused: true}
	}
	if e, ok := errors.AsType[*api.Error](err); ok {
		return answer{Error: e.Text, Code: e.Code}
	}
	if err != nil {
		return answer{Error: err.Error()}
	}
	b, err := json.Marshal(body)
	if err != nil {
		return answer{Error: "cannot write the answer: " + err.Error()}
	}
	return answer{Body: b}
}

// Bodies of calls.
type (
	loadsBody struct {
		Resources resources `json:"resources"`
		Each      bool      `json:"each,omitempty"`
	}
	// filesBody names the content of NAME/. The answer is a filesAnswer.
	filesBody struct {
		Cluster string      `json:"cluster"`
		Hash    string      `json:"hash"`
		Files   []fileEntry `json:"files"`
	}
	fileEntry struct {
		Name string `json:"name"`
		Blob string `json:"blob"` // hash of the content
		Size int64  `json:"size"`
		Exec bool   `json:"exec,omitempty"`
	}
	// filesAnswer names what is missing, and how much of it is there; nothing: the files are in their place.
	filesAnswer struct {
		Missing map[string]int64 `json:"missing,omitempty"`
	}
	// keysBody has all keys of a cluster, in the form of a store's file.
	keysBody struct {
		Cluster string `json:"cluster"`
		Keys    []byte `json:"keys"`
	}
	chunkBody struct {
		Blob   string `json:"blob"`
		Size   int64  `json:"size"` // of the whole
		Offset int64  `json:"offset"`
		Data   []byte `json:"data"`
	}
	// namesBody asks for names. Have are hashes of answers that are there already.
	namesBody struct {
		Resource desired.Resource `json:"resource"`
		Have     []string         `json:"have,omitempty"`
	}
	// namesAnswer has the names, or says which of those that are there they are. Hash is theirs.
	namesAnswer struct {
		Names *desired.ZeekNames `json:"names,omitempty"`
		Hash  string             `json:"hash"`
	}
	askBody struct {
		Cluster string `json:"cluster"`
		Node    string `json:"node"`
		What    string `json:"what"`
		ID      string `json:"id,omitempty"`
	}
	// askAnswer has the value, or says that it is too large for an answer: it can be had as a stream.
	askAnswer struct {
		Value []byte `json:"value,omitempty"`
		Large bool   `json:"large,omitempty"`
	}
)

// Bounds of what is taken from the network.
const (
	maxReport = 64 << 20 // unpacked
	chunkSize = 256 << 10
	askInline = 256 << 10 // a value in an answer; larger ones are streams
	maxValue  = 32 << 20
)

// notice is what an agent publishes: a whole report, or a beat that says which report still holds.
type notice struct {
	Boot   string `json:"boot"`   // of this life of the agent
	Number uint64 `json:"number"` // of the newest report
	// Conn counts the connections of this life.
	Conn uint64 `json:"conn,omitempty"`
	// Calls are the ids of those that the agent works on; null where it does not say.
	Calls []string `json:"calls,omitzero"`
	// Report is the report of that number; null in a beat.
	Report *observed.Report `json:"report,omitempty"`
	// Table has the parts of the report's resources. It is there while a notice is on its way; null: they are with the resources, as
	// agents of older versions have them.
	Table *partsTable `json:"table,omitempty"`
}

// codec packs notices. Its methods may be called from several goroutines.
type codec struct {
	enc *zstd.Encoder
	dec *zstd.Decoder
}

func newCodec() (*codec, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(256<<10))
	if err != nil {
		return nil, err
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxReport))
	if err != nil {
		return nil, err
	}
	return &codec{enc, dec}, nil
}

// packFrom is the size from which calls and answers are packed: a call about many nodes has the layout of their cluster for each.
const packFrom = 4 << 10

// zstdMagic begins what is packed. JSON begins otherwise.
var zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}

// shrink packs a call or an answer where that is worth it.
func (c *codec) shrink(b []byte) []byte {
	if len(b) < packFrom {
		return b
	}
	return c.enc.EncodeAll(b, nil)
}

// grow undoes shrink.
func (c *codec) grow(b []byte) ([]byte, error) {
	if !bytes.HasPrefix(b, zstdMagic) {
		return b, nil
	}
	return c.dec.DecodeAll(b, nil)
}

func (c *codec) pack(n *notice) ([]byte, error) {
	out := *n
	if n.Report != nil {
		out.Report, out.Table = gather(n.Report)
	}
	b, err := json.Marshal(&out)
	if err != nil {
		return nil, err
	}
	return c.enc.EncodeAll(b, nil), nil
}

// scratch is room for reading notices, one after the other.
type scratch struct {
	plain     []byte
	resources []observed.Resource
}

// Bounds of what is kept for the next notice.
const (
	scratchPlain     = 1 << 20
	scratchResources = 1 << 10
)

// unpack reads a notice. The list of its report's resources is in s, and the next notice overwrites it.
func (c *codec) unpack(b []byte, s *scratch) (*notice, error) {
	plain, err := c.dec.DecodeAll(b, s.plain[:0])
	if err != nil {
		return nil, err
	}
	if cap(plain) <= scratchPlain {
		s.plain = plain
	}
	clear(s.resources) // json leaves in an element what it says nothing of
	room := s.resources[:0]
	s.resources = nil
	n := &notice{Report: &observed.Report{Resources: room}}
	if err := json.Unmarshal(plain, n); err != nil {
		return nil, err
	}
	if n.Report != nil && n.Report.Resources != nil {
		room = n.Report.Resources
	}
	if cap(room) <= scratchResources {
		s.resources = room
	}
	if n.Report != nil && n.Report.Instance == "" {
		n.Report = nil // it is a beat
	}
	if n.Boot == "" {
		return nil, errors.New("it is of no agent")
	}
	if n.Table != nil && n.Report != nil {
		if err := n.Table.spread(n.Report); err != nil {
			return nil, err
		}
	}
	n.Table = nil
	return n, nil
}
