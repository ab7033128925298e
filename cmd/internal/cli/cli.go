package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/zeekrec/zeekrec/actuators/process"
	"github.com/zeekrec/zeekrec/cmd/internal/api"
	"github.com/zeekrec/zeekrec/cmd/internal/render"
)

// app is one run of a command.
type app struct {
	env    map[string]string
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer

	settings settings
	// acted is set once a command was found and its flags and arguments were understood: errors before
	// are errors of usage.
	acted bool
}

// Run carries one command out and returns the exit code. args are without the program's name.
func Run(ctx context.Context, args, env []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if len(args) == 2 && args[0] == launchCommand {
		return process.ExecService(args[1]) // the same for one that systemd starts
	}
	if len(args) > 0 && args[0] == launchCommand {
		return process.ExecNode() // the process that is to become a node: nothing else may happen in it
	}
	a := &app{env: map[string]string{}, stdin: stdin, stdout: stdout, stderr: stderr}
	for _, e := range env {
		k, v, _ := strings.Cut(e, "=")
		a.env[k] = v
	}
	root := a.root()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	return a.report(cmd, err)
}

// launchCommand is the hidden command that every node begins as: see process.ExecNode.
const launchCommand = "exec-node"

func launcher() []string { return []string{"/proc/self/exe", launchCommand} }

// root command with all others.
func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "zeekrec",
		Short: "Keep running Zeek clusters equal to a folder of cluster.cfg files",
		Long: `zeekrec keeps running Zeek clusters equal to a folder of cluster.cfg files, with the
fewest processes disturbed. It plans before it acts, says why, and never stops
anything because a file could not be read.`,
		Example: `  zeekrec validate ./clusters        check what is written
  zeekrec plan ./clusters            what would be done, and why
  zeekrec run ./clusters             do it, and keep it so
  zeekrec status                     how it is`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          unknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cmd.SetOut(a.stderr)
			_ = cmd.Help()
			return &failure{code: exitUsage}
		},
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return a.readSettings(cmd) },
	}
	root.CompletionOptions.HiddenDefaultCmd = false
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage(err) })
	a.globalFlags(root.PersistentFlags())
	root.AddGroup(
		&cobra.Group{ID: "main", Title: "The main job:"},
		&cobra.Group{ID: "look", Title: "Looking:"},
		&cobra.Group{ID: "act", Title: "Stepping in:"},
		&cobra.Group{ID: "client", Title: "As with zeek-client; from zeekctl and zeek.conf:"},
	)
	add := func(group string, cs ...*cobra.Command) {
		for _, c := range cs {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("main", a.validateCommand(), a.planCommand(), a.runCommand(), a.controllerCommand(), a.agentCommand(), a.applyCommand())
	add("look", a.statusCommand(), a.historyCommand(), a.logsCommand(), a.topCommand(), a.netstatsCommand(), a.agentsCommand(), a.getIDValueCommand(), a.diagCommand())
	add("act", a.syncCommand(), a.restartCommand(), a.stopCommand(), a.startCommand(), a.suspendCommand(), a.resumeCommand(),
		a.rollbackCommand(), a.unpinCommand(), a.retryCommand(), a.keysCommand(), a.approveCommand(), a.revokeCommand(), a.tokensCommand())
	add("main", a.brokerCommand(), a.archiveCommand())
	add("client", a.deployConfigCommand(), a.stageConfigCommand(), a.deployCommand(), a.getConfigCommand(), a.getNodesCommand(), a.getInstancesCommand(),
		a.monitorCommand(), a.showSettingsCommand())
	add("client", a.importCommand(), a.exportCommand())
	root.AddCommand(a.versionCommand(), a.manualCommand())
	return root
}

// unknownCommand is what is left when no command fits.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	err := fmt.Errorf("there is no command %q", args[0])
	cmd.SuggestionsMinimumDistance = min(2, len(args[0])/3)
	if s := cmd.SuggestionsFor(args[0]); len(s) > 0 {
		return usage(err, "did you mean: zeekrec "+strings.Join(s, ", or zeekrec ")+"?")
	}
	return usage(err, "see: zeekrec help")
}

// action wraps what a command does: from here on errors are failures, no longer errors of usage.
func (a *app) action(f func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		a.acted = true
		return f(cmd.Context(), args)
	}
}

// render options for standard output.
func (a *app) rendering() render.Options {
	return render.Options{Color: a.color(a.stdout), Now: time.Now()}
}

// color says whether w wants colour: terminals do, unless NO_COLOR or --color says otherwise.
func (a *app) color(w io.Writer) bool {
	switch a.settings.color {
	case "always":
		return true
	case "never":
		return false
	}
	return isTerminal(w) && a.env["NO_COLOR"] == "" && a.env["TERM"] != "dumb"
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// say writes a line for people to standard error.
func (a *app) say(format string, args ...any) {
	fmt.Fprintf(a.stderr, "zeekrec: "+format+"\n", args...)
}

// print writes results.
func (a *app) print(text string) error {
	if _, err := io.WriteString(a.stdout, text); err != nil {
		return fmt.Errorf("cannot write the result: %w", err)
	}
	return nil
}

// userName is who runs this process.
func (a *app) userName() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	if u := a.env["USER"]; u != "" {
		return u
	}
	return "somebody"
}

// unreachable reports whether an error says that nothing answers, here or there.
func unreachable(err error) bool {
	_, ok := errors.AsType[*api.Unreachable](err)
	return ok
}

// nothingHere reports whether an error says that nothing runs on this machine, so that its state folder can be looked at instead. One that
// was asked on another machine has no state folder here.
func nothingHere(err error) bool {
	u, ok := errors.AsType[*api.Unreachable](err)
	return ok && u.Server == ""
}
