package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// manualCommand writes what a package has beside the program, from the commands themselves.
func (a *app) manualCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "manual DIR",
		Short:  "Write the manual's pages and the completions of shells",
		Long:   "Write a page for man(1) for each command to DIR/man1, and completions to DIR/completions, for whoever makes a package.",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE:   a.action(func(_ context.Context, args []string) error { return writeManual(args[0]) }),
	}
}

func writeManual(dir string) error {
	// Of nobody's environment: the pages are for everybody.
	anybody := &app{env: map[string]string{"HOME": "~"}}
	root := anybody.root()
	root.InitDefaultCompletionCmd()
	for name, page := range manual(root) {
		if err := put(filepath.Join(dir, "man1", name), page); err != nil {
			return err
		}
	}
	for name, write := range map[string]func(path string) error{
		"zeekrec.bash": func(path string) error { return root.GenBashCompletionFileV2(path, true) },
		"zeekrec.fish": func(path string) error { return root.GenFishCompletionFile(path, true) },
		"_zeekrec":     root.GenZshCompletionFile,
	} {
		path := filepath.Join(dir, "completions", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("cannot make the folder of the completions: %w", err)
		}
		if err := write(path); err != nil {
			return fmt.Errorf("cannot write completions: %w", err)
		}
	}
	return nil
}

func put(path, text string) error {
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = renameio.WriteFile(path, []byte(text), 0o644)
	}
	if err != nil {
		return fmt.Errorf("cannot write the manual: %w", err)
	}
	return nil
}

// manual is a page for each command that people see, by the name of its file.
func manual(root *cobra.Command) map[string]string {
	pages := map[string]string{}
	var add func(*cobra.Command)
	add = func(c *cobra.Command) {
		pages[pageName(c)+".1"] = manualPage(c)
		for _, sub := range shown(c) {
			add(sub)
		}
	}
	add(root)
	return pages
}

// shown are the commands below c that have a page.
func shown(c *cobra.Command) (out []*cobra.Command) {
	for _, sub := range c.Commands() {
		if !sub.Hidden && sub.Name() != "help" {
			out = append(out, sub)
		}
	}
	return out
}

// pageName of zeekrec agent join is zeekrec-agent-join.
func pageName(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") }

func manualPage(c *cobra.Command) string {
	r := &roff{}
	r.macro("TH", strings.ToUpper(pageName(c)), "1", "", "zeekrec", "zeekrec")
	r.macro("SH", "NAME")
	r.line(pageName(c) + " - " + lowerFirst(c.Short))
	r.macro("SH", "SYNOPSIS")
	r.line(strings.TrimSuffix(c.UseLine(), " [flags]") + " [OPTIONS]")
	r.macro("SH", "DESCRIPTION")
	r.text(orElse(c.Long, c.Short))
	if c.Example != "" {
		r.macro("SH", "EXAMPLES")
		r.example(c.Example)
	}
	if subs := shown(c); len(subs) > 0 {
		r.macro("SH", "COMMANDS")
		for _, sub := range subs {
			r.item(strings.ReplaceAll(sub.CommandPath(), " ", "\u00a0"), sub.Short)
		}
	}
	r.options("OPTIONS", c.LocalNonPersistentFlags())
	if !c.HasParent() {
		r.options("OPTIONS OF ALL COMMANDS", c.PersistentFlags())
		r.rootSections()
	}
	r.macro("SH", "SEE ALSO")
	r.line(strings.Join(seeAlso(c), ", "))
	return r.String()
}

// options are those of a command that people see.
func (r *roff) options(title string, flags *pflag.FlagSet) {
	begun := false
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		if !begun {
			r.macro("SH", title)
			begun = true
		}
		value, usage := pflag.UnquoteUsage(f)
		term := "--" + f.Name
		if f.Shorthand != "" {
			term = "-" + f.Shorthand + ",\u00a0" + term
		}
		if value != "" {
			term += " " + value
		}
		if d := defaultOf(f); d != "" {
			usage += " (default: " + d + ")"
		}
		r.item(term, usage)
	})
}

// defaultOf a flag, in words where it depends on the machine or on who asks; empty: there is none to tell.
func defaultOf(f *pflag.Flag) string {
	switch f.Name {
	case "name":
		return "agent- and the host's name"
	case "controller-name":
		return "controller- and the host's name"
	case "state-dir":
		return "/var/lib/zeekrec; of others than root ~/.local/state/zeekrec"
	case "archive-dir":
		return "/var/log/zeek; of others than root in the state folder"
	}
	switch f.DefValue {
	case "", "false", "0", "0s", "[]":
		return ""
	}
	if f.Value.Type() == "string" {
		return strconv.Quote(f.DefValue)
	}
	return f.DefValue
}

// rootSections are what holds for all commands.
func (r *roff) rootSections() {
	r.macro("SH", "SETTINGS")
	r.text(`These options may also be set by a variable (--state-dir by ZEEKREC_STATE_DIR), and in the settings file, in lines like
state-dir = /var/lib/zeekrec. An option on the command line comes first, then the variable, then the file:`)
	r.macro("PP")
	r.line(strings.Join(settable(), ", "))
	r.macro("SH", "FILES")
	r.item(defaultSettings, "settings")
	r.item(defaultSource, "clusters, NAME.cfg each, where no other source is named")
	r.item("/var/lib/zeekrec", "state: plain files that a person can read")
	r.item("/var/log/zeek", "archived logs")
	r.macro("SH", "EXIT STATUS")
	for _, c := range []struct {
		code int
		text string
	}{
		{0, "done"},
		{exitFailed, "it failed, or something is wrong"},
		{exitToDo, "plan: there is something to do"},
		{exitStale, "apply: the saved plan is stale"},
		{exitHeld, "apply: something waits for a confirmation"},
		{exitUsage, "the command, an option or a setting cannot be understood"},
	} {
		r.item(strconv.Itoa(c.code), c.text)
	}
}

func seeAlso(c *cobra.Command) (out []string) {
	if c.HasParent() {
		out = append(out, pageName(c.Parent())+"(1)")
	}
	for _, sub := range shown(c) {
		out = append(out, pageName(sub)+"(1)")
	}
	return out
}

func lowerFirst(s string) string {
	if len(s) > 1 && s[1] >= 'a' && s[1] <= 'z' {
		return strings.ToLower(s[:1]) + s[1:]
	}
	return s
}

func orElse(s, or string) string {
	if s == "" {
		return or
	}
	return s
}
