package mgmt

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/google/renameio/v2"
)

// store keeps the staged configuration and what is known of the deployed one in a file of the state folder.
type store struct {
	path string
	mu   sync.Mutex
	kept kept
}

type kept struct {
	// Staged is the configuration as the client sent it.
	Staged *keptConfig `json:"staged,omitempty"`
	// Deployed is that of the last deploy. It is the cluster's as long as the cluster is at the same revision.
	Deployed *keptConfig `json:"deployed,omitempty"`
}

type keptConfig struct {
	Revision string `json:"revision,omitempty"`
	// Config in Broker's data model.
	Config json.RawMessage `json:"config"`
}

// openStore reads what was kept. A file that cannot be used is put aside, and told: it holds nothing that runs depends on.
func openStore(stateDir, cluster string) (*store, error) {
	s := &store{path: filepath.Join(stateDir, "management-"+cluster+".json")}
	b, err := os.ReadFile(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the staged configuration: %w", err)
	}
	if err = json.Unmarshal(b, &s.kept); err == nil {
		_, err = s.staged()
	}
	if err != nil {
		s.kept = kept{}
		if moved := os.Rename(s.path, s.path+".bad"); moved != nil {
			return nil, fmt.Errorf("cannot put a damaged %s aside: %w", s.path, moved)
		}
		return s, &Damaged{Path: s.path + ".bad", Err: err}
	}
	return s, nil
}

// Damaged says that a file of the state folder could not be used and was put aside.
type Damaged struct {
	Path string
	Err  error
}

// Error says why, and where it is now.
func (d *Damaged) Error() string {
	return fmt.Sprintf("cannot use the staged configuration that was kept, it is now in %s: %v", d.Path, d.Err)
}

// Unwrap gives the cause.
func (d *Damaged) Unwrap() error { return d.Err }

// staged returns the staged configuration; nil for none.
func (s *store) staged() (*Configuration, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kept.Staged.read()
}

// deployed returns the last deployed configuration and the revision that it became; nil for none.
func (s *store) deployed() (*Configuration, string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, err := s.kept.Deployed.read()
	if c == nil {
		return nil, "", err
	}
	return c, s.kept.Deployed.Revision, nil
}

func (k *keptConfig) read() (*Configuration, error) {
	if k == nil {
		return nil, nil
	}
	v, err := ParseValue(k.Config)
	if err != nil {
		return nil, err
	}
	return configurationOf(v)
}

// stage keeps a configuration.
func (s *store) stage(c *Configuration) error {
	return s.change(func(k *kept, config json.RawMessage) { k.Staged = &keptConfig{Config: config} }, c)
}

// deploy notes that a configuration was deployed and is a revision; empty for one without nodes.
func (s *store) deploy(c *Configuration, revision string) error {
	return s.change(func(k *kept, config json.RawMessage) { k.Deployed = &keptConfig{Revision: revision, Config: config} }, c)
}

func (s *store) change(f func(*kept, json.RawMessage), c *Configuration) error {
	config, err := Marshal(c.Value())
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	next := s.kept
	f(&next, config)
	b, err := json.Marshal(next)
	if err != nil {
		return err
	}
	if err := renameio.WriteFile(s.path, append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("cannot keep the configuration: %w", err)
	}
	s.kept = next
	return nil
}
