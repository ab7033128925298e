package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"github.com/zeekrec/zeekrec/cmd/internal/render"
	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/desired/clustercfg"
	"github.com/zeekrec/zeekrec/desired/foreign"
)

// importing is what zeekrec import was told.
type importing struct {
	zeekctl, networks, site, output string
	adopt                           bool
}

func (a *app) importCommand() *cobra.Command {
	var x importing
	c := &cobra.Command{
		Use:   "import FILE…",
		Short: "Make a cluster.cfg of zeekctl's or the systemd generator's files",
		Long: `Make a cluster.cfg of zeekctl's node.cfg, with the zeekctl.cfg and networks.cfg beside it, or
of the zeek.conf of Zeek's systemd generator; of several hosts, give all their files
(HOST.zeek.conf). It is printed, or written to the file of --output.

Nodes get the names, interfaces, environments, CPUs and ports that they had. What has no
counterpart is a comment at the top, and said on standard error.

--adopt shows which running processes would be restarted and which would be left alone.`,
		Example: `  zeekrec import /opt/zeek/etc/node.cfg > /etc/zeek/clusters/dmz.cfg
  zeekrec import -o /etc/zeek/clusters/dmz.cfg --site /opt/zeek/share/zeek/site /opt/zeek/etc/node.cfg
  zeekrec import --adopt /opt/zeek/etc/zeek/zeek.conf`,
		Args: cobra.MinimumNArgs(1),
		RunE: a.action(func(_ context.Context, args []string) error { return a.importFiles(args, x) }),
	}
	f := c.Flags()
	f.StringVar(&x.zeekctl, "zeekctl-cfg", "", "zeekctl's settings `FILE` (default: zeekctl.cfg beside node.cfg)")
	f.StringVar(&x.networks, "networks", "", "zeekctl's `FILE` of local networks (default: networks.cfg beside node.cfg)")
	f.StringVar(&x.site, "site", "", "with --output: copy this `FOLDER` of site scripts to NAME/ beside the file")
	f.StringVarP(&x.output, "output", "o", "", "write to this `FILE`, which is to be NAME.cfg and must not exist")
	f.BoolVar(&x.adopt, "adopt", false, "show what would become of the processes that run")
	a.nameFlag(f)
	return c
}

func (a *app) importFiles(paths []string, x importing) error {
	name := "imported"
	if x.output != "" {
		name = strings.TrimSuffix(filepath.Base(x.output), ".cfg")
	}
	imported, ds, err := a.readForeign(name, paths, x)
	if err != nil {
		return err
	}
	o := a.rendering()
	o.Color = a.color(a.stderr)
	fmt.Fprint(a.stderr, render.Diagnostics(ds, o))
	if desired.HasErrors(ds) {
		return errors.New("cannot import: the files have errors")
	}
	for _, n := range imported.Notes {
		a.say("no counterpart: %s", n)
	}
	cluster, ds := clustercfg.Parse(desired.ClusterFile{Name: name, File: name + ".cfg", Data: imported.Text}, a.settings.name)
	if desired.HasErrors(ds) {
		// It is written all the same: what is missing has to be added by hand.
		fmt.Fprint(a.stderr, render.Diagnostics(ds, o))
		a.say("what was imported is not yet valid: see above")
	}
	if x.adopt && cluster != nil {
		fmt.Fprint(a.stderr, adoption(cluster, zeeksRunning(a.settings.stateDir)))
	}
	if x.output == "" {
		return a.print(string(imported.Text))
	}
	return a.writeImport(x, imported.Text)
}

// readForeign reads the files and imports them, as what they are.
func (a *app) readForeign(name string, paths []string, x importing) (foreign.Imported, []desired.Diagnostic, error) {
	var confs []foreign.ZeekConfFile
	for _, p := range paths {
		b, err := os.ReadFile(p)
		if err != nil {
			return foreign.Imported{}, nil, fmt.Errorf("cannot import: %w", err)
		}
		base := filepath.Base(p)
		if host, isHost := strings.CutSuffix(base, ".zeek.conf"); isHost || strings.HasSuffix(base, ".conf") {
			if !isHost {
				host = ""
			}
			confs = append(confs, foreign.ZeekConfFile{File: base, Host: host, Data: b})
			continue
		}
		if len(paths) > 1 {
			return foreign.Imported{}, nil, usage(fmt.Errorf("cannot import %s together with others: several files are for zeek.conf of several hosts", p))
		}
		files := foreign.ZeekctlFiles{Nodes: b}
		for _, beside := range []struct {
			given, name string
			to          *[]byte
		}{{x.zeekctl, "zeekctl.cfg", &files.Config}, {x.networks, "networks.cfg", &files.Networks}} {
			path := beside.given
			if path == "" {
				path = filepath.Join(filepath.Dir(p), beside.name)
			}
			*beside.to, err = os.ReadFile(path)
			if err != nil && (beside.given != "" || !errors.Is(err, fs.ErrNotExist)) {
				return foreign.Imported{}, nil, fmt.Errorf("cannot import: %w", err)
			}
		}
		imported, ds := foreign.Zeekctl(name, files)
		return imported, ds, nil
	}
	imported, ds := foreign.ZeekConf(name, confs)
	return imported, ds, nil
}

// writeImport writes a new file, and the site scripts beside it.
func (a *app) writeImport(x importing, text []byte) error {
	if !strings.HasSuffix(x.output, ".cfg") {
		return usage(fmt.Errorf("cannot write %s: a cluster's file is NAME.cfg", x.output))
	}
	if _, err := os.Lstat(x.output); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot write %s: it is there already", x.output)
	}
	if x.site != "" { // first, so that nobody sees the file without it
		if err := os.CopyFS(strings.TrimSuffix(x.output, ".cfg"), os.DirFS(x.site)); err != nil {
			return fmt.Errorf("cannot copy the site scripts: %w", err)
		}
	}
	if err := renameio.WriteFile(x.output, text, 0o644); err != nil {
		return fmt.Errorf("cannot write the import: %w", err)
	}
	a.say("wrote %s; check it with: zeekrec plan %s", x.output, x.output)
	return nil
}

func (a *app) exportCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "export zeek.conf FILE",
		Short: "Write a cluster as a zeek.conf for Zeek's systemd generator",
		Long: `Write the cluster of a .cfg file as a zeek.conf for Zeek's systemd generator (Zeek 9.0 and
later): the way back. What has no counterpart is a comment at the top, and said on standard
error.`,
		Example:   `  zeekrec export zeek.conf /etc/zeek/clusters/dmz.cfg`,
		Args:      cobra.ExactArgs(2),
		ValidArgs: []cobra.Completion{"zeek.conf"},
		RunE: a.action(func(ctx context.Context, args []string) error {
			if args[0] != "zeek.conf" {
				return usage(fmt.Errorf("cannot export %s: there is zeek.conf", args[0]))
			}
			path, err := sourcePath(args[1])
			if err != nil {
				return err
			}
			s, err := a.readSource(ctx, path)
			if err != nil {
				return err
			}
			if len(s.Files) != 1 || s.Files[0].Err != nil {
				return usage(fmt.Errorf("cannot export %s: it is not the .cfg file of one cluster", args[1]))
			}
			return a.export(s.Files[0])
		}),
	}
	a.nameFlag(c.Flags())
	return c
}

func (a *app) export(f desired.ClusterFile) error {
	c, ds := clustercfg.Parse(f, a.settings.name)
	if c == nil || desired.HasErrors(ds) {
		return a.unusable(ds)
	}
	text, notes, err := foreign.ExportZeekConf(c)
	if err != nil {
		return err
	}
	for _, n := range notes {
		a.say("no counterpart: %s", n)
	}
	return a.print(string(text))
}
