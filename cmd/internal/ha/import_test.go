package ha

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zeekrec/zeekrec/actuators/keys"
	"github.com/zeekrec/zeekrec/reconciler/engine"
	"github.com/zeekrec/zeekrec/reconciler/engine/journal"
)

// alone is the state folder of a controller that was alone, with n records, an object and keys.
func alone(t *testing.T, n int) (dir string, state *engine.State, object string, ids []string) {
	t.Helper()
	dir = t.TempDir()
	j, _, err := journal.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if object, err = j.PutFile(t.Context(), file("[manager]")); err != nil {
		t.Fatal(err)
	}
	var rs []*engine.Record
	for i := range n {
		r := accept(fmt.Sprint(i, strings.Repeat("x", 1000)))
		r.Accepted.Object = object
		rs = append(rs, r)
	}
	if err := j.Append(t.Context(), rs...); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	k := keys.Open(dir)
	if _, err := k.Ensure("dmz"); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Rotate("dmz"); err != nil {
		t.Fatal(err)
	}
	if ids, err = k.IDs("dmz"); err != nil {
		t.Fatal(err)
	}
	if state, err = journal.Load(dir); err != nil {
		t.Fatal(err)
	}
	return dir, state, object, ids
}

func TestImport(t *testing.T) {
	t.Parallel()
	s := openStore(t, urls(servers(t, 1)), Config{Patience: 2 * time.Second})
	dir, want, object, ids := alone(t, 300)
	if err := s.Import(t.Context(), t.TempDir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("imported from nothing: %v", err)
	}
	held, _, err := journal.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Import(t.Context(), dir); !errors.Is(err, journal.ErrLocked) {
		t.Errorf("imported while it is held: %v", err)
	}
	_ = held.Close()

	// One that is cut short: its records are there, the snapshot is not.
	j, err := s.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := j.importRecords(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Open(t.Context(), 1, "test"); !errors.Is(err, errImportCut) {
		t.Fatalf("opened after an import that was cut short: %v", err)
	}
	for range 2 { // and it is done once
		if err := s.Import(t.Context(), dir); err != nil {
			t.Fatal(err)
		}
	}
	loaded, err := s.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sameState(t, want, loaded)
	opened, state := openJournal(t, s, 5)
	sameState(t, want, state)
	if f, err := opened.File(t.Context(), object); err != nil || string(f.Data) != "[manager]" {
		t.Errorf("the object: %+v, %v", f, err)
	}
	k, err := s.Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := k.IDs("dmz"); err != nil || !cmp.Equal(got, ids) {
		t.Errorf("keys %q, want %q, %v", got, ids, err)
	}
	p, err := k.Get("dmz", ids[1])
	was, err2 := keys.Open(dir).Get("dmz", ids[1])
	if err != nil || err2 != nil || p.ServerSecret.Reveal() != was.ServerSecret.Reveal() {
		t.Errorf("the keys are others: %v, %v", err, err2)
	}
	next := accept("next")
	if err := opened.Append(t.Context(), next); err != nil || next.Seq != 301 {
		t.Errorf("it goes on with %d, %v", next.Seq, err)
	}
	if got := history(t, s); len(got) != 301 || got[300] != "next" {
		t.Errorf("%d records are in the history", len(got))
	}
	if err := s.Import(t.Context(), dir); err != nil {
		t.Errorf("imported again: %v", err)
	}
	another, _, _, _ := alone(t, 1)
	_, isNot := errors.AsType[*NotEmpty](s.Import(t.Context(), another))
	if !isNot {
		t.Error("another was imported over it")
	}
	if got := history(t, s); len(got) != 301 {
		t.Errorf("%d records are in the history", len(got))
	}
}

// What is there of keys is not written over; what was wrong before does not begin a journal.
func TestImportOverKeys(t *testing.T) {
	t.Parallel()
	s := openStore(t, urls(servers(t, 1)), Config{Patience: time.Second})
	dir, _, object, _ := alone(t, 1)
	k, err := s.Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	id, err := k.Ensure("dmz")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Import(t.Context(), dir); err == nil || !strings.HasPrefix(err.Error(), "cannot import the keys of dmz: others are in the bucket zeekrec-keys") {
		t.Errorf("error %v", err)
	}
	if ids, err := k.IDs("dmz"); err != nil || !cmp.Equal(ids, []string{id}) {
		t.Errorf("keys %q, %v", ids, err)
	}
	if err := os.Remove(filepath.Join(dir, "objects", object[:2], object)); err != nil {
		t.Fatal(err)
	}
	if err := s.Import(t.Context(), dir); err == nil || !strings.HasPrefix(err.Error(), "cannot import an accepted revision: ") {
		t.Errorf("error %v", err)
	}
	if state, err := s.Load(t.Context()); err != nil || state.Seq != 0 {
		t.Errorf("something was imported: %v, %v", state, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Load(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("loaded in spite of the end: %v", err)
	}
}
