package broker

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/renameio/v2"
)

// This file is what makes a restart of the broker unnoticed. Who is there is kept on disk. The next broker takes
// them for nodes whose connection was lost: their subscriptions stand, publishers are held back until they are
// back, and who does not come back is cancelled, which publishers would else never hear.

// rememberPause is how long changes are gathered before they are written.
const rememberPause = 20 * time.Millisecond

// memory is the state file.
type memory struct {
	Format int `json:"format"`
	// Endpoints where they were: at others, nobody of them will come.
	Endpoints string          `json:"endpoints,omitempty"`
	Nodes     []memorizedNode `json:"nodes"`
}

type memorizedNode struct {
	Name   string   `json:"name"`
	ID     string   `json:"id"`
	Role   string   `json:"role,omitempty"`
	Local  bool     `json:"local,omitempty"` // its process was seen on this machine
	Topics []string `json:"topics"`
}

// memoryLimit is how large a state file is read at most.
const memoryLimit = 256 << 20

// changed has the state file renewed. Broker.mu is held.
func (b *Broker) changed() { signalTo(b.dirty) }

// remember writes the state file when something has changed, until the broker ends.
func (b *Broker) remember() {
	if b.stateFile == "" {
		return
	}
	failed := ""
	for {
		select {
		case <-b.done:
			return
		case <-b.dirty:
		}
		pause := time.NewTimer(rememberPause)
		select {
		case <-b.done: // stop has saved
			pause.Stop()
			return
		case <-pause.C:
		}
		if err := b.save(); err == nil {
			failed = ""
		} else if err.Error() != failed {
			failed = err.Error()
			b.log.Error("Cannot remember who is there; a restart of the broker will lose messages", "error", err)
		}
	}
}

// saveLast writes who is there for the last time: everybody who leaves from now on does so because the broker does.
func (b *Broker) saveLast() error {
	b.saving.Lock()
	defer b.saving.Unlock()
	b.mu.Lock()
	b.stopping = true
	b.mu.Unlock()
	return b.write()
}

// save writes who is there, unless it was written for the last time.
func (b *Broker) save() error {
	b.saving.Lock()
	defer b.saving.Unlock()
	b.mu.Lock()
	last := b.stopping
	b.mu.Unlock()
	if last {
		return nil
	}
	return b.write()
}

// write the state file. b.saving is held.
func (b *Broker) write() error {
	if b.stateFile == "" {
		return nil
	}
	m := memory{Format: 1, Endpoints: b.endpoints, Nodes: []memorizedNode{}}
	b.mu.Lock()
	add := func(h *holder) {
		if h.node.id == "" {
			return
		}
		n := memorizedNode{Name: h.node.name, ID: h.node.id, Role: h.node.role, Local: h.node.local, Topics: make([]string, 0, len(h.topics))}
		for t := range h.topics {
			if utf8.ValidString(t) { // Zeek's are; JSON would change any other
				n.Topics = append(n.Topics, t)
			}
		}
		slices.Sort(n.Topics)
		m.Nodes = append(m.Nodes, n)
	}
	for s := range b.subscribers {
		if s.holder != nil {
			add(s.holder)
		}
	}
	for _, g := range b.ghosts {
		if g.back == nil {
			add(g.holder)
		}
	}
	b.mu.Unlock()
	slices.SortFunc(m.Nodes, func(x, y memorizedNode) int { return strings.Compare(x.ID, y.ID) })
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := renameio.WriteFile(b.stateFile, append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("cannot write the state file: %w", err)
	}
	return nil
}

// recall reads who was there, before anybody is served.
func (b *Broker) recall() error {
	if b.stateFile == "" {
		return nil
	}
	info, err := os.Stat(b.stateFile)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Size() > memoryLimit {
		return fmt.Errorf("cannot read %s: it has %d bytes", b.stateFile, info.Size())
	}
	data, err := os.ReadFile(b.stateFile)
	if err != nil {
		return err
	}
	var m memory
	if err := json.Unmarshal(data, &m); err != nil {
		return fmt.Errorf("cannot read %s: %w", b.stateFile, err)
	}
	if m.Format != 1 {
		return fmt.Errorf("cannot read %s: format %d is not known", b.stateFile, m.Format)
	}
	if m.Endpoints != b.endpoints {
		b.log.Info("Does not wait for who was there before: that was elsewhere", "before", m.Endpoints)
		return nil
	}
	now := b.since
	grace := b.settings.Load().Grace
	b.mu.Lock()
	defer b.mu.Unlock()
	b.recovered = true
	for _, n := range m.Nodes {
		known := slices.ContainsFunc(b.ghosts, func(g *ghost) bool { return g.node.id == n.ID })
		if known || !isName(n.ID) || n.Name != "" && !isName(n.Name) {
			continue
		}
		h := newHolder(nil)
		h.node = nodeIdentity{name: n.Name, id: n.ID, role: n.Role, local: n.Local}
		for _, t := range n.Topics {
			if len(t) <= maxTopic && h.mayAdd(t) {
				b.table.add(h, t)
			}
		}
		if len(h.topics) == 0 {
			continue
		}
		b.ghosts = append(b.ghosts, &ghost{holder: h, lost: now, until: now.Add(grace), last: now.Add(aliveGraces * grace)})
	}
	signalTo(b.haunted)
	return nil
}

// releaseIfComplete lets publishers speak when nobody is waited for any more. Broker.mu is held.
func (b *Broker) releaseIfComplete() {
	if b.open || len(b.ghosts) > 0 && b.now().Before(b.since.Add(b.settings.Load().Grace)) {
		return
	}
	b.open = true
	if b.recovered {
		b.catchUp.Store(b.now().Add(catchUpTime).UnixNano())
	}
	close(b.released)
}
