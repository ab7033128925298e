package git

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"
)

// Options of looks at a repository; what is zero has the default.
type Options struct {
	// Dir is an absolute path of a folder of the source's own, for repositories that are being fetched. It is made, and what an
	// earlier run left in it is removed, by New.
	Dir string
	// MaxSize bounds the bytes of a pack and of each object in it; all objects together may have ten times as many. 256 MiB.
	MaxSize int64
	// Interval between looks that nobody asked for; a tenth of it more or less. 60 s.
	Interval time.Duration
	// AskWithin and FetchWithin bound the two halves of a look: 30 s and 5 min.
	AskWithin, FetchWithin time.Duration
	Auth                   Auth
	Signers                Signers
	// Base is the last accepted commit, "" for none; it is asked at every look. Nil: there is none.
	Base func() string
	Log  *slog.Logger // nil: silent
}

// Auth says how to prove who asks, and who answers. Files are read at every look, so that they can be replaced while it runs. The values
// beside the files are for credentials that come from the environment.
type Auth struct {
	TokenFile, Token     string // https: a token or password
	SSHKeyFile, SSHKey   string // a private key, OpenSSH or PEM
	PassphraseFile, Pass string // of the key
	KnownHosts           []string
	CABundle             string // PEM, besides the system's
}

// Signers are those whose signatures count. Both empty: nobody is asked for one.
type Signers struct {
	AllowedSigners string // a file, see ALLOWED SIGNERS in ssh-keygen(1)
	OpenPGPKeys    string // a file of armored or binary public keys
}

// Wanted reports whether commits have to be signed.
func (s Signers) Wanted() bool { return s.AllowedSigners != "" || s.OpenPGPKeys != "" }

// DefaultMaxSize of a pack.
const DefaultMaxSize = 256 << 20

// DefaultInterval between looks.
const DefaultInterval = time.Minute

func (o Options) withDefaults() Options {
	o.MaxSize = cmp.Or(o.MaxSize, DefaultMaxSize)
	o.Interval = cmp.Or(o.Interval, DefaultInterval)
	o.AskWithin = cmp.Or(o.AskWithin, 30*time.Second)
	o.FetchWithin = cmp.Or(o.FetchWithin, 5*time.Minute)
	if o.Base == nil {
		o.Base = func() string { return "" }
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// maxSecret bounds files of credentials, by far.
const maxSecret = 1 << 20

// secret is the content of a file, or else a value.
func secret(file, value, what string) (string, error) {
	if file == "" {
		return value, nil
	}
	b, err := readSmall(file)
	if err != nil {
		return "", fmt.Errorf("cannot read %s: %w", what, err)
	}
	if strings.TrimSpace(string(b)) == "" {
		return "", fmt.Errorf("cannot use %s: %s is empty", what, file)
	}
	return string(b), nil
}

// readSmall reads a file that is small by nature.
func readSmall(path string) ([]byte, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() || fi.Size() > maxSecret {
		return nil, errors.New(path + " is no file, or larger than 1 MiB")
	}
	return os.ReadFile(path)
}
