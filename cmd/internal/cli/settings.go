package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"gopkg.in/ini.v1"

	"github.com/zeekrec/zeekrec/cmd/internal/local"
)

// settings are what flags, ZEEKREC_* variables, the settings file and defaults add up to, in this order.
type settings struct {
	file       string
	stateDir   string
	source     string // where a command is given none
	name       string
	zeek       string
	user       string // whom processes become
	archiveDir string
	color      string
	server     string // the zeekrec on another machine that is asked; empty: the one here
	tokenFile  string
	// tokenFileStated: by a flag, so that nothing else counts.
	tokenFileStated bool
	logFormat       string
	logLevel        string
	// backend keeps processes together: auto, scopes, services, plain.
	backend string
	// output is where what nodes write goes: auto, files, journal, both.
	output string

	management management
	fleet      fleetSettings
	controller string // its name
	git        gitSettings
	webhook    webhookSettings
	hooks      string
}

// The defaults that do not depend on the user.
const (
	defaultSettings = "/etc/zeekrec/zeekrec.ini"
	defaultSource   = "/etc/zeek/clusters"
)

// settable are the names of flags that may also be set by ZEEKREC_NAME and in the settings file. A flag
// that confirms or forces something is none of them.
func settable() []string {
	return append(gitSettable(), "hooks", "state-dir", "server", "token-file", "serve", "source", "name", "zeek", "user", "archive-dir", "process-backend", "node-output", "color", "log-format", "log-level",
		"listen", "tls-names", "tls-cert", "tls-key", "tls-ca", "nats", "nats-creds", "nats-replicas", "controller-name",
		"api-listen", "api-cluster", "api-cert", "api-key", "api-client-ca", "api-require-tls", "api-insecure")
}

func (a *app) globalFlags(f *pflag.FlagSet) {
	f.StringVar(&a.settings.file, "settings", defaultSettings, "the settings `FILE`; empty for none")
	f.StringVar(&a.settings.stateDir, "state-dir", a.defaultStateDir(), "the `DIR` that holds the state and the socket")
	f.StringVar(&a.settings.server, "server", "", "ask the zeekrec at `HOST[:PORT]` instead of the one here; see: zeekrec help tokens")
	f.StringVar(&a.settings.tokenFile, "token-file", "", "with --server: the `FILE` that has the token (or the token itself in ZEEKREC_TOKEN)")
	f.StringVar(&a.settings.color, "color", "auto", "`WHEN` to use colour: auto, always, never")
	f.StringVar(&a.settings.source, "source", defaultSource, "the source where a command is given none")
	_ = f.MarkHidden("source") // it is there to be set in the settings file
}

// nameFlag is for commands that need to know which instance a file without instances means.
func (a *app) nameFlag(f *pflag.FlagSet) {
	f.StringVar(&a.settings.name, "name", a.defaultName(), "the `NAME` of this machine's instance")
}

func (a *app) zeekFlag(f *pflag.FlagSet) {
	f.StringVar(&a.settings.zeek, "zeek", "", "the `PATH` of the Zeek to run where a cluster names none (default: zeek on PATH)")
	f.StringVar(&a.settings.user, "user", "", "the `USER` that processes become where a cluster names none, if this is root (default: nobody else)")
	f.StringVar(&a.settings.archiveDir, "archive-dir", a.defaultArchiveDir(), "the `DIR` to archive logs into where a cluster names none; empty: archive in the state folder")
}

// backendFlag is for commands that run nodes.
func (a *app) backendFlag(f *pflag.FlagSet) {
	f.StringVar(&a.settings.backend, "process-backend", local.BackendAuto, "what keeps a role's processes together and bounds them: `KIND` scopes, services, plain, or auto: scopes where systemd is there")
	f.StringVar(&a.settings.output, "node-output", local.OutputAuto, "`WHERE` nodes' stdout and stderr go: files (in the state folder), journal, both, or auto: both where systemd's journal is there")
}

func (a *app) logFlags(f *pflag.FlagSet, level string) {
	f.StringVar(&a.settings.logFormat, "log-format", logAuto, "the `FORMAT` of the log: text, json, journal, or auto: journal where stderr leads to systemd's journal, else text")
	f.StringVar(&a.settings.logLevel, "log-level", level, "the least `LEVEL` to log: debug, info, warn, error")
}

func (a *app) defaultStateDir() string {
	switch {
	case os.Geteuid() == 0:
		return "/var/lib/zeekrec"
	case filepath.IsAbs(a.env["XDG_STATE_HOME"]):
		return filepath.Join(a.env["XDG_STATE_HOME"], "zeekrec")
	}
	return filepath.Join(a.env["HOME"], ".local", "state", "zeekrec")
}

// processUser is whom processes become by default. Who is not root cannot become anybody, and the settings file is for all.
func (a *app) processUser() string {
	if os.Geteuid() != 0 {
		return ""
	}
	return a.settings.user
}

// defaultArchiveDir is where a package of Zeek would have them; who is not root can write in the state folder alone.
func (a *app) defaultArchiveDir() string {
	if os.Geteuid() == 0 {
		return "/var/log/zeek"
	}
	return ""
}

// defaultName is the name that zeek-client gives to the instance of this machine.
func (a *app) defaultName() string {
	if n := a.env["ZEEK_AGENT_NAME"]; n != "" {
		return n
	}
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "localhost"
	}
	return "agent-" + host
}

// readSettings fills in what was not given as a flag.
func (a *app) readSettings(cmd *cobra.Command) error {
	flags := cmd.Flags()
	if v, ok := a.env["ZEEKREC_SETTINGS"]; ok && !flags.Changed("settings") {
		a.settings.file = v
	}
	if err := takesServer(cmd); err != nil {
		return err
	}
	a.settings.tokenFileStated = flags.Changed("token-file")
	stated := a.settings.file != defaultSettings
	inFile, err := readSettingsFile(a.settings.file, stated)
	if err != nil {
		return withHint(err)
	}
	for _, name := range settable() {
		f := flags.Lookup(name)
		if f == nil || f.Changed {
			continue
		}
		variable := "ZEEKREC_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
		if v, ok := a.env[variable]; ok && v != "" {
			if err := flags.Set(name, v); err != nil {
				return usage(fmt.Errorf("cannot use %s=%q: %w", variable, v, err))
			}
			continue
		}
		if v, ok := inFile[name]; ok {
			if err := flags.Set(name, v); err != nil {
				return usage(fmt.Errorf("cannot use %s = %s of %s: %w", name, v, a.settings.file, err))
			}
			continue
		}
		// Commands share the variable behind a flag, and not its default.
		if err := f.Value.Set(f.DefValue); err != nil {
			return usage(fmt.Errorf("cannot use the default of --%s: %w", name, err))
		}
	}
	return a.checkSettings(flags)
}

func (a *app) checkSettings(flags *pflag.FlagSet) error {
	for _, c := range []struct {
		flag, value string
		allowed     []string
	}{
		{"color", a.settings.color, []string{"auto", "always", "never"}},
		{"process-backend", a.settings.backend, local.Backends()},
		{"node-output", a.settings.output, local.Outputs()},
		{"log-format", a.settings.logFormat, []string{logAuto, logText, logJSON, logJournal}},
		{"log-level", a.settings.logLevel, []string{"debug", "info", "warn", "error"}},
	} {
		if flags.Lookup(c.flag) != nil && !slices.Contains(c.allowed, c.value) {
			return usage(fmt.Errorf("cannot use %q for --%s: it takes %s", c.value, c.flag, strings.Join(c.allowed, ", ")))
		}
	}
	if flags.Lookup("api-listen") != nil {
		if err := a.settings.management.check(); err != nil {
			return err
		}
	}
	dir, err := filepath.Abs(a.settings.stateDir)
	if err != nil {
		return fmt.Errorf("cannot tell where the state folder is: %w", err)
	}
	a.settings.stateDir = dir
	return nil
}

// readSettingsFile returns what a settings file says. One that was asked for has to be there.
func readSettingsFile(path string, stated bool) (map[string]string, error) {
	if path == "" {
		return nil, nil // none is wanted
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && !stated {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the settings: %w", err)
	}
	f, err := ini.LoadSources(ini.LoadOptions{KeyValueDelimiters: "="}, b)
	if err != nil {
		return nil, fmt.Errorf("cannot read the settings in %s: %w", path, err)
	}
	out := map[string]string{}
	for _, s := range f.Sections() {
		if s.Name() != ini.DefaultSection && s.Name() != "zeekrec" {
			return nil, fmt.Errorf("cannot use the settings in %s: there is no section [%s], only keys and [zeekrec]", path, s.Name())
		}
		for _, k := range s.Keys() {
			if !slices.Contains(settable(), k.Name()) {
				return nil, fmt.Errorf("cannot use the settings in %s: there is no setting %q (there are: %s)", path, k.Name(), strings.Join(settable(), ", "))
			}
			out[k.Name()] = k.Value()
		}
	}
	return out, nil
}
