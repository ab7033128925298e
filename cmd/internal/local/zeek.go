package local

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"

	"github.com/zeekrec/zeekrec/desired/clustercfg"
	"github.com/zeekrec/zeekrec/desired/source"
)

// NoZeek says that there is no Zeek to run.
type NoZeek struct{ Why string }

// Error says why.
func (n *NoZeek) Error() string { return "cannot find Zeek: " + n.Why }

// findZeek returns the absolute path of the default Zeek. There has to be one, unless every cluster
// of the source names its own.
func findZeek(ctx context.Context, cfg Config) (string, error) {
	name := cfg.Zeek
	if name == "" {
		name = "zeek"
	}
	path, err := exec.LookPath(name)
	if err == nil {
		if path, err = filepath.Abs(path); err == nil {
			return path, nil
		}
	}
	switch {
	case cfg.AnyZeek:
		return cfg.Zeek, nil
	case cfg.Zeek != "":
		return "", &NoZeek{fmt.Sprintf("%s cannot be executed (%v)", cfg.Zeek, err)}
	case allNameTheirs(ctx, cfg):
		return "", nil
	}
	return "", &NoZeek{"there is no zeek on the PATH"}
}

// allNameTheirs reports whether every cluster has a zeek of its own.
func allNameTheirs(ctx context.Context, cfg Config) bool {
	s, err := source.Read(ctx, cfg.Source)
	if err != nil || len(s.Files) == 0 {
		return false
	}
	for _, f := range s.Files {
		if f.Err != nil {
			return false
		}
		if c, _ := clustercfg.Parse(f, cfg.Instance); c == nil || c.Settings.Zeek == "" {
			return false
		}
	}
	return true
}
