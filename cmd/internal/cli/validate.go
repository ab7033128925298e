package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/zeekrec/zeekrec/cmd/internal/render"
	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/desired/clustercfg"
)

// maxStdin bounds what is read from standard input.
const maxStdin = 16 << 20

func (a *app) validateCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "validate [SOURCE…]",
		Short: "Check configurations; needs nothing running",
		Long: `Check configurations: every file of the sources, with all errors of all files at once.
A SOURCE is a folder, a .cfg file, or - for standard input. Files of one folder are also
checked against each other. Ends with 1 if any file is invalid.`,
		Example: `  zeekrec validate ./clusters
  zeekrec validate dmz.cfg campus.cfg
  zeekrec validate --json - < dmz.cfg`,
		RunE: a.action(func(ctx context.Context, args []string) error { return a.validate(ctx, args, asJSON) }),
	}
	jsonFlag(c, &asJSON)
	a.nameFlag(c.Flags())
	a.gitFlags(c.Flags())
	return c
}

// checked is one file with what was found in it.
type checked struct {
	file        desired.ClusterFile
	cluster     *desired.Cluster // nil where the file could not be read
	diagnostics []desired.Diagnostic
}

func (a *app) validate(ctx context.Context, args []string, asJSON bool) error {
	if len(args) == 0 {
		args = []string{a.settings.source}
	}
	groups, err := a.filesOf(ctx, args)
	if err != nil {
		return err
	}
	var all []*checked
	for _, folder := range slices.Sorted(maps.Keys(groups)) {
		all = append(all, checkTogether(groups[folder], a.settings.name, time.Now())...)
	}
	invalid := slices.ContainsFunc(all, func(c *checked) bool { return desired.HasErrors(c.diagnostics) })
	if asJSON {
		err = a.printJSON(validation(all))
	} else {
		err = a.printValidation(all)
	}
	if err == nil && invalid {
		return &failure{code: exitFailed}
	}
	return err
}

// filesOf reads the sources. Files of one folder are one group, however they were given.
func (a *app) filesOf(ctx context.Context, args []string) (map[string][]desired.ClusterFile, error) {
	groups := map[string][]desired.ClusterFile{}
	for _, arg := range args {
		if arg == "-" {
			b, err := io.ReadAll(io.LimitReader(a.stdin, maxStdin+1))
			if err != nil {
				return nil, fmt.Errorf("cannot read standard input: %w", err)
			}
			if len(b) > maxStdin {
				return nil, fmt.Errorf("cannot read standard input: it is longer than %s", render.Bytes(maxStdin))
			}
			groups["-"] = []desired.ClusterFile{{Name: "stdin", File: "stdin", Data: b}}
			continue
		}
		path, err := sourcePath(arg)
		if err != nil {
			return nil, err
		}
		s, err := a.readSource(ctx, path)
		if err != nil {
			return nil, err
		}
		folder := path
		if isFile(path) {
			folder = filepath.Dir(path)
		} else if len(s.Files) == 0 {
			a.say("there is no .cfg file in %s", path)
		}
		for _, f := range s.Files {
			if !slices.ContainsFunc(groups[folder], func(g desired.ClusterFile) bool { return g.File == f.File }) {
				groups[folder] = append(groups[folder], f)
			}
		}
	}
	return groups, nil
}

// checkTogether checks the files of one folder, each by itself and then against each other.
func checkTogether(files []desired.ClusterFile, instance string, now time.Time) []*checked {
	slices.SortFunc(files, func(a, b desired.ClusterFile) int { return strings.Compare(a.File, b.File) })
	var all []*checked
	var good []*desired.Cluster
	for _, f := range files {
		c := &checked{file: f}
		if f.Err != nil {
			c.diagnostics = []desired.Diagnostic{{File: f.File, Severity: desired.Error, Code: "unreadable", Message: f.Err.Error()}}
		} else {
			c.cluster, c.diagnostics = clustercfg.Parse(f, instance)
		}
		if c.cluster != nil && !desired.HasErrors(c.diagnostics) {
			good = append(good, c.cluster)
		}
		all = append(all, c)
	}
	more := clustercfg.ValidateAll(good)
	good = slices.DeleteFunc(good, func(c *desired.Cluster) bool {
		return slices.ContainsFunc(more, func(d desired.Diagnostic) bool { return d.File == c.File && d.Severity == desired.Error })
	})
	out := desired.Compile(good, desired.Facts{Default: instance}.WithAssumedKeys(good), desired.Assignment{}, now)
	for _, d := range append(more, out.Diagnostics...) {
		if d.Code == "no-address" {
			continue // agents will tell; that nobody is asked here is no error of the file
		}
		for _, c := range all {
			if c.file.File == d.File {
				c.diagnostics = append(c.diagnostics, d)
			}
		}
	}
	for _, c := range all {
		desired.SortDiagnostics(c.diagnostics)
	}
	return all
}

func (a *app) printValidation(all []*checked) error {
	o, eo := a.rendering(), a.rendering()
	eo.Color = a.color(a.stderr)
	var b strings.Builder
	for _, c := range all {
		fmt.Fprint(a.stderr, render.Diagnostics(c.diagnostics, eo))
		b.WriteString(render.Valid(c.cluster, c.file.File, c.diagnostics, o))
	}
	return a.print(b.String())
}

// validationJSON is the form of validate --json, which is a promise.
type validationJSON struct {
	FormatVersion int                  `json:"format_version"`
	Clusters      []configJSON         `json:"clusters"`
	Diagnostics   []desired.Diagnostic `json:"diagnostics"`
}

type configJSON struct {
	Name   string          `json:"name"`
	Config json.RawMessage `json:"config"`
}

func validation(all []*checked) validationJSON {
	v := validationJSON{FormatVersion: 1, Clusters: []configJSON{}, Diagnostics: []desired.Diagnostic{}}
	for _, c := range all {
		if c.cluster != nil {
			v.Clusters = append(v.Clusters, configJSON{c.file.Name, clustercfg.ConfigJSON(c.cluster)})
		}
		v.Diagnostics = append(v.Diagnostics, c.diagnostics...)
	}
	return v
}
