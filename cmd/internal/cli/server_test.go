package cli

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/cmd/internal/api"
	"github.com/zeekrec/zeekrec/cmd/internal/identity"
)

func TestServerAddress(t *testing.T) {
	for s, want := range map[string]string{
		"controller": "controller:2152", "controller.example.org:443": "controller.example.org:443", "192.0.2.1": "192.0.2.1:2152", "192.0.2.1:1": "192.0.2.1:1",
		"::1": "[::1]:2152", "[::1]": "[::1]:2152", "[2001:db8::1]:99": "[2001:db8::1]:99",
		":2152": "", "host:": "", "host:0": "", "host:65536": "", "host:http": "", "https://host": "", "a:b:c": "", "user@host": "", "host/path": "", "a b": "", "[": "", "[]": "",
	} {
		got, err := serverAddress(s)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", s, got, err)
		}
		if err != nil && err.Error() != "cannot use --server "+s+": it has to be HOST or HOST:PORT" {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func TestToken(t *testing.T) {
	inFile, inEnv := identity.NewAPIToken([32]byte{1}), identity.NewAPIToken([32]byte{2})
	dir := t.TempDir()
	file, bad := filepath.Join(dir, "token"), filepath.Join(dir, "bad")
	if err := errors.Join(os.WriteFile(file, []byte(inFile.Reveal()+"\n"), 0o600), os.WriteFile(bad, []byte("secret?"), 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, file, env string
		stated          bool
		want            string // the token, or the error
	}{
		{"the file", file, "", false, inFile.Reveal()},
		{"the variable", "", inEnv.Reveal(), false, inEnv.Reveal()},
		{"the variable before the setting", file, inEnv.Reveal(), false, inEnv.Reveal()},
		{"the flag before the variable", file, inEnv.Reveal(), true, inFile.Reveal()},
		{"nothing", "", "", false, "cannot ask zeekrec at h:1 without a token"},
		{"no file", "/nowhere/x", "", false, "cannot read the token for zeekrec at h:1: open /nowhere/x: no such file or directory"},
		{"a bad file", bad, "", false, "cannot use the token in " + bad + " for zeekrec at h:1: " + identity.ErrNoAPIToken.Error()},
		{"a bad variable", "", "secret?", false, "cannot use the token in ZEEKREC_TOKEN for zeekrec at h:1: " + identity.ErrNoAPIToken.Error()},
	} {
		a := &app{env: map[string]string{"ZEEKREC_TOKEN": c.env}}
		a.settings.tokenFile, a.settings.tokenFileStated = c.file, c.stated
		tok, err := a.token("h:1")
		got := tok.Reveal()
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s: %s", c.name, got)
		}
	}
}

// TestNothingHere: a server that cannot be reached is no reason to look at this machine's state folder.
func TestNothingHere(t *testing.T) {
	here, there := &api.Unreachable{Socket: "/s", Err: os.ErrNotExist}, &api.Unreachable{Server: "h:1", Err: os.ErrNotExist}
	if !nothingHere(here) || nothingHere(there) || nothingHere(os.ErrNotExist) || !unreachable(there) || !unreachable(here) {
		t.Error("they are taken for each other")
	}
}

func TestAge(t *testing.T) {
	for s, want := range map[string]string{"90d": "90d", "12h": "12h0m0s", "1h30m": "1h30m0s", "24h": "1d", "2w": "14d", "": "", "0d": "", "-1d": "", "soon": "", "1": ""} {
		var d age
		err := d.Set(s)
		if (err == nil) != (want != "") || err == nil && d.String() != want {
			t.Errorf("%q: %s, %v", s, &d, err)
		}
	}
	if d := age(36 * time.Hour); d.String() != "36h0m0s" {
		t.Errorf("got %s", &d)
	}
}
