package cli

import (
	"slices"

	"github.com/spf13/pflag"

	"github.com/zeekrec/zeekrec/cmd/internal/hooks"
)

func (a *app) hooksFlag(f *pflag.FlagSet) {
	f.StringVar(&a.settings.hooks, "hooks", "", "the `FILE` with commands and URLs that are told of successes, failures, rollbacks and drift; empty for none")
}

// readHooks makes the sender of the hooks that are wanted; nil for none. Only who follows a source tells any: what other commands journal is told
// by the next that does.
func (a *app) readHooks(h hosted) (*hooks.Sender, error) {
	if a.settings.hooks == "" || !h.listens {
		return nil, nil
	}
	hs, err := hooks.ReadFile(a.settings.hooks)
	if err != nil {
		return nil, withHint(err, "a hook is a section: [chat], on = failure, rollback, and url = https://… or command = /path/of/a/program")
	}
	// Of zeekrec's own environment commands get what says where they run, and none of its secrets.
	var env []string
	for _, name := range []string{"PATH", "HOME", "USER", "LANG", "TZ", "TMPDIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"} {
		if v, ok := a.env[name]; ok {
			env = append(env, name+"="+v)
		}
	}
	return hooks.New(a.settings.stateDir, hs, slices.Clip(env), h.log.With("part", "hooks")), nil
}
