package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"gopkg.in/ini.v1"

	"github.com/zeekrec/zeekrec/cmd/internal/api"
	"github.com/zeekrec/zeekrec/cmd/internal/mgmt"
	"github.com/zeekrec/zeekrec/desired/clustercfg"
)

// clientSettings are zeek-client's, with its names and defaults. They come from its settings file, then its environment
// variables, then flags.
type clientSettings struct {
	sections []clientSection
	// stated: somebody has said which controller is meant; otherwise it is the local zeekrec, by its socket.
	stated bool
}

type clientSection struct {
	name string
	keys []clientKey
}

type clientKey struct{ key, value string }

func newClientSettings() *clientSettings {
	return &clientSettings{sections: []clientSection{
		{"client", []clientKey{
			{"request_timeout_secs", "20"}, {"peering_attempts", "10"}, {"peering_retry_delay_secs", "1.0"},
			{"rich_logging_format", "False"}, {"pretty_json", "True"}, {"verbosity", "0"},
		}},
		{"controller", []clientKey{{"host", "127.0.0.1"}, {"port", "2149"}}},
		{"ssl", []clientKey{{"enable", "False"}, {"certificate", ""}, {"keyfile", ""}, {"cafile", ""}, {"capath", ""}, {"passphrase", ""}}},
	}}
}

func (s *clientSettings) get(section, key string) string {
	for _, sec := range s.sections {
		for _, k := range sec.keys {
			if sec.name == section && k.key == key {
				return k.value
			}
		}
	}
	return ""
}

func (s *clientSettings) set(section, key, value string) {
	s.stated = s.stated || section == "controller"
	i := slices.IndexFunc(s.sections, func(sec clientSection) bool { return sec.name == section })
	if i < 0 {
		s.sections = append(s.sections, clientSection{name: section})
		i = len(s.sections) - 1
	}
	sec := &s.sections[i]
	if j := slices.IndexFunc(sec.keys, func(k clientKey) bool { return k.key == key }); j >= 0 {
		sec.keys[j].value = value
		return
	}
	sec.keys = append(sec.keys, clientKey{key, value})
}

// apply sets SECTION.KEY=VALUE.
func (s *clientSettings) apply(item string) error {
	name, value, ok := strings.Cut(item, "=")
	section, key, ok2 := strings.Cut(name, ".")
	if !ok || !ok2 || section == "" || key == "" {
		return fmt.Errorf("cannot understand %q: it has the form SECTION.KEY=VALUE", item)
	}
	s.set(section, strings.ToLower(key), value)
	return nil
}

// file reads a settings file of zeek-client.
func (s *clientSettings) file(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("cannot read zeek-client's settings: %w", err)
	}
	f, err := ini.LoadSources(ini.LoadOptions{IgnoreInlineComment: true, InsensitiveKeys: true}, b)
	if err != nil {
		return fmt.Errorf("cannot read zeek-client's settings in %s: %w", path, err)
	}
	for _, sec := range f.Sections() {
		for _, k := range sec.Keys() {
			if sec.Name() != ini.DefaultSection {
				s.set(sec.Name(), k.Name(), k.Value())
			}
		}
	}
	return nil
}

// controller sets HOST:PORT, of which either may be missing; an IPv6 address is in brackets.
func (s *clientSettings) controller(at string) error {
	host, port := at, ""
	if i := strings.LastIndexByte(at, ':'); i >= 0 && !strings.HasSuffix(at, "]") {
		host, port = at[:i], at[i+1:]
	}
	if strings.Contains(host, ":") && (!strings.HasPrefix(host, "[") || !strings.HasSuffix(host, "]")) {
		return fmt.Errorf("cannot understand %q: an IPv6 address is written in brackets, [::1]:2149", at)
	}
	if host != "" {
		s.set("controller", "host", host)
	}
	if port != "" {
		s.set("controller", "port", port)
	}
	return nil
}

// yes reads a boolean as zeek-client does.
func (s *clientSettings) yes(section, key string) bool {
	return slices.Contains([]string{"1", "yes", "true", "on"}, strings.ToLower(s.get(section, key)))
}

func (s *clientSettings) seconds(key string) (time.Duration, error) {
	v, err := strconv.ParseFloat(s.get("client", key), 64)
	if err != nil || v < 0 || v > 1e6 {
		return 0, fmt.Errorf("cannot use client.%s=%s: it is a number of seconds", key, s.get("client", key))
	}
	return time.Duration(v * float64(time.Second)), nil
}

// ini is what zeek-client show-settings prints.
func (s *clientSettings) ini() string {
	var b strings.Builder
	for _, sec := range s.sections {
		fmt.Fprintf(&b, "[%s]\n", sec.name)
		for _, k := range sec.keys {
			fmt.Fprintf(&b, "%s = %s\n", k.key, strings.ReplaceAll(k.value, "\n", "\n\t"))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// endpoint is where the controller is.
func (s *clientSettings) endpoint(socket, cluster string) (mgmt.Endpoint, error) {
	if !s.stated {
		return mgmt.Endpoint{Socket: socket, Cluster: cluster}, nil
	}
	port, err := strconv.Atoi(s.get("controller", "port"))
	if err != nil || port < 1 || port > 65535 {
		return mgmt.Endpoint{}, fmt.Errorf("cannot use the controller's port %q: it is a number from 1 to 65535", s.get("controller", "port"))
	}
	attempts, err := strconv.Atoi(s.get("client", "peering_attempts"))
	if err != nil {
		return mgmt.Endpoint{}, fmt.Errorf("cannot use client.peering_attempts=%s: it is a number", s.get("client", "peering_attempts"))
	}
	retry, err := s.seconds("peering_retry_delay_secs")
	if err != nil {
		return mgmt.Endpoint{}, err
	}
	host := strings.Trim(s.get("controller", "host"), "[]")
	e := mgmt.Endpoint{Address: net.JoinHostPort(host, strconv.Itoa(port)), Attempts: attempts, Retry: retry}
	if s.yes("ssl", "enable") {
		e.TLS, err = s.tls(host)
	}
	return e, err
}

// clientFlags are zeek-client's own, on commands that have its names.
type clientFlags struct {
	configFile, controller, cluster string
	sets                            []string
	quiet                           bool
	verbose                         int
}

// clientCommand gives a command zeek-client's flags, which do gets with the arguments.
func (a *app) clientCommand(c *cobra.Command, do func(context.Context, *clientFlags, []string) error) *cobra.Command {
	x := a.clientFlags(c)
	c.RunE = a.action(func(ctx context.Context, args []string) error { return do(ctx, x, args) })
	return c
}

func (a *app) clientFlags(c *cobra.Command) *clientFlags {
	x := &clientFlags{}
	f := c.Flags()
	f.StringVar(&x.cluster, "cluster", "", "the `CLUSTER` that is meant (default: that of zeekrec run --api-cluster)")
	f.StringVar(&x.controller, "controller", "", "talk to the controller at `HOST:PORT` instead of the local zeekrec")
	f.StringVarP(&x.configFile, "configfile", "c", "", "zeek-client's settings `FILE`")
	f.StringArrayVar(&x.sets, "set", nil, "one of zeek-client's settings, `SECTION.KEY=VALUE`; repeatable")
	f.BoolVarP(&x.quiet, "quiet", "q", false, "no warnings")
	f.CountVarP(&x.verbose, "verbose", "v", "warnings, too")
	_ = c.RegisterFlagCompletionFunc("set", func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return newClientSettings().completions(), cobra.ShellCompDirectiveNoSpace | cobra.ShellCompDirectiveNoFileComp
	})
	_ = c.RegisterFlagCompletionFunc("cluster", a.completeClusters)
	_ = c.RegisterFlagCompletionFunc("controller", cobra.NoFileCompletions)
	return x
}

func (s *clientSettings) completions() []cobra.Completion {
	var out []cobra.Completion
	for _, sec := range s.sections {
		for _, k := range sec.keys {
			out = append(out, sec.name+"."+k.key+"="+k.value)
		}
	}
	slices.Sort(out)
	return out
}

// settle is what flags, environment and file add up to.
func (a *app) settle(x *clientFlags) (*clientSettings, error) {
	s := newClientSettings()
	if path := cmp.Or(x.configFile, a.env["ZEEK_CLIENT_CONFIG_FILE"]); path != "" {
		if err := s.file(path); err != nil {
			return nil, err
		}
	}
	items, err := clustercfg.SplitWords(a.env["ZEEK_CLIENT_CONFIG_SETTINGS"])
	if err != nil {
		return nil, usage(fmt.Errorf("cannot understand ZEEK_CLIENT_CONFIG_SETTINGS: %w", err))
	}
	for _, item := range append(items, x.sets...) {
		if err := s.apply(item); err != nil {
			return nil, usage(err)
		}
	}
	if x.controller != "" {
		if err := s.controller(x.controller); err != nil {
			return nil, usage(err)
		}
	}
	if x.verbose > 0 {
		s.set("client", "verbosity", strconv.Itoa(x.verbose))
	}
	if s.stated && x.cluster != "" {
		return nil, usage(errors.New("cannot use --cluster with a controller's port: that has one cluster"))
	}
	return s, nil
}

// endpoint is where the controller is that is meant: the local zeekrec, where nobody says otherwise.
func (a *app) endpoint(s *clientSettings, cluster string) (mgmt.Endpoint, error) {
	if !s.stated {
		if err := a.onlyHere("zeek-client's API has a port of its own (zeekrec run --api-listen); name it with --controller HOST:PORT"); err != nil {
			return mgmt.Endpoint{}, err
		}
	}
	e, err := s.endpoint(api.SocketPath(a.settings.stateDir), cluster)
	if err != nil {
		return mgmt.Endpoint{}, usage(err)
	}
	return e, nil
}
