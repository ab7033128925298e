package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/zeekrec/zeekrec/actuators/agent"
	"github.com/zeekrec/zeekrec/actuators/keys"
	"github.com/zeekrec/zeekrec/reconciler/engine/journal"
)

// AgentHost is a host's agent, and what it holds.
type AgentHost struct {
	Agent *agent.Agent
	Nodes *Nodes
	// Keys are those that the controller brings.
	Keys *keys.Store
	// Zeek is the path of the default Zeek; empty where there is none.
	Zeek string

	lock *os.File
}

// AgentDir is where an agent keeps what is of its controller: who it is, keys, the epoch.
func AgentDir(stateDir string) string { return filepath.Join(stateDir, "agent") }

// OpenAgent takes the agent's part of a state folder, whose clusters it finds again where zeekrec run has left them; nothing runs yet. The
// error is journal.ErrLocked where another process has that part.
func OpenAgent(ctx context.Context, cfg Config) (*AgentHost, error) {
	var err error
	if cfg.StateDir, err = filepath.Abs(cfg.StateDir); err != nil {
		return nil, fmt.Errorf("cannot tell where the state folder is: %w", err)
	}
	cfg.AnyZeek = true // clusters may name theirs
	zeek, err := findZeek(ctx, cfg)
	if err != nil {
		return nil, err
	}
	own := keys.Open(AgentDir(cfg.StateDir))
	if err := os.MkdirAll(AgentDir(cfg.StateDir), 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the state folder: %w", err)
	}
	h, err := openAgent(ctx, cfg, zeek, keyrings{keyring{own}, keyring{keys.Open(cfg.StateDir)}})
	if err != nil {
		return nil, err
	}
	h.Keys = own
	return h, nil
}

func openAgent(ctx context.Context, cfg Config, zeek string, ks agent.Keys) (*AgentHost, error) {
	// Nodes may run as another user, who has to get to his folder.
	if err := os.MkdirAll(cfg.StateDir, 0o711); err != nil {
		return nil, fmt.Errorf("cannot make the state folder: %w", err)
	}
	lock, err := journal.Lock(filepath.Join(cfg.StateDir, "agent.lock"))
	if err != nil {
		return nil, err
	}
	groups, ungrouped, err := backend(ctx, cfg.Backend)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	to, only, err := outputTo(cfg.Output)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	a, err := agent.New(agent.Config{
		Groups: groups, Ungrouped: ungrouped, Journal: to, JournalOnly: only,
		StateDir: cfg.StateDir, Instance: cfg.Instance, DefaultZeek: zeek, DefaultUser: cfg.User, Launcher: cfg.Launcher,
		Version: cfg.Version, Log: cfg.Log.With("part", "agent"), Keys: ks, Brokers: reachBroker, Archivers: reachArchiver, ArchiveDir: cfg.ArchiveDir, Now: cfg.Now,
	})
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return &AgentHost{Agent: a, Nodes: &Nodes{agent: a, stateDir: cfg.StateDir}, Zeek: zeek, lock: lock}, nil
}

// Close gives the agent's part of the state folder back.
func (h *AgentHost) Close() error { return h.lock.Close() }
