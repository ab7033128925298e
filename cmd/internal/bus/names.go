package bus

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/cespare/xxhash/v2"

	"github.com/zeekrec/zeekrec/desired"
)

// answersKept bounds how many different answers a controller remembers; beyond it all are sent again.
const answersKept = 64

// answered are the names of Zeeks that agents have said. Hosts mostly have the same, a hundred kB each time: who has the same says
// just that.
type answered struct {
	mu    sync.Mutex
	names map[string]desired.ZeekNames // by hash
}

func (a *answered) hashes() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make([]string, 0, len(a.names))
	for h := range a.names {
		out = append(out, h)
	}
	return out
}

// take is what an answer means. Answers that are the same share memory.
func (a *answered) take(n *namesAnswer) (desired.ZeekNames, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if old, ok := a.names[n.Hash]; ok {
		return old, nil
	}
	if n.Names == nil {
		return desired.ZeekNames{}, fmt.Errorf("it refers to names that were not known")
	}
	if a.names == nil || len(a.names) >= answersKept {
		a.names = map[string]desired.ZeekNames{}
	}
	a.names[n.Hash] = *n.Names
	return *n.Names, nil
}

// Names asks which names the scripts of a node let be redefined. Whoever gets them does not change them.
func (f *Fleet) Names(ctx context.Context, instance string, r desired.Resource) (desired.ZeekNames, error) {
	var got namesAnswer
	if err := f.ask(ctx, instance, methodNames, 0, namesBody{r, f.answered.hashes()}, &got); err != nil {
		return desired.ZeekNames{}, err
	}
	n, err := f.answered.take(&got)
	if err != nil {
		return n, fmt.Errorf("cannot read the answer of %s: %w", instance, err)
	}
	return n, nil
}

// names are those of a node, or the hash of them where they are known.
func (s *server) names(ctx context.Context, q *namesBody) (namesAnswer, error) {
	n, err := s.Agent.Names(ctx, q.Resource)
	if err != nil {
		return namesAnswer{}, err
	}
	b, err := json.Marshal(n) // maps are sorted
	if err != nil {
		return namesAnswer{}, err
	}
	a := namesAnswer{Names: &n, Hash: fmt.Sprintf("%016x", xxhash.Sum64(b))}
	for _, h := range q.Have {
		if h == a.Hash {
			a.Names = nil
		}
	}
	return a, nil
}
