package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"github.com/zeekrec/zeekrec/cmd/internal/api"
	"github.com/zeekrec/zeekrec/cmd/internal/local"
	"github.com/zeekrec/zeekrec/cmd/internal/render"
)

func (a *app) logsCommand() *cobra.Command {
	var o api.LogOptions
	var since string
	c := &cobra.Command{
		Use:   "logs [CLUSTER/]NODE",
		Short: "Show a node's stdout and stderr",
		Long: `Show what a node wrote to its stdout and stderr. Most of Zeek's lines bear no time:
--since knows the starts, which zeekrec notes in the output, and lines with Zeek's own time.
Without a running zeekrec the outputs are read from the state folder.`,
		Example: `  zeekrec logs worker-01
  zeekrec logs dmz/worker-01 -f --stderr
  zeekrec logs worker-01 --since 10m`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeNodes,
		RunE: a.action(func(ctx context.Context, args []string) error {
			var err error
			if o.Since, err = parseSince(since, time.Now()); err != nil {
				return err
			}
			err = a.client().Logs(ctx, args[0], o, a.stdout)
			if !unreachable(err) {
				return endedByUser(ctx, err)
			}
			key, err := local.FindNode(a.settings.stateDir, args[0])
			if err != nil {
				return err
			}
			return endedByUser(ctx, local.OfflineNodes(a.settings.stateDir).Logs(ctx, key, o, a.stdout))
		}),
	}
	f := c.Flags()
	f.BoolVarP(&o.Follow, "follow", "f", false, "go on with what is added, until interrupted")
	f.StringVar(&since, "since", "", "leave out what is older: a `TIME` (2026-01-02T15:04:05Z) or an age (10m)")
	f.BoolVar(&o.Stdout, "stdout", false, "stdout only")
	f.BoolVar(&o.Stderr, "stderr", false, "stderr only")
	f.IntVarP(&o.Lines, "lines", "n", 0, "begin with the last `N` lines of each; 0: all")
	return c
}

// endedByUser: an interrupt is how following ends, and no failure.
func endedByUser(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// parseSince takes a time or an age.
func parseSince(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(s); err == nil {
		return now.Add(-d.Abs()), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateTime, time.DateOnly} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, usage(fmt.Errorf("cannot understand --since %s: it takes an age (10m) or a time (2026-01-02T15:04:05Z)", s))
}

func (a *app) topCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "top",
		Short: "Show CPU, memory, packets and drops of the nodes",
		Long: `Show what the nodes use now, and how they fare. CPU is measured over half a second, in
percent of one CPU. The rest is what the agent found when it examined the node last, which it
does every 10 s: LOOP is the share of a CPU that Zeek's main loop took in the last minute, and
near 100 packets are about to be lost; PACKETS and DROPS are counted since the start, PACKETS/S and
the percentage of drops over the last minute. They come from the node's telemetry, or, with
metrics = off, through the cluster's broker.`,
		Example: "  zeekrec top",
		Args:    cobra.NoArgs,
		RunE: a.action(func(ctx context.Context, _ []string) error {
			us, err := a.client().Top(ctx)
			switch {
			case err != nil:
				return err
			case asJSON:
				return a.printJSON(us)
			}
			return a.print(render.Top(us, a.rendering()))
		}),
	}
	jsonFlag(c, &asJSON)
	return c
}

func (a *app) diagCommand() *cobra.Command {
	var out string
	c := &cobra.Command{
		Use:   "diag [CLUSTER/]NODE",
		Short: "Make a bundle for a bug report",
		Long: `Make a bundle (tar.gz) for a bug report about a node: its outputs, core dump, records,
generated layout, versions, the status, the last plan and the history. Values of
environment variables are left out. Look through it before you send it away.`,
		Example:           "  zeekrec diag dmz/worker-01 -o worker-01.tar.gz",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeNodes,
		RunE: a.action(func(ctx context.Context, args []string) error {
			if out == "-" {
				return a.diag(ctx, args[0], a.stdout)
			}
			if out == "" {
				out = api.BundleName(args[0]) + ".tar.gz"
			}
			// 0600: outputs and core dumps may hold what others are not to see.
			f, err := renameio.NewPendingFile(out, renameio.WithPermissions(0o600))
			if err != nil {
				return fmt.Errorf("cannot write the bundle: %w", err)
			}
			defer func() { _ = f.Cleanup() }()
			if err := a.diag(ctx, args[0], f); err != nil {
				return err
			}
			if err := f.CloseAtomicallyReplace(); err != nil {
				return fmt.Errorf("cannot write the bundle: %w", err)
			}
			return a.print(filepath.Clean(out) + "\n")
		}),
	}
	c.Flags().StringVarP(&out, "out", "o", "", "the `FILE` to write; -: standard output (default zeekrec-diag-NODE.tar.gz)")
	return c
}

func (a *app) diag(ctx context.Context, node string, w io.Writer) error {
	if f, ok := w.(*os.File); ok && isTerminal(f) {
		return usage(errors.New("cannot write a bundle to a terminal"))
	}
	err := a.client().Diag(ctx, node, w)
	if !unreachable(err) {
		return err
	}
	key, ferr := local.FindNode(a.settings.stateDir, node)
	if ferr != nil {
		return err
	}
	more := map[string][]byte{"version.txt": []byte("zeekrec " + Version() + ", which does not run now\n")}
	return local.OfflineNodes(a.settings.stateDir).Diag(ctx, key, more, time.Now(), w)
}
