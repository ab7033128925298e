package bus

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/observed"
)

// FuzzCall: whatever is asked of an agent gets an answer that can be read.
func FuzzCall(f *testing.F) {
	id := `"id":"` + streamID + `"`
	for m, body := range map[method]string{
		methodDo: `{"verb":"start","resource":{"cluster":"dmz","name":"w"}}`, methodFiles: `{"cluster":"dmz","hash":"x","files":[{"name":"a","blob":"ab-1","size":1}]}`,
		methodChunk: `{"blob":"ab-1","size":1,"offset":0,"data":"eA=="}`, methodLearn: `"/opt/zeek"`, methodLoads: `{"resources":[{}],"each":true}`,
		methodCheck: `[{}]`, methodCheckUpdate: `[{}]`, methodNames: `{}`, methodTop: `null`, methodAsk: `{"cluster":"dmz","node":"w","what":"value","id":"x"}`,
		methodStream: `{` + id + `,"kind":"logs","key":"dmz/w","logs":{"Lines":1}}`,
	} {
		f.Add(fmt.Appendf(nil, `{"method":%q,"epoch":0,"left":1000000000,"body":%s}`, m, body))
	}
	f.Add([]byte(`{"method":"stream","left":1,"body":{` + id + `,"kind":"diag"}}`))
	f.Add([]byte(`{"method":"stream","left":1,"body":{` + id + `,"kind":"ask","ask":{}}}`))
	f.Add([]byte(`{"method":"stream","left":1,"body":{"id":"a.b","kind":"ask","ask":{}}}`))
	f.Add([]byte(`{"method":"do","epoch":18446744073709551615,"left":-1}`))
	f.Add([]byte(`{`))
	c, err := newCodec()
	if err != nil {
		f.Fatal(err)
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		h := &host{instance: "a", trees: map[string]desired.Tree{}}
		s := newServer(Config{Instance: "a", Agent: h, Nodes: newHostNodes("a"), Dir: dir, Log: slog.New(slog.DiscardHandler)}, c,
			func(context.Context, string, []byte) ([]byte, error) { return nil, nil })
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond) // some wait for as long as they are told to
		a := s.work(ctx, data)
		cancel()
		s.streams.close()
		b, err := json.Marshal(a)
		var again answer
		if err != nil || json.Unmarshal(b, &again) != nil {
			t.Fatalf("%+v is no answer: %v", a, err)
		}
		if again.err("a") == nil && !json.Valid(again.Body) {
			t.Errorf("neither an error nor a body: %s", b)
		}
	})
}

// FuzzNotice: what passes for an agent's notice is one, and can be passed on.
func FuzzNotice(f *testing.F) {
	c, err := newCodec()
	if err != nil {
		f.Fatal(err)
	}
	for _, n := range []notice{{Boot: "1", Number: 3}, {Boot: "1", Number: 4, Report: &observed.Report{Instance: "a"}}, {Boot: "1", Number: 5, Calls: []string{"x"}, Report: twoWorkers()}, {}} {
		b, err := c.pack(&n)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, false)
		b, _ = json.Marshal(n)
		f.Add(b, true)
	}
	f.Add([]byte(`{"boot":"1"} {}`), true)
	before, err := c.pack(&notice{Boot: "0", Report: twoWorkers()})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte, plain bool) {
		if plain { // packed here, so that more than the packing is tried
			data = c.enc.EncodeAll(data, nil)
		}
		n, err := c.unpack(data, &scratch{})
		if err != nil {
			return
		}
		if n.Boot == "" {
			t.Error("it is of no agent")
		}
		b, err := c.pack(n)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := c.unpack(b, &scratch{}); err != nil || again.Number != n.Number || (again.Report == nil) != (n.Report == nil) {
			t.Errorf("%+v became %+v: %v", n, again, err)
		}
		// What was read before leaves nothing in it.
		var used scratch
		if _, err := c.unpack(before, &used); err != nil {
			t.Fatal(err)
		}
		if again, err := c.unpack(data, &used); err != nil {
			t.Error(err)
		} else if a, err := c.pack(again); err != nil || !bytes.Equal(a, b) {
			t.Errorf("after another notice %+v is read as %+v: %v", n.Report, again.Report, err)
		}
		var s seat
		s.take(n, time.Unix(1, 0))
	})
}

// FuzzPiece: whatever an agent sends as pieces, a stream ends, and passes on no more than was sent.
func FuzzPiece(f *testing.F) {
	last, _ := lastPiece(2, io.ErrUnexpectedEOF)
	f.Add((&piece{pieceData, 1, []byte("abc")}).pack(), last.pack())
	f.Add((&piece{pieceKeep, 0, nil}).pack(), (&piece{pieceLast, 1, nil}).pack())
	f.Add((&piece{pieceLast, 1, []byte("{")}).pack(), []byte{})
	f.Add([]byte("dx"), (&piece{pieceData, 1 << 60, nil}).pack())
	f.Fuzz(func(t *testing.T, one, two []byte) {
		if p, err := unpackPiece(one); err == nil && !bytes.Equal(p.pack(), one) {
			t.Errorf("%q became %q", one, p.pack())
		}
		in := newInlet("a")
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			in.take(one)
			in.take(two)
			in.take(nil) // ends it at the latest
		}()
		var w bytes.Buffer
		last, err := in.copy(t.Context(), &w)
		<-sent
		if !last && err == nil {
			t.Error("it has ended for no reason")
		}
		if err != nil && !strings.Contains(err.Error(), "a") {
			t.Errorf("nobody is named: %v", err)
		}
		if w.Len() > len(one)+len(two) {
			t.Errorf("%q came of %q and %q", &w, one, two)
		}
	})
}
