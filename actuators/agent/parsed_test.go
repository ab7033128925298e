package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/desired/launch"
)

// put writes files, by their names in a folder.
func put(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestImprintSeesEveryChange(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(dir string) error
		same   bool
	}{
		{"none", func(string) error { return nil }, true},
		{"something beside them", func(dir string) error { return os.WriteFile(filepath.Join(dir, "other"), nil, 0o600) }, true},
		{"a file that came and went", func(dir string) error {
			path := filepath.Join(dir, "site", ".local.zeek.swp")
			return errors.Join(os.WriteFile(path, nil, 0o600), os.Remove(path))
		}, true},
		{"content of the same size and time", func(dir string) error {
			path := filepath.Join(dir, "site", "local.zeek")
			info, err := os.Stat(path)
			return errors.Join(err, os.WriteFile(path, []byte("2"), 0o600), os.Chtimes(path, info.ModTime(), info.ModTime()))
		}, false},
		{"a file in its place", func(dir string) error {
			return errors.Join(os.WriteFile(filepath.Join(dir, "other"), []byte("1"), 0o600),
				os.Rename(filepath.Join(dir, "other"), filepath.Join(dir, "site", "local.zeek")))
		}, false},
		{"a file more", func(dir string) error { return os.WriteFile(filepath.Join(dir, "site", "a", "y.zeek"), nil, 0o600) }, false},
		{"a file less", func(dir string) error { return os.Remove(filepath.Join(dir, "site", "a", "x.zeek")) }, false},
		{"an empty folder more", func(dir string) error { return os.Mkdir(filepath.Join(dir, "site", "b"), 0o700) }, false},
		{"permissions of a file", func(dir string) error { return os.Chmod(filepath.Join(dir, "site", "local.zeek"), 0o400) }, false},
		{"permissions of a folder", func(dir string) error { return os.Chmod(filepath.Join(dir, "site", "a"), 0o500) }, false},
		{"what a link leads to", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "linked", "z.zeek"), []byte("2"), 0o600)
		}, false},
		{"a link's end", func(dir string) error {
			link := filepath.Join(dir, "site", "link")
			return errors.Join(os.Remove(link), os.Symlink(filepath.Join(dir, "linked2"), link))
		}, false},
		{"a folder that is gone", func(dir string) error { return os.RemoveAll(filepath.Join(dir, "missing")) }, true},
		{"one that comes", func(dir string) error { return os.Mkdir(filepath.Join(dir, "missing"), 0o700) }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			put(t, dir, map[string]string{"site/local.zeek": "1", "site/a/x.zeek": "1", "linked/z.zeek": "1", "linked2/z.zeek": "1"})
			for link, to := range map[string]string{"link": "linked", "a/round": "site"} {
				if err := os.Symlink(filepath.Join(dir, to), filepath.Join(dir, "site", link)); err != nil {
					t.Fatal(err)
				}
			}
			roots := []string{filepath.Join(dir, "missing"), filepath.Join(dir, "site")}
			var before imprint
			for deadline := time.Now().Add(10 * time.Second); ; {
				p, err := lookAt(roots, nil)
				if err != nil {
					t.Fatal(err)
				}
				if before = p; p.settled(time.Now()) {
					break
				}
				if time.Now().After(deadline) {
					t.Fatal("files do not age")
				}
			}
			if err := tt.change(dir); err != nil {
				t.Fatal(err)
			}
			after, err := lookAt(roots, nil)
			if err != nil || (after.hash == before.hash) != tt.same {
				t.Errorf("the imprint is the same: %t, want %t; %v", !tt.same, tt.same, err)
			}
		})
	}
}

func TestImprintIsBounded(t *testing.T) {
	dir := t.TempDir()
	for i := range treeFiles + 1 {
		f, err := os.Create(filepath.Join(dir, fmt.Sprint(i)))
		if err != nil {
			t.Fatal(err)
		}
		_ = f.Close()
	}
	if _, err := lookAt([]string{dir}, nil); err == nil || !strings.Contains(err.Error(), "more than 20000 files") {
		t.Error(err)
	}
}

func TestSettled(t *testing.T) {
	now := time.Now()
	for _, tt := range []struct {
		age, young time.Duration
		want       bool
	}{{time.Second, fineTick, true}, {time.Second, coarseTick, false}, {time.Millisecond, fineTick, false}, {-time.Hour, fineTick, false}} {
		if got := (imprint{newest: now.Add(-tt.age), young: tt.young}).settled(now); got != tt.want {
			t.Errorf("%+v: %t", tt, got)
		}
	}
}

func TestScriptsThatStay(t *testing.T) {
	for script, stay := range map[string]bool{
		"":                                true,
		"@load base/frameworks/notice":    true,
		"@load ./x\n@load ../top\n":       true,
		"@load ../../outside":             false,
		"@load site/../../../outside":     false,
		"@load-sigs ../../outside":        false,
		"@if ( T )\n  @load\t/etc/x.zeek": false,
		"@load-sigs /etc/x":               false,
		"@load-plugin Some::Plugin":       true,
		"# @load /etc/x":                  true,
		"@load DIR/a/x.zeek":              true, // an absolute path that is below a root
		"redef signature_files += \"/x\"": false,
		"redef signature_files += \"x\"":  true,
		"x; @load /etc/x":                 false,
		"@load":                           true,
		"@load\n/etc/x":                   true,
		strings.Repeat("#", scriptSize+1): false,
	} {
		dir := t.TempDir()
		put(t, dir, map[string]string{"site/local.zeek": "@load a\n", "site/a/x.zeek": strings.ReplaceAll(script, "DIR", dir+"/site"), "site/data.bin": strings.Repeat("x", scriptSize+1)})
		roots := []string{filepath.Join(dir, "site")}
		_, err := lookAt(roots, stays(roots))
		if (err == nil) != stay || !stay && !errors.Is(err, errElsewhere) {
			t.Errorf("%.60q: %v, want that it stays: %t", script, err, stay)
		}
	}
}

func TestTrees(t *testing.T) {
	prefix := t.TempDir()
	put(t, prefix, map[string]string{"bin/zeek": "", "lib/libbroker.so.4": "", "lib/zeek/x.so": "", "lib64/libcaf.so": ""})
	libs := prefix + "/lib/libbroker.so.4 " + prefix + "/lib64/libcaf.so"
	for _, tt := range []struct {
		argv, env, want string // want "": they cannot be told
	}{
		{"zeek -a zeekrec-node local", "ZEEKPATH=/gen/1:/files:/usr/share/zeek/ A=/b", "/etc/ld.so.cache /files /plugins /usr/share/zeek"},
		{"zeek -a /etc/zeek/own.zeek", "ZEEKPATH=/gen/1:/z", "/etc/ld.so.cache /etc/zeek /plugins /z"},
		{"zeek x", "ZEEK_PLUGIN_PATH=/p:/q LD_LIBRARY_PATH=/l ZEEKPATH=/gen/1", "/etc/ld.so.cache /l /p /q"},
		{prefix + "/bin/zeek x", "ZEEKPATH=/gen/1", "/etc/ld.so.cache /plugins " + libs},
		{"zeek ../x", "ZEEKPATH=/gen/1", ""},
		{"zeek a/../../x", "ZEEKPATH=/gen/1", ""},
		{"zeek a..b", "ZEEKPATH=/gen/1:/z:/z", "/etc/ld.so.cache /plugins /z"},
		{"zeek x", "ZEEKPATH=/gen/1 LD_PRELOAD=/x.so", ""},
	} {
		got, err := trees(launch.Launch{Argv: strings.Fields(tt.argv), Env: strings.Fields(tt.env), GenDir: "/gen/1"}, "/plugins")
		if strings.Join(got, " ") != tt.want || (err == nil) != (tt.want != "") || !slices.IsSorted(got) {
			t.Errorf("%s, %s: %s, %v; want %s", tt.argv, tt.env, got, err, tt.want)
		}
	}
}

func FuzzLoads(f *testing.F) {
	f.Add([]byte("@load a\n@load-sigs /b\nredef signature_files += \"c\"\n# @load d"))
	f.Add([]byte("@load-"))
	f.Fuzz(func(t *testing.T, script []byte) {
		for _, name := range loads(script) {
			if !strings.Contains(string(script), name) {
				t.Errorf("%q is not in it", name)
			}
		}
	})
}
