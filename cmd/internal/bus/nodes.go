package bus

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/zeekrec/zeekrec/cmd/internal/api"
	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/observed"
)

// Bounds of what people wait for.
const (
	topWithin   = 4 * time.Second
	askWithin   = 10 * time.Second
	startWithin = 10 * time.Second // until an agent has said that it will send
	answerEarly = 500 * time.Millisecond
)

// Finder says where a resource is; *engine.Engine is one.
type Finder interface {
	Find(ctx context.Context, raw string) (key, instance string, err error)
}

// Nodes is what can be had of the nodes of all hosts beyond what is reported of them: an api.Nodes. Its methods may be called from
// several goroutines.
type Nodes struct {
	fleet *Fleet
	find  Finder
}

// NewNodes asks the agents of a fleet. find says which one has a node.
func NewNodes(f *Fleet, find Finder) *Nodes { return &Nodes{f, find} }

// Logs copies the outputs of a node ("cluster/node") to w, and goes on with what is added where that is asked for, until ctx
// ends. o.Since is by the clock of the node's host, as the times in its outputs are.
func (n *Nodes) Logs(ctx context.Context, key string, o api.LogOptions, w io.Writer) error {
	instance, err := n.where(ctx, key)
	if err != nil {
		return err
	}
	err = n.fleet.stream(ctx, instance, streamBody{Kind: streamLogs, Key: key, Logs: &o}, w)
	if o.Follow && ctx.Err() != nil {
		return nil
	}
	return err
}

// Top asks all agents at once, and returns what those say that answer within a few seconds, sorted by the resource. It is an error
// only where none does, while there are some.
func (n *Nodes) Top(ctx context.Context) ([]api.Usage, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, topWithin, fmt.Errorf("no answer within %s", topWithin))
	defer cancel()
	reports := n.fleet.Reports()
	var (
		wg       sync.WaitGroup
		mu       sync.Mutex
		answered int
		errs     []error
	)
	out := []api.Usage{}
	for i := range reports {
		wg.Go(func() {
			us, err := n.fleet.top(ctx, reports[i].Instance)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, err)
				return
			}
			answered++
			out = append(out, us...)
		})
	}
	wg.Wait()
	if answered == 0 && len(errs) > 0 {
		slices.SortFunc(errs, func(a, b error) int { return cmp.Compare(a.Error(), b.Error()) })
		return nil, errors.Join(errs...)
	}
	for _, err := range errs {
		if _, ok := errors.AsType[*Unreachable](err); !ok { // the status says who is not there
			n.fleet.log.Warn("The usage of an instance is missing", "error", err)
		}
	}
	slices.SortFunc(out, func(a, b api.Usage) int { return cmp.Compare(a.Resource, b.Resource) })
	return out, nil
}

func (f *Fleet) top(ctx context.Context, instance string) (us []api.Usage, err error) {
	err = f.ask(ctx, instance, methodTop, 0, nil, &us)
	return us, err
}

// Ask asks a node through the agent that has its cluster's broker, or else its manager. Errors are as api.Nodes has them; what a
// node says is in its own words.
func (n *Nodes) Ask(ctx context.Context, cluster, node, what, id string) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, askWithin, fmt.Errorf("no answer within %s", askWithin))
	defer cancel()
	instance, err := n.where(ctx, n.speaker(cluster, node))
	if err != nil {
		return nil, err
	}
	v, err := n.fleet.value(ctx, instance, askBody{cluster, node, what, id})
	if s, ok := errors.AsType[*said](err); ok {
		return nil, errors.New(s.text)
	}
	_, gone := errors.AsType[*Unreachable](err)
	if gone || observed.IsRefused(err) {
		return nil, &api.Error{Text: "cannot ask the nodes of " + cluster + ": " + err.Error(), Code: api.CodeRefused}
	}
	return v, err
}

// speaker is the key of the resource whose agent can speak to the nodes of a cluster; of the node itself where there is none, whose
// agent knows why.
func (n *Nodes) speaker(cluster, node string) string {
	manager := cluster + "/" + node
	for _, r := range n.fleet.Reports() {
		for i := range r.Resources {
			switch x := &r.Resources[i]; {
			case x.Cluster != cluster:
			case x.Type == string(desired.TypeBroker):
				return x.Key()
			case x.Role == string(desired.RoleManager):
				manager = x.Key()
			}
		}
	}
	return manager
}

// value asks a node for something that may be larger than a message can be.
func (f *Fleet) value(ctx context.Context, instance string, q askBody) ([]byte, error) {
	left := time.Duration(0)
	if end, ok := ctx.Deadline(); ok {
		// The agent's word that the node does not answer is to be here in time.
		left = time.Until(end)
		left -= min(answerEarly, left/10)
	}
	var a askAnswer
	if err := f.ask(ctx, instance, methodAsk, left, q, &a); err != nil || !a.Large {
		return a.Value, err
	}
	b := &bounded{most: maxValue}
	err := f.stream(ctx, instance, streamBody{Kind: streamAsk, Ask: &q}, b)
	return b.Bytes(), err
}

// bounded is a buffer that does not get too large.
type bounded struct {
	bytes.Buffer
	most int
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.Len()+len(p) > b.most {
		return 0, fmt.Errorf("its answer is too large: more than %d MiB", b.most>>20)
	}
	return b.Buffer.Write(p)
}

// Diag writes a bundle, a tar.gz, with what the node's agent puts into it and the files of more. Those are not sent to the agent: they
// tell of other hosts.
func (n *Nodes) Diag(ctx context.Context, key string, more map[string][]byte, at time.Time, w io.Writer) error {
	instance, err := n.where(ctx, key)
	if err != nil {
		return err
	}
	// Nothing is written before it is known that there is a bundle.
	return n.fleet.stream(ctx, instance, streamBody{Kind: streamDiag, Key: key, At: at}, &preceded{w: w, first: func() error {
		return writeFiles(w, api.BundleName(key), more, at)
	}})
}

// preceded has first write before anything else is.
type preceded struct {
	w     io.Writer
	first func() error
}

func (p *preceded) Write(b []byte) (int, error) {
	if first := p.first; first != nil {
		p.first = nil
		if err := first(); err != nil {
			return 0, err
		}
	}
	return p.w.Write(b)
}

// writeFiles writes the beginning of a tar.gz; a whole tar.gz has to follow. That makes one archive, since a gzip file may have
// several parts, and an archive ends where its last part does.
func writeFiles(w io.Writer, root string, files map[string][]byte, at time.Time) error {
	z := gzip.NewWriter(w)
	t := tar.NewWriter(z)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		h := &tar.Header{Name: path.Join(root, name), Mode: 0o600, Size: int64(len(files[name])), ModTime: at, Format: tar.FormatPAX}
		if err := t.WriteHeader(h); err != nil {
			return err
		}
		if _, err := t.Write(files[name]); err != nil {
			return err
		}
	}
	if err := t.Flush(); err != nil { // not closed: it goes on
		return err
	}
	return z.Close()
}

// where is the instance on which a resource is.
func (n *Nodes) where(ctx context.Context, key string) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, startWithin, fmt.Errorf("cannot find %s within %s", key, startWithin))
	defer cancel()
	_, instance, err := n.find.Find(ctx, key)
	if err == nil && instance == "" {
		err = &api.Error{Text: fmt.Sprintf("cannot find %s: no instance has it", key), Code: api.CodeNotFound}
	}
	return instance, err
}

// stream has an agent send, and passes it on to w until its end, or that of ctx.
func (f *Fleet) stream(ctx context.Context, instance string, b streamBody, w io.Writer) error {
	b.ID = rand.Text()
	if end, ok := ctx.Deadline(); ok {
		if b.Left = time.Until(end); b.Left <= 0 {
			return fmt.Errorf("cannot ask %s: %w", instance, errLate)
		}
	}
	in := newInlet(instance)
	sub, err := f.conn.Subscribe(streamSubject+token(instance)+"."+b.ID, func(m *nats.Msg) {
		if !InInbox(instance, m.Reply) {
			return
		}
		if ack, ok := in.take(m.Data); ok {
			if err := m.Respond([]byte(ack)); err != nil {
				f.log.Warn("Cannot acknowledge", "instance", instance, "error", err)
			}
		}
	})
	if err != nil {
		return fmt.Errorf("cannot listen to %s: %w", instance, err)
	}
	last := false
	defer func() {
		_ = sub.Unsubscribe() // fails where the connection is closed, and all that it had
		if !last {
			// Whether it arrives or not, the agent finds that nobody listens.
			_ = f.conn.Publish(cancelSubject+token(instance), []byte(b.ID))
		}
	}()
	// One is on its way, if an agent does as it should.
	if err := sub.SetPendingLimits(4, 4*(pieceHead+pieceSize)); err != nil {
		return fmt.Errorf("cannot listen to %s: %w", instance, err)
	}
	if err := f.begin(ctx, instance, &b); err != nil {
		close(in.over)
		return err
	}
	last, err = in.copy(ctx, w)
	return err
}

func (f *Fleet) begin(ctx context.Context, instance string, b *streamBody) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startWithin, fmt.Errorf("no answer within %s", startWithin))
	defer cancel()
	return f.ask(ctx, instance, methodStream, 0, b, nil)
}
