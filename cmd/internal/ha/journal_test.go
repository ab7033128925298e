package ha

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/zeekrec/zeekrec/actuators/keys"
	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/reconciler/engine"
)

var (
	_ engine.Journal = (*Journal)(nil)
	_ engine.Keys    = (*Keys)(nil)
)

func TestNew(t *testing.T) {
	for _, c := range []struct {
		cfg  Config
		want string
	}{
		{Config{Prefix: "a.b"}, `cannot share a state under the prefix "a.b": it may have letters, digits, - and _ alone`},
		{Config{Replicas: 2}, "cannot share a state in 2 replicas: there are 1 or 3"},
	} {
		if _, err := New(nil, c.cfg); err == nil || err.Error() != c.want {
			t.Errorf("%+v: %v", c.cfg, err)
		}
	}
}

func TestAppendSurvives(t *testing.T) {
	t.Parallel()
	nodes := servers(t, 1)
	s := openStore(t, urls(nodes), Config{})
	if state, err := s.Load(t.Context()); err != nil || state.Seq != 0 {
		t.Fatalf("before all: %v, %v", state, err)
	}
	if err := s.History(t.Context(), func(engine.Record) error { return errors.New("there is one") }); err != nil {
		t.Fatal(err)
	}
	j, state := openJournal(t, s, 1)
	if state.Seq != 0 {
		t.Fatalf("a new journal is at %d", state.Seq)
	}
	a, b, big := accept("r1"), accept("r2"), accept(strings.Repeat("x", 3*pieceSize))
	for _, rs := range [][]*engine.Record{{a, b}, nil, {big}} {
		if err := j.Append(t.Context(), rs...); err != nil {
			t.Fatal(err)
		}
	}
	if a.Seq != 1 || b.Seq != 2 || big.Seq != 3 {
		t.Errorf("numbered %d, %d, %d", a.Seq, b.Seq, big.Seq)
	}
	nodes[0].kill()
	nodes[0].start()
	loaded, err := s.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, state = openJournal(t, s, 2)
	sameState(t, j.state, state)
	sameState(t, state, loaded)
	if d := cmp.Diff([]string{"r1", "r2", big.Revision}, history(t, s)); d != "" {
		t.Errorf("history (-want +got):\n%s", d)
	}
	// An error of the caller's ends a history and is handed on as it is.
	enough := errors.New("enough")
	if err := s.History(t.Context(), func(engine.Record) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("history that is given up: %v", err)
	}
}

// A deposed controller's append fails and leaves nothing, whether or not the next has written.
func TestDeposed(t *testing.T) {
	s := openStore(t, urls(servers(t, 1)), Config{})
	a, _ := openJournal(t, s, 1)
	if err := a.Append(t.Context(), accept("r1")); err != nil {
		t.Fatal(err)
	}
	b, state := openJournal(t, s, 2)
	if state.Seq != 1 {
		t.Fatalf("opened at %d", state.Seq)
	}
	for range 2 {
		err := a.Append(t.Context(), accept("late"), accept("later"))
		if d, ok := errors.AsType[*Deposed](err); !ok || d.Epoch != 2 || err.Error() != "cannot write the journal: another controller writes it now, that of term 2" {
			t.Fatalf("a late append: %v", err)
		}
	}
	if err := a.Append(t.Context(), accept(strings.Repeat("x", 2*pieceSize))); err == nil {
		t.Fatal("a late append in pieces")
	}
	if err := b.Append(t.Context(), accept("r2")); err != nil {
		t.Fatal(err)
	}
	_, _, err := s.Open(t.Context(), 1, "late")
	if d, ok := errors.AsType[*Deposed](err); !ok || d.Epoch != 2 {
		t.Errorf("opened by a former term: %v", err)
	}
	if d := cmp.Diff([]string{"r1", "r2"}, history(t, s)); d != "" {
		t.Errorf("history (-want +got):\n%s", d)
	}
}

// An append while another opens the journal is in what the other reads, or it fails.
func TestAppendWhileOpened(t *testing.T) {
	t.Parallel()
	url := urls(servers(t, 1))
	s := openStore(t, url, Config{})
	want := 0
	for epoch := range uint64(3) {
		a, _ := openJournal(t, openStore(t, url, Config{}), 2*epoch+1)
		acknowledged := make(chan int)
		go func() {
			n := 0
			for a.Append(t.Context(), accept(fmt.Sprintf("%d.%d", epoch, n))) == nil {
				n++
			}
			acknowledged <- n
		}()
		until(t, "something is appended", func() bool { a.mu.Lock(); defer a.mu.Unlock(); return a.state.Seq > int64(want) })
		_, state := openJournal(t, s, 2*epoch+2)
		want += <-acknowledged
		if state.Seq != int64(want) {
			t.Fatalf("the next reads %d records, and %d were acknowledged", state.Seq, want)
		}
	}
	if n := len(history(t, s)); n != want {
		t.Errorf("%d records are there, and %d were acknowledged", n, want)
	}
}

// An append whose answer is lost is found in the stream; where nothing can be found out, the journal is broken.
func TestAnswerLost(t *testing.T) {
	t.Parallel()
	nodes := servers(t, 1)
	p := newProxy(t, nodes[0])
	s, direct := openStore(t, p.url(), Config{Patience: 4 * time.Second}), openStore(t, urls(nodes), Config{})
	j, _ := openJournal(t, s, 1)
	if err := j.Append(t.Context(), accept("r1")); err != nil {
		t.Fatal(err)
	}
	p.lose()
	result := make(chan error, 1)
	go func() { result <- j.Append(t.Context(), accept("r2")) }()
	until(t, "it is written", func() bool { return len(history(t, direct)) == 2 })
	p.heal()
	if err := <-result; err != nil {
		t.Fatalf("appended without an answer: %v", err)
	}
	if err := j.Append(t.Context(), accept("r3")); err != nil {
		t.Fatal(err)
	}

	p.lose()
	err := j.Append(t.Context(), accept("r4"))
	broken, ok := errors.AsType[*Broken](err)
	if !ok || !strings.HasPrefix(err.Error(), "cannot go on with the journal, since it is not known what the last append has left (open it anew): cannot write the journal: ") {
		t.Fatalf("an append of which nothing is heard: %v", err)
	}
	p.heal()
	if again := j.Append(t.Context(), accept("r5")); !errors.Is(again, broken) {
		t.Errorf("an append after that: %v", again)
	}
	if d := cmp.Diff([]string{"r1", "r2", "r3", "r4"}, history(t, direct)); d != "" {
		t.Errorf("history (-want +got):\n%s", d)
	}
	// The same term opens it anew.
	j, state := openJournal(t, s, 1)
	if err := j.Append(t.Context(), accept("r5")); err != nil || state.Seq != 4 {
		t.Errorf("opened anew at %d: %v", state.Seq, err)
	}
}

// Where the server says no, nothing is there, and the journal is as good as before.
func TestRefused(t *testing.T) {
	t.Parallel()
	s := openStore(t, urls(servers(t, 1)), Config{})
	j, _ := openJournal(t, s, 1)
	full := j.log.CachedInfo().Config
	roomy := full
	full.MaxMsgs = 1
	if _, err := s.js.UpdateStream(t.Context(), full); err != nil {
		t.Fatal(err)
	}
	r := accept("r1")
	if err := j.Append(t.Context(), r); err == nil || !strings.Contains(err.Error(), "maximum messages exceeded") {
		t.Fatalf("appended to a full stream: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("it is late"))
	if err := j.Append(ctx, r); err == nil || err.Error() != "cannot write the journal: it is late" {
		t.Errorf("appended too late: %v", err)
	}
	if _, err := s.js.UpdateStream(t.Context(), roomy); err != nil {
		t.Fatal(err)
	}
	if err := j.Append(t.Context(), r); err != nil || r.Seq != 1 {
		t.Errorf("appended when there was room again: %d, %v", r.Seq, err)
	}
}

func TestRoll(t *testing.T) {
	t.Parallel()
	url := urls(servers(t, 1))
	s := openStore(t, url, Config{RollAt: 20_000})
	j, _ := openJournal(t, s, 1)
	long := strings.Repeat("x", 500)
	for i := range 400 {
		if err := j.Append(t.Context(), accept(fmt.Sprint(i, long))); err != nil {
			t.Fatal(err)
		}
		if err := j.RollError(); err != nil {
			t.Fatal(err)
		}
	}
	_, state := openJournal(t, s, 2)
	sameState(t, j.state, state)
	kept := history(t, s)
	if kept[len(kept)-1] != fmt.Sprint(399, long) {
		t.Errorf("the history ends with %.10s", kept[len(kept)-1])
	}
	info, err := j.log.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// Two snapshots, and as many records as each lets follow.
	if least, most := j.limit(), uint64(2*(j.base+j.limit())+50_000); info.State.Bytes > most || int64(len(kept)*1000) < least {
		t.Errorf("%d records are kept in %d bytes; a snapshot has %d", len(kept), info.State.Bytes, j.base)
	}
}

// A roll that fails is no failure of the append before it, is not tried again at once, and is made up for.
func TestRollFails(t *testing.T) {
	t.Parallel()
	s := openStore(t, urls(servers(t, 1)), Config{RollAt: 10, Patience: time.Second})
	j, _ := openJournal(t, s, 1)
	sealed, err := j.log.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c := sealed.Config
	c.DenyPurge = true
	if _, err := s.js.UpdateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	appendOne := func(revision string) {
		t.Helper()
		if err := j.Append(t.Context(), accept(revision)); err != nil {
			t.Fatal(err)
		}
	}
	appendOne("r1")
	if err := j.RollError(); err != nil {
		t.Fatalf("the first snapshot: %v", err)
	}
	appendOne(strings.Repeat("y", int(j.limit())))
	if err := j.RollError(); err == nil || !strings.HasPrefix(err.Error(), "cannot roll the journal: ") {
		t.Fatalf("error %v", err)
	}
	before := j.snapshot
	appendOne("r2")
	if j.snapshot != before || j.RollError() == nil {
		t.Error("it was tried again at once")
	}
	// A stream that denies purging denies it for good. The next is as when it succeeds.
	j.purge, j.size = 0, rollPause+j.limit()
	appendOne("r3")
	if j.snapshot == before {
		t.Error("it was not tried again")
	}
	_, state := openJournal(t, s, 2)
	sameState(t, j.state, state)
	if n := len(history(t, s)); n != 4 {
		t.Errorf("%d records are in the history", n)
	}
}

// What cannot be read is an error that names the place, never skipped.
func TestDamaged(t *testing.T) {
	for _, c := range []struct{ name, kind, data, want string }{
		{"no record", kindRecords, `{`, "message 3: it cannot be understood: unexpected end of JSON input"},
		{"no state", kindSnapshot, `{}`, "message 3: it has no state"},
		{"unknown", "other", `{}`, `message 3: nobody knows what "other" is`},
		{"cut import", kindImport, `[]`, "the import of a controller's state was cut short: import it again"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := openStore(t, urls(servers(t, 1)), Config{Patience: time.Second})
			j, _ := openJournal(t, s, 1)
			if err := j.Append(t.Context(), accept("r1")); err != nil {
				t.Fatal(err)
			}
			if _, err := s.js.Publish(t.Context(), s.subject(c.kind), []byte(c.data)); err != nil {
				t.Fatal(err)
			}
			_, _, err := s.Open(t.Context(), 2, "test")
			if err == nil || !strings.HasPrefix(err.Error(), "cannot read the journal: "+c.want) {
				t.Errorf("error %v", err)
			}
		})
	}
	t.Run("beginning", func(t *testing.T) {
		s := openStore(t, urls(servers(t, 1)), Config{Patience: time.Second})
		j, _ := openJournal(t, s, 1)
		if err := j.Append(t.Context(), accept("r1")); err != nil {
			t.Fatal(err)
		}
		if err := j.log.Purge(t.Context(), jetstream.WithPurgeSequence(2)); err != nil {
			t.Fatal(err)
		}
		const want = "cannot read the journal: it begins with message 2, without a snapshot (mend the stream zeekrec-journal)"
		if _, _, err := s.Open(t.Context(), 2, "test"); err == nil || err.Error() != want {
			t.Errorf("error %v", err)
		}
	})
}

// FuzzAssemble hands messages of any kind to what reads a journal: it may refuse, and must not fail otherwise.
func FuzzAssemble(f *testing.F) {
	for _, kind := range []string{kindRecords, kindSnapshot, kindTerm, kindImport, kindPart, ""} {
		f.Add(kind, "1", []byte(`[{"seq":1}]`))
		f.Add(kind, "", []byte(`{"epoch":1,"state":{}}`))
	}
	f.Fuzz(func(t *testing.T, kind, parts string, data []byte) {
		a, fold := assembler{}, folder{state: engine.NewState()}
		for seq := uint64(1); seq <= 2; seq++ {
			h := map[string][]string{}
			if parts != "" {
				h[headerParts] = []string{parts}
			}
			m, err := a.add(seq, kind, h, data)
			if err != nil || m == nil {
				continue
			}
			if m.first < 1 || m.first > m.seq {
				t.Fatalf("message %d begins at %d", m.seq, m.first)
			}
			_ = fold.add(m)
			if fold.state == nil {
				t.Fatal("no state is left")
			}
		}
	})
}

func TestObjects(t *testing.T) {
	t.Parallel()
	url := urls(servers(t, 1))
	s := openStore(t, url, Config{})
	j, _ := openJournal(t, s, 1)
	small, big := file("[manager]"), file(strings.Repeat("a large file ", 25_000))
	var names []string
	for _, f := range []int{0, 1, 0} {
		name, err := j.PutFile(t.Context(), []desired.ClusterFile{small, big}[f])
		if err != nil {
			t.Fatal(err)
		}
		got, err := j.File(t.Context(), name)
		if err != nil || !reflect.DeepEqual(got, []desired.ClusterFile{small, big}[f]) {
			t.Fatalf("%v, read back %.200s", err, got.Data)
		}
		names = append(names, name)
	}
	if names[0] != names[2] || names[0] == names[1] {
		t.Errorf("names %q", names)
	}
	if err := j.Append(t.Context(), accept(names[1])); err != nil {
		t.Fatal(err)
	}
	if err := j.Collect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.File(t.Context(), names[1]); err != nil {
		t.Errorf("one that is used: %v", err)
	}
	want := "cannot read an accepted revision: object " + names[0] + " is missing, or a piece of it"
	if _, err := s.File(t.Context(), names[0]); err == nil || err.Error() != want {
		t.Errorf("one that was collected: %v", err)
	}
	if _, err := s.File(t.Context(), "../x"); err == nil || err.Error() != `cannot read object "../x": not a name of one` {
		t.Errorf("no name: %v", err)
	}
	if _, err := s.putObject(t.Context(), names[1], []byte("another")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.File(t.Context(), names[1]); err == nil || err.Error() != "cannot read object "+names[1]+": its content was changed" {
		t.Errorf("one that was changed: %v", err)
	}
	if name, err := j.PutFile(t.Context(), big); err != nil || name != names[1] {
		t.Fatalf("put anew: %v", err)
	}
	if _, err := s.File(t.Context(), names[1]); err != nil {
		t.Errorf("one that was put anew: %v", err)
	}
}

// One who was deposed removes nothing that the next has put, be it new or there before; the next removes what the first has left.
func TestCollectOfDeposed(t *testing.T) {
	s := openStore(t, urls(servers(t, 1)), Config{})
	put := func(j *Journal, content string) string {
		t.Helper()
		name, err := j.PutFile(t.Context(), file(content))
		if err != nil {
			t.Fatal(err)
		}
		return name
	}
	a, _ := openJournal(t, s, 1)
	shared, left := put(a, "shared"), put(a, "left")
	b, _ := openJournal(t, s, 2)
	if put(b, "shared") != shared {
		t.Fatal("another name")
	}
	fresh := put(b, "fresh")
	if err := a.Collect(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{shared, fresh} {
		if _, err := b.File(t.Context(), name); err != nil {
			t.Errorf("the deposed one removed it: %v", err)
		}
	}
	if err := b.Append(t.Context(), accept(shared), accept(fresh)); err != nil {
		t.Fatal(err)
	}
	if err := b.Collect(t.Context()); err != nil {
		t.Fatal(err)
	}
	info, err := b.objects.Info(t.Context())
	if err != nil || info.State.Msgs != 2 {
		t.Errorf("%v, %d objects are left", err, info.State.Msgs)
	}
	if _, err := b.File(t.Context(), left); err == nil {
		t.Error("what nobody uses is there")
	}
}

func TestKeys(t *testing.T) {
	url := urls(servers(t, 1))
	open := func() *Keys {
		t.Helper()
		k, err := openStore(t, url, Config{Patience: 2 * time.Second}).Keys(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	a, b := open(), open()
	const cluster = "Müllers dmz.1"
	if ids, err := a.IDs(cluster); err != nil || ids != nil {
		t.Fatalf("before all: %q, %v", ids, err)
	}
	first, err := a.Ensure(cluster)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := b.Ensure(cluster); err != nil || again != first {
		t.Fatalf("made again: %q, %v", again, err)
	}
	// Both have read; one is first.
	pairs, rev, err := a.read(cluster)
	if err != nil {
		t.Fatal(err)
	}
	second, err := b.Rotate(cluster)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.add(cluster, pairs, rev); err == nil || err.Error() != "cannot keep the keys of "+cluster+": another controller has changed them meanwhile; try again" {
		t.Errorf("written over: %v", err)
	}
	if _, err := a.Rotate(cluster); !errors.Is(err, keys.ErrRotating) {
		t.Errorf("rotated twice: %v", err)
	}
	if ids, err := a.IDs(cluster); err != nil || !cmp.Equal(ids, []string{second, first}) {
		t.Fatalf("ids %q, %v", ids, err)
	}
	p, err := a.Get(cluster, second)
	if err != nil || len(p.ServerSecret.Reveal()) != 40 {
		t.Fatalf("get: %v", err)
	}
	if err := a.Retire(cluster, "nobody"); err == nil || err.Error() != "cannot remove the other keys of "+cluster+": nobody, which are to be kept, are not there" {
		t.Errorf("retired: %v", err)
	}
	if err := a.Retire(cluster, second); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Get(cluster, first); err == nil || !strings.HasPrefix(err.Error(), "cannot find the keys "+first+" of "+cluster+" in the bucket zeekrec-keys, key ") {
		t.Errorf("got retired keys: %v", err)
	}
	// What is damaged is an error that has nothing of it, and is not replaced.
	secret := p.ServerSecret.Reveal()
	if _, err := a.kv.Put(t.Context(), keyOf(cluster), []byte(`[{"server_secret":"`+secret+`"`)); err != nil {
		t.Fatal(err)
	}
	_, err = a.Ensure(cluster)
	if d, ok := errors.AsType[*keys.Damaged](err); !ok || strings.Contains(d.Error(), secret) {
		t.Errorf("damaged: %v", err)
	}
	if err := a.kv.Delete(t.Context(), keyOf(cluster)); err != nil {
		t.Fatal(err)
	}
	if ids, err := a.IDs(cluster); err != nil || ids != nil {
		t.Errorf("removed by hand: %q, %v", ids, err)
	}
	if id, err := a.Rotate(cluster); err != nil || id == second {
		t.Errorf("made anew: %q, %v", id, err)
	}
	if _, err := a.Ensure("../x"); err == nil || err.Error() != `cannot keep keys for "../x": that is no name of a cluster` {
		t.Errorf("no name: %v", err)
	}
}
