package source

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// A habit is how a program saves a file, call by call. pause is waited between the
// chunks of what is written.
type habit struct {
	name string
	save func(path, data string, pause time.Duration) error
}

var habits = []habit{
	{"vim", func(p, data string, pause time.Duration) error { // backupcopy=no
		probe := filepath.Join(filepath.Dir(p), fmt.Sprint(4913+123*rand.IntN(1000)))
		return errors.Join(os.WriteFile(probe, nil, 0o644), os.Remove(probe),
			os.Rename(p, p+"~"), put(p, data, os.O_CREATE|os.O_EXCL, pause), os.Remove(p+"~"))
	}},
	{"vim backupcopy=yes", func(p, data string, pause time.Duration) error {
		old, err := os.ReadFile(p)
		return errors.Join(err, os.WriteFile(p+"~", old, 0o644), put(p, data, os.O_TRUNC, pause), os.Remove(p+"~"))
	}},
	{"nano", func(p, data string, pause time.Duration) error { return put(p, data, os.O_CREATE|os.O_TRUNC, pause) }},
	{"emacs", func(p, data string, pause time.Duration) error {
		lock := filepath.Join(filepath.Dir(p), ".#"+filepath.Base(p))
		auto := filepath.Join(filepath.Dir(p), "#"+filepath.Base(p)+"#")
		return errors.Join(os.Symlink("ops@sensor.4711:1700000000", lock), put(auto, data[:len(data)/2], os.O_CREATE|os.O_TRUNC, 0),
			os.Rename(p, p+"~"), put(p, data, os.O_CREATE|os.O_EXCL, pause), os.Remove(auto), os.Remove(lock))
	}},
	{"VS Code", func(p, data string, pause time.Duration) error { return put(p, data, os.O_TRUNC, pause) }},
	{"JetBrains", func(p, data string, pause time.Duration) error {
		return errors.Join(put(p+"___jb_tmp___", data, os.O_CREATE|os.O_TRUNC, pause), os.Rename(p, p+"___jb_old___"),
			os.Rename(p+"___jb_tmp___", p), os.Remove(p+"___jb_old___"))
	}},
	{"sed -i", func(p, data string, pause time.Duration) error {
		temp := filepath.Join(filepath.Dir(p), fmt.Sprintf("sed%06x", rand.IntN(1<<24)))
		return errors.Join(put(temp, data, os.O_CREATE|os.O_EXCL, pause), os.Rename(temp, p))
	}},
	{"git checkout", func(p, data string, pause time.Duration) error {
		return errors.Join(os.Remove(p), put(p, data, os.O_CREATE|os.O_EXCL, pause))
	}},
	{"rsync", func(p, data string, pause time.Duration) error {
		temp := filepath.Join(filepath.Dir(p), "."+filepath.Base(p)+".x7YzQ1")
		old := time.Now().Add(-time.Hour)
		return errors.Join(put(temp, data, os.O_CREATE|os.O_EXCL, pause), os.Chtimes(temp, old, old), os.Rename(temp, p))
	}},
	{"rsync --inplace", func(p, data string, pause time.Duration) error { // overwrites, then truncates
		f, err := os.OpenFile(p, os.O_WRONLY|os.O_CREATE, 0o644)
		if err != nil {
			return err
		}
		return errors.Join(chunks(f, data, pause), f.Truncate(int64(len(data))), f.Close())
	}},
	{"cp -p", func(p, data string, pause time.Duration) error {
		old := time.Now().Add(-time.Hour)
		return errors.Join(put(p, data, os.O_CREATE|os.O_TRUNC, pause), os.Chtimes(p, old, old))
	}},
	{"renameio", func(p, data string, pause time.Duration) error {
		return errors.Join(put(p+".tmp", data, os.O_CREATE|os.O_TRUNC, pause), os.Rename(p+".tmp", p))
	}},
	{"ln -sfn", func(p, data string, pause time.Duration) error { // to another version in a hidden folder
		dir := filepath.Join(filepath.Dir(p), ".versions")
		name := fmt.Sprintf("%s.%d", filepath.Base(p), rand.Int64())
		link := filepath.Join(filepath.Dir(p), "."+name)
		return errors.Join(os.MkdirAll(dir, 0o755), put(filepath.Join(dir, name), data, os.O_CREATE, pause),
			os.Symlink(filepath.Join(".versions", name), link), os.Rename(link, p))
	}},
}

// put opens, writes in chunks and closes, as nearly every program does.
func put(path, data string, flag int, pause time.Duration) error {
	f, err := os.OpenFile(path, os.O_WRONLY|flag, 0o644)
	if err != nil {
		return err
	}
	return errors.Join(chunks(f, data, pause), f.Sync(), f.Close())
}

func chunks(f *os.File, data string, pause time.Duration) error {
	for rest := data; rest != ""; {
		n := min(len(rest), len(data)/3+1)
		if _, err := f.WriteString(rest[:n]); err != nil {
			return err
		}
		if rest = rest[n:]; rest != "" && pause > 0 {
			time.Sleep(pause) // the habit itself, not a wait of the test's
		}
	}
	return nil
}

func TestHabits(t *testing.T) {
	for _, h := range habits {
		for name, pause := range map[string]time.Duration{"at once": 0, "slowly": slowPause} {
			t.Run(h.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				at := filepath.Join(dir, "dmz.cfg")
				before, after := marked(1, 40), marked(2, 30)
				write(t, at, before)
				f := follow(t, NewFolder(dir, quick))
				whole := func(u Update) {
					cf, ok := find(u, "dmz")
					if !ok || cf.Err != nil || !isWhole(cf.Data) || len(u.Snapshot.Files) != 1 {
						t.Errorf("acted on a half: %s\n%s", describe(u), cf.Data)
					}
				}
				await(t, f, "the file is there", holds("dmz", before), whole)
				must(t, h.save(at, after, pause))
				u := await(t, f, "the file is the new one", holds("dmz", after), whole)
				none(t, f, u, 2*quick.Quiet)
			})
		}
	}
}

// The same for a file in NAME/, where there is more to mistake for content.
func TestHabitsInFolderOfCluster(t *testing.T) {
	for _, h := range habits {
		t.Run(h.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			write(t, filepath.Join(dir, "dmz.cfg"), "cfg")
			at := filepath.Join(dir, "dmz", "site", "local.zeek")
			before, after := marked(1, 40), marked(2, 30)
			write(t, at, before)
			f := follow(t, NewFolder(dir, quick))
			has := func(data string) func(Update) bool {
				return func(u Update) bool {
					cf, _ := find(u, "dmz")
					return string(cf.Tree["site/local.zeek"].Data) == data
				}
			}
			whole := func(u Update) {
				cf, _ := find(u, "dmz")
				if len(cf.Tree) != 1 || !isWhole(cf.Tree["site/local.zeek"].Data) {
					t.Errorf("acted on a half: %s", describe(u))
				}
			}
			await(t, f, "the file is there", has(before), whole)
			must(t, h.save(at, after, quick.Quiet/8))
			await(t, f, "the file is the new one", has(after), whole)
		})
	}
}

// About 200 edits in 2 seconds of four clusters by all habits in turn, some slow, with noise in the folder.
func TestStress(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const files, edits = 4, 50
	name := func(i int) string { return fmt.Sprintf("c%d", i) }
	for i := range files {
		write(t, filepath.Join(dir, name(i)+".cfg"), marked(0, 10))
	}
	hasty := quick // so that it has to act in the middle of it all
	hasty.MaxWait, hasty.Hold = 100*time.Millisecond, 150*time.Millisecond
	f := follow(t, NewFolder(dir, hasty))
	check := func(u Update) {
		if u.Err != nil {
			t.Errorf("the folder was there all the time: %v", u.Err)
			return
		}
		for _, cf := range u.Snapshot.Files {
			if e, ok := errors.AsType[*Error](cf.Err); ok && e.Kind == Busy {
				continue // it says so, and nobody acts on it
			}
			if cf.Err != nil || !isWhole(cf.Data) {
				t.Errorf("acted on a half of %s: %v\n%s", cf.Name, cf.Err, cf.Data)
			}
		}
		if len(u.Snapshot.Files) != files {
			t.Errorf("a file that is being replaced was taken for removed: %s", describe(u))
		}
	}
	await(t, f, "all files are there", func(u Update) bool { return true }, check)

	last := make([]string, files)
	errs := make(chan error, files)
	var writers sync.WaitGroup
	for i := range files {
		rng := rand.New(rand.NewPCG(uint64(i), 7))
		writers.Go(func() {
			for n := 1; n <= edits; n++ {
				last[i] = marked(n, rng.IntN(60))
				h := habits[rng.IntN(len(habits))]
				pause := time.Duration(rng.IntN(12)) * time.Millisecond
				if err := h.save(filepath.Join(dir, name(i)+".cfg"), last[i], pause); err != nil {
					errs <- fmt.Errorf("%s: %w", h.name, err)
					return
				}
				if n%10 == 0 { // a pause in which something may settle
					time.Sleep(quick.Quiet * 3 / 2)
				}
				_ = os.WriteFile(filepath.Join(dir, "notes.txt"), []byte(last[i]), 0o644)
			}
		})
	}
	go func() { writers.Wait(); close(errs) }()
	var updates int
	var u Update
	for writing := true; writing; {
		select {
		case u = <-f.Updates():
			check(u)
			updates++
		case err, more := <-errs:
			if err != nil {
				t.Fatal(err)
			}
			writing = more
		}
	}
	isLast := func(u Update) bool {
		for i := range files {
			if !holds(name(i), last[i])(u) {
				return false
			}
		}
		return true
	}
	if !isLast(u) {
		await(t, f, "all files are the last ones", isLast, check)
	}
	if updates < 2 {
		t.Errorf("%d updates while writing, want it to act in the middle of it", updates)
	}
	t.Logf("%d updates while writing", updates)
}
