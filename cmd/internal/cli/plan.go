package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/zeekrec/zeekrec/cmd/internal/render"
	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/desired/clustercfg"
	"github.com/zeekrec/zeekrec/desired/source/git"
	"github.com/zeekrec/zeekrec/reconciler"
	"github.com/zeekrec/zeekrec/reconciler/engine"
)

// planFlags of zeekrec plan.
type planFlags struct {
	json, detailed bool
	markdown       bool
	out            string
	from, to       string
}

func (a *app) planCommand() *cobra.Command {
	var f planFlags
	c := &cobra.Command{
		Use:   "plan [SOURCE]",
		Short: "Show what would be done, and why; changes nothing",
		Long: `Show what would be done if SOURCE were the source now, and why. Nothing is changed.

A folder stands for the whole source: clusters that it lacks would be stopped. A single
.cfg file plans its own cluster only. SOURCE may be a Git repository, too. Without SOURCE, a running zeekrec is asked what it
still has to do. Without a running zeekrec, the state folder is read where there is one.

With --from and --to, nothing has to run: what they name is compared, two folders, files or
URLs, or two revisions of the Git repository that SOURCE is, or that the working folder is
in. Which scripts nodes load is not known then: a change in NAME/ counts for all of them.

+ start   ~ restart   - stop   = update in place, which disturbs nothing`,
		Example: `  zeekrec plan ./clusters
  zeekrec plan --detailed-exitcode ./clusters    ends with 2 if there is something to do
  zeekrec plan -o plan.json ./clusters           and later: zeekrec apply plan.json
  zeekrec plan --from ./old --to ./new           compare two folders, offline
  zeekrec plan clusters --from main --to HEAD    what merging would do, in a checkout
  zeekrec plan "https://git.example.org/zeek.git?path=clusters" --from main --to topic --markdown`,
		Args: cobra.MaximumNArgs(1),
		RunE: a.action(func(ctx context.Context, args []string) error { return a.plan(ctx, args, f) }),
	}
	fl := c.Flags()
	jsonFlag(c, &f.json)
	fl.BoolVar(&f.detailed, "detailed-exitcode", false, "end with 2 if there is something to do")
	fl.StringVarP(&f.out, "out", "o", "", "save the plan in `FILE`, for zeekrec apply FILE")
	fl.BoolVar(&f.markdown, "markdown", false, "print Markdown, for a comment on a pull request")
	fl.StringVar(&f.from, "from", "", "compare: the `SOURCE` or revision that is taken to run")
	fl.StringVar(&f.to, "to", "", "compare: the `SOURCE` or revision that is to run")
	c.MarkFlagsMutuallyExclusive("json", "markdown")
	a.nameFlag(fl)
	a.gitFlags(fl)
	return c
}

func (a *app) plan(ctx context.Context, args []string, f planFlags) error {
	p, note, err := a.makePlan(ctx, args, f)
	if err != nil {
		return err
	}
	if f.json {
		if note != "" {
			p.Diagnostics = append([]desired.Diagnostic{{Severity: desired.Info, Code: "world", Message: note}}, p.Diagnostics...)
		}
		err = a.printJSON(p)
	} else if f.markdown {
		err = a.print(render.PlanMarkdown(p))
	} else {
		err = a.printPlan(p, note)
	}
	switch {
	case err != nil:
		return err
	case desired.HasErrors(p.Diagnostics):
		return &failure{code: exitFailed} // what is wrong has been shown
	case f.detailed && !p.Empty():
		return &failure{code: exitToDo}
	}
	return nil
}

// makePlan computes the plan that was asked for, and saves it where that was asked for too.
func (a *app) makePlan(ctx context.Context, args []string, f planFlags) (*reconciler.Plan, string, error) {
	if f.from != "" || f.to != "" {
		switch {
		case f.from == "" || f.to == "":
			return nil, "", usage(errors.New("cannot compare: --from and --to belong together"))
		case f.out != "":
			return nil, "", usage(errors.New("cannot use --from and --to together with --out"))
		}
		p, err := a.compare(ctx, args, f.from, f.to)
		return p, "", err
	}
	if len(args) == 0 && f.out == "" {
		p, err := a.client().Plan(ctx)
		if err == nil || !nothingHere(err) {
			return p, "", err
		}
	}
	w, live, err := a.world(ctx)
	if err != nil {
		return nil, "", err
	}
	path := w.Source
	if len(args) == 0 && a.settings.server != "" && !git.IsURL(path) {
		return nil, "", usage(errors.New("cannot read the source: it is a folder of the server; name SOURCE, as it is on this machine"))
	}
	if len(args) > 0 || path == "" {
		if path, err = a.argOr(args); err != nil {
			return nil, "", err
		}
	}
	p, err := a.preview(ctx, w, path)
	if err != nil {
		return nil, "", err
	}
	if f.out != "" {
		err = save(f.out, &savedPlan{Source: path, Instance: w.Instance, Live: live, Digest: p.Digest(), CreatedAt: time.Now(), Plan: p})
		if err == nil {
			a.say("saved; to carry it out: zeekrec apply %s", f.out)
		}
	}
	return p, w.Note, err
}

// preview is the plan for a source in a world.
func (a *app) preview(ctx context.Context, w *engine.World, path string) (*reconciler.Plan, error) {
	s, err := a.readSource(ctx, path)
	if err != nil {
		return nil, err
	}
	return engine.Preview(w, s, !isFile(path), clustercfg.Parse, clustercfg.ValidateAll), nil
}

// compare plans the way from one source to another.
func (a *app) compare(ctx context.Context, args []string, from, to string) (*reconciler.Plan, error) {
	snaps, err := a.sides(ctx, args, from, to)
	if err != nil {
		return nil, err
	}
	if isFile(from) && isFile(to) && len(snaps[0].Files) == 1 && len(snaps[1].Files) == 1 {
		// Two files are two states of one cluster, whatever they are called.
		old := &snaps[0].Files[0]
		old.Name = snaps[1].Files[0].Name
		old.File = snaps[1].Files[0].File
	}
	p, ds := engine.Compare(snaps[0], snaps[1], a.settings.name, clustercfg.Parse, clustercfg.ValidateAll, time.Now())
	if desired.HasErrors(ds) {
		a.printDiagnostics(forPlan(ds))
		return nil, fmt.Errorf("cannot compare: %s has errors", from)
	}
	return p, nil
}

func (a *app) printPlan(p *reconciler.Plan, note string) error {
	a.printDiagnostics(forPlan(p.Diagnostics))
	text := render.Plan(p, a.rendering())
	if note != "" {
		text = "Note: " + note + ".\n\n" + text
	}
	return a.print(text)
}

// forPlan leaves out what validate says of every file that states nothing about it: in a plan it would hide
// what matters.
func forPlan(ds []desired.Diagnostic) []desired.Diagnostic {
	general := []string{"broker-mode", "archive"}
	return slices.DeleteFunc(slices.Clone(ds), func(d desired.Diagnostic) bool {
		return d.Severity == desired.Info && slices.Contains(general, d.Code)
	})
}

// printDiagnostics writes them for people.
func (a *app) printDiagnostics(ds []desired.Diagnostic) {
	fmt.Fprint(a.stderr, render.Diagnostics(ds, render.Options{Color: a.color(a.stderr)}))
}
