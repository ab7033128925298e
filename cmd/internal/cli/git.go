package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/zeekrec/zeekrec/cmd/internal/webhook"
	"github.com/zeekrec/zeekrec/desired/source/git"
)

// gitSettings say how to reach and whom to trust of a source that is a Git repository.
type gitSettings struct {
	maxSize        size
	tokenFile      string
	sshKey         string
	passphraseFile string
	knownHosts     string
	caBundle       string
	allowedSigners string
	openPGPKeys    string
	poll           time.Duration
}

// webhookSettings say where a forge may tell of a push.
type webhookSettings struct{ listen, secretFile string }

func gitSettable() []string {
	return []string{
		"git-max-size", "git-token-file", "git-ssh-key", "git-ssh-passphrase-file", "git-known-hosts", "git-ca-bundle", "git-allowed-signers", "git-openpgp-keys",
		"git-poll", "webhook-listen", "webhook-secret-file",
	}
}

// gitFlags are for every command that takes a source.
func (a *app) gitFlags(f *pflag.FlagSet) {
	g := &a.settings.git
	g.maxSize = git.DefaultMaxSize
	f.Var(&g.maxSize, "git-max-size", "the `SIZE` that a repository's history, packed, and each file may have")
	f.StringVar(&g.tokenFile, "git-token-file", "", "the `FILE` with a token for https (or ZEEKREC_GIT_TOKEN)")
	f.StringVar(&g.sshKey, "git-ssh-key", "", "the `FILE` with a private key for ssh (or the key itself in ZEEKREC_GIT_SSH_KEY_DATA)")
	f.StringVar(&g.passphraseFile, "git-ssh-passphrase-file", "", "the `FILE` with that key's passphrase (or ZEEKREC_GIT_SSH_PASSPHRASE)")
	f.StringVar(&g.knownHosts, "git-known-hosts", "", "the `FILE` with the keys of servers that are trusted (default: ~/.ssh/known_hosts and /etc/ssh/ssh_known_hosts)")
	f.StringVar(&g.caBundle, "git-ca-bundle", "", "the `FILE` with certificates to trust for https, besides the system's")
	f.StringVar(&g.allowedSigners, "git-allowed-signers", "", "accept only commits signed by an SSH key in this `FILE` (see ssh-keygen(1))")
	f.StringVar(&g.openPGPKeys, "git-openpgp-keys", "", "accept only commits signed by an OpenPGP key in this `FILE`")
}

// followFlags are for commands that follow a source.
func (a *app) followFlags(f *pflag.FlagSet) {
	f.DurationVar(&a.settings.git.poll, "git-poll", git.DefaultInterval, "the `TIME` between looks at a repository, a tenth more or less")
	f.StringVar(&a.settings.webhook.listen, "webhook-listen", "", "the `HOST:PORT` at which POST "+webhook.Path+" tells of a push; empty for none")
	f.StringVar(&a.settings.webhook.secretFile, "webhook-secret-file", "", "the `FILE` with the secret that the forge signs with (or ZEEKREC_WEBHOOK_SECRET)")
}

// gitOptions are what flags and environment add up to.
func (a *app) gitOptions() git.Options {
	g := a.settings.git
	known := []string{"/etc/ssh/ssh_known_hosts"}
	if home := a.env["HOME"]; home != "" {
		known = append([]string{filepath.Join(home, ".ssh", "known_hosts")}, known...)
	}
	if g.knownHosts != "" {
		known = []string{g.knownHosts}
	}
	return git.Options{
		MaxSize: int64(g.maxSize), Interval: g.poll,
		Auth: git.Auth{
			TokenFile: g.tokenFile, Token: a.env["ZEEKREC_GIT_TOKEN"],
			SSHKeyFile: g.sshKey, SSHKey: a.env["ZEEKREC_GIT_SSH_KEY_DATA"],
			PassphraseFile: g.passphraseFile, Pass: a.env["ZEEKREC_GIT_SSH_PASSPHRASE"],
			KnownHosts: known, CABundle: g.caBundle,
		},
		Signers: git.Signers{AllowedSigners: g.allowedSigners, OpenPGPKeys: g.openPGPKeys},
	}
}

// listenWebhook opens the address for webhooks; nil where none is wanted.
func (a *app) listenWebhook(ctx context.Context, look func(context.Context) error, log *slog.Logger) (func(context.Context) error, error) {
	w := a.settings.webhook
	if w.listen == "" {
		return nil, nil
	}
	secret := a.env["ZEEKREC_WEBHOOK_SECRET"]
	if w.secretFile != "" {
		b, err := os.ReadFile(w.secretFile)
		if err != nil {
			return nil, fmt.Errorf("cannot read the secret of the webhook: %w", err)
		}
		secret = string(b)
	}
	h, err := webhook.New(strings.TrimSpace(secret), look, log.With("part", "webhook"))
	if err != nil {
		return nil, withHint(err, "give one with --webhook-secret-file or ZEEKREC_WEBHOOK_SECRET: openssl rand -hex 32")
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", w.listen)
	if err != nil {
		return nil, fmt.Errorf("cannot listen for webhooks: %w", err)
	}
	log.Info("Listening for webhooks", "address", l.Addr().String(), "path", webhook.Path)
	return func(ctx context.Context) error { return h.Serve(ctx, l) }, nil
}

// size is a number of bytes: 268435456, 256M, 256MiB, 1G.
type size int64

// String is the shortest form.
func (s *size) String() string {
	for i, unit := range []string{"GiB", "MiB", "KiB"} {
		if n := int64(1) << (30 - 10*i); int64(*s) >= n && int64(*s)%n == 0 {
			return strconv.FormatInt(int64(*s)/n, 10) + unit
		}
	}
	return strconv.FormatInt(int64(*s), 10)
}

// Type for --help.
func (*size) Type() string { return "size" }

// Set reads one.
func (s *size) Set(text string) error {
	digits := strings.TrimRight(text, "KMGTiB")
	n, err := strconv.ParseInt(digits, 10, 64)
	shift, ok := map[string]int{"": 0, "B": 0, "K": 10, "KiB": 10, "M": 20, "MiB": 20, "G": 30, "GiB": 30, "T": 40, "TiB": 40}[text[len(digits):]]
	if err != nil || !ok || n <= 0 || n > math.MaxInt64>>shift/1024 {
		return errors.New("a size is a number with a unit: 256M, 1G")
	}
	*s = size(n << shift)
	return nil
}
