package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/renameio/v2"

	"github.com/zeekrec/zeekrec/reconciler"
)

// savedPlan is what plan -o writes, and apply reads.
type savedPlan struct {
	FormatVersion int    `json:"format_version"`
	Kind          string `json:"kind"`
	// Source that it leads to, and the instance that files without instances mean.
	Source   string `json:"source"`
	Instance string `json:"instance"`
	// Live: it was computed against a running zeekrec.
	Live bool `json:"live"`
	// Digest of the plan and of all that it was computed from.
	Digest    string           `json:"digest"`
	CreatedAt time.Time        `json:"created_at"`
	Plan      *reconciler.Plan `json:"plan"`
}

const (
	savedKind    = "zeekrec-plan"
	savedVersion = 1
)

// save writes a plan to a file.
func save(path string, p *savedPlan) error {
	p.Kind, p.FormatVersion = savedKind, savedVersion
	b, err := json.MarshalIndent(p, "", "  ")
	if err == nil {
		err = renameio.WriteFile(path, append(b, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("cannot save the plan: %w", err)
	}
	return nil
}

// isSavedPlan tells a saved plan from a source, by its name.
func isSavedPlan(args []string) bool {
	return len(args) == 1 && strings.EqualFold(filepath.Ext(args[0]), ".json") && isFile(args[0])
}

func loadPlan(path string) (*savedPlan, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the saved plan: %w", err)
	}
	p := &savedPlan{}
	err = json.Unmarshal(b, p)
	if err == nil && (p.Kind != savedKind || p.Source == "" || p.Digest == "") {
		err = errors.New("it is not a file that zeekrec plan -o wrote")
	}
	if err == nil && p.FormatVersion != savedVersion {
		err = fmt.Errorf("it has format %d, and this zeekrec knows %d", p.FormatVersion, savedVersion)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot use the saved plan %s: %w", path, err)
	}
	return p, nil
}

// checkFresh refuses a plan where anything has changed that it was computed from.
func (a *app) checkFresh(ctx context.Context, p *savedPlan) error {
	a.settings.name = p.Instance
	w, live, err := a.world(ctx)
	if err != nil {
		return err
	}
	now, err := a.preview(ctx, w, p.Source)
	if err != nil {
		return err
	}
	if now.Digest() == p.Digest {
		return nil
	}
	why := "the source or what runs has changed since " + p.CreatedAt.Local().Format(time.DateTime)
	if live != p.Live {
		why = map[bool]string{true: "zeekrec did not run when it was made", false: "zeekrec no longer runs"}[live]
	}
	return &failure{code: exitStale, err: fmt.Errorf("the saved plan is stale: %s", why), hints: []string{"make a new one: zeekrec plan -o FILE " + p.Source}}
}
