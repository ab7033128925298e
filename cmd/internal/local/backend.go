package local

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/zeekrec/zeekrec/actuators/agent"
	"github.com/zeekrec/zeekrec/actuators/systemd"
)

// What keeps the processes of a role together, and bounds what they use.
const (
	BackendAuto   = "auto"   // scopes where systemd runs and zeekrec is root, else plain
	BackendScopes = "scopes" // scopes of systemd, which zeekrec puts its processes into
	BackendPlain  = "plain"  // nothing
)

// Backends are those that can be asked for.
func Backends() []string { return []string{BackendAuto, BackendScopes, BackendPlain} }

// backend finds what is asked for. Where there is none, it says why.
func backend(ctx context.Context, kind string) (groups agent.Groups, why string, err error) {
	switch {
	case kind == BackendPlain:
		return nil, "--process-backend is plain", nil
	case kind != BackendScopes && os.Geteuid() != 0:
		return nil, "zeekrec does not run as root (--process-backend scopes tries all the same)", nil
	}
	// The processes' groups outlive the wish to end: whether the machine is being shut down is asked then.
	m, err := systemd.Connect(context.WithoutCancel(ctx))
	switch {
	case err == nil:
		return systemd.NewScopes(m), "", nil
	case kind == BackendScopes:
		return nil, "", fmt.Errorf("cannot use --process-backend %s: %w; auto goes on without", kind, err)
	case errors.Is(err, systemd.ErrNotBooted):
		return nil, err.Error(), nil
	}
	return nil, err.Error() + " (zeekrec has to be started again when that is better)", nil
}
