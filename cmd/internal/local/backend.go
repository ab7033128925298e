package local

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/zeekrec/zeekrec/actuators/agent"
	"github.com/zeekrec/zeekrec/actuators/cgroup"
	"github.com/zeekrec/zeekrec/actuators/systemd"
)

// What keeps the processes of a role together, and bounds what they use.
const (
	BackendAuto   = "auto"   // scopes where systemd runs and zeekrec is root, else plain
	BackendScopes = "scopes" // scopes of systemd, which zeekrec puts its processes into
	// BackendServices are services of systemd, which starts them, and starts them again when they end.
	BackendServices = "services"
	BackendPlain    = "plain" // cgroups of version 2 where zeekrec may divide its own, else nothing
)

// Backends are those that can be asked for.
func Backends() []string { return []string{BackendAuto, BackendScopes, BackendServices, BackendPlain} }

// backend finds what is asked for. Where there is none, it says why.
func backend(ctx context.Context, kind string) (groups agent.Groups, why string, err error) {
	stated := kind == BackendScopes || kind == BackendServices
	if kind == BackendPlain || !stated && os.Geteuid() != 0 {
		return divided("")
	}
	// The processes' groups outlive the wish to end: whether the machine is being shut down is asked then.
	m, err := systemd.Connect(context.WithoutCancel(ctx))
	switch {
	case err == nil && kind == BackendServices:
		return systemd.NewServices(m), "", nil
	case err == nil:
		return systemd.NewScopes(m), "", nil
	case stated:
		return nil, "", fmt.Errorf("cannot use --process-backend %s: %w; auto goes on without", kind, err)
	case errors.Is(err, systemd.ErrNotBooted):
		return divided(err.Error() + "; ")
	}
	return divided(err.Error() + " (zeekrec has to be started again when that is better); ")
}

// divided is the cgroup that zeekrec is in, where that can be divided.
func divided(instead string) (agent.Groups, string, error) {
	tree, err := cgroup.Divide()
	if err != nil {
		return nil, instead + err.Error(), nil
	}
	return tree, "", nil
}
