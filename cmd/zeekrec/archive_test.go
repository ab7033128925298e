package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// logSums are the SHA-256 sums of all logs below some folders, decompressed, sorted and without doubles; and the names of
// what is left over of archiving.
func logSums(t *testing.T, dirs ...string) (sums, temps []string) {
	t.Helper()
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || d.Name() == ".zeekrec" {
				return err
			}
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			switch {
			case strings.HasSuffix(p, ".tmp"):
				temps = append(temps, p)
				return nil
			case strings.HasSuffix(p, ".gz"):
				r, err := gzip.NewReader(bytes.NewReader(b))
				if err == nil {
					b, err = io.ReadAll(r)
				}
				if err != nil {
					return fmt.Errorf("%s: %w", p, err)
				}
			}
			sum := sha256.Sum256(b)
			sums = append(sums, hex.EncodeToString(sum[:]))
			return nil
		})
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	slices.Sort(sums)
	return slices.Compact(sums), temps
}

// fillQueue puts logs of some sizes into a queue.
func fillQueue(t *testing.T, queue string, rng *rand.Rand, n, most int) {
	t.Helper()
	if err := os.MkdirAll(queue, 0o755); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		var b bytes.Buffer
		for size := rng.IntN(most); b.Len() < size; {
			fmt.Fprintf(&b, "%d\tC%x\t10.0.0.%d\t%d\tdns\n", i, rng.Uint64(), rng.IntN(256), rng.IntN(65536))
		}
		fmt.Fprintf(&b, "#%d %d\n", i, rng.Uint64())
		name := fmt.Sprintf("conn__2026-01-%02d-%02d-00-00__2026-01-%02d-%02d-59-59__log_suffix=logger-%d__.log", 1+i%3, i/3%24, 1+i%3, i/3%24, i/72)
		if err := os.WriteFile(filepath.Join(queue, name), b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestArchiveKilled kills the archiver at random, again and again: what is in the queue and in the archive is what there was, and the
// last pass leaves no temporary file. With ZEEKREC_E2E it is killed a thousand times.
func TestArchiveKilled(t *testing.T) {
	bin := build(t, "./cmd/zeekrec", "-s -w")
	kills := 40
	if os.Getenv("ZEEKREC_E2E") != "" {
		kills = 1000
	}
	rng := rand.New(rand.NewPCG(uint64(kills), 1))
	queue, dir := filepath.Join(t.TempDir(), "queue"), filepath.Join(t.TempDir(), "archive")
	var want []string
	longest := 400 * time.Millisecond
	inTheMiddle := 0
	for killed := 0; killed < kills; {
		if left, _ := os.ReadDir(queue); len(left) == 0 {
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
			fillQueue(t, queue, rng, 60, 100_000)
			want, _ = logSums(t, queue)
		}
		cmd := exec.Command(bin, "archive", "-1", queue, dir)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		select {
		case err := <-ended:
			if err != nil {
				t.Fatal(err)
			}
			longest = max(longest/2, 20*time.Millisecond)
		case <-time.After(time.Duration(rng.Int64N(int64(longest)))):
			_ = cmd.Process.Kill()
			<-ended
			killed++
			if _, temps := logSums(t, dir); len(temps) > 0 {
				inTheMiddle++
			}
		}
		if got, _ := logSums(t, queue, dir); !slices.Equal(got, want) {
			t.Fatalf("after %d kills: %d contents, want %d", killed, len(got), len(want))
		}
	}
	if out, err := exec.Command(bin, "archive", "-1", queue, dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	got, temps := logSums(t, queue, dir)
	if left, _ := os.ReadDir(queue); !slices.Equal(got, want) || len(temps) > 0 || len(left) > 0 {
		t.Errorf("%d contents, want %d; temporary files %v; %d in the queue", len(got), len(want), temps, len(left))
	}
	t.Logf("killed %d times, %d of them while a log was being compressed", kills, inTheMiddle)
	if inTheMiddle == 0 {
		t.Error("it was never killed in the middle of a log")
	}
}

// TestArchiveDiskFull archives onto a small disk until it is full, and goes on when it is larger.
func TestArchiveDiskFull(t *testing.T) {
	if os.Getuid() != 0 || exec.Command("unshare", "-m", "true").Run() != nil {
		t.Skip("needs root and mount namespaces")
	}
	bin := build(t, "./cmd/zeekrec", "-s -w")
	rng := rand.New(rand.NewPCG(9, 9))
	queue, disk, copied := filepath.Join(t.TempDir(), "queue"), t.TempDir(), filepath.Join(t.TempDir(), "copy")
	fillQueue(t, queue, rng, 40, 400_000)
	want, _ := logSums(t, queue)
	script := `set -e
mount -t tmpfs -o size=1m none "$3"
if "$1" archive -1 "$2" "$3/archive"; then echo "it is not full"; exit 1; fi
find "$3" -name '*.tmp'
mkdir -p "$4"; cp -a "$3/archive" "$4/half"
mount -o remount,size=64m "$3"
"$1" archive -1 "$2" "$3/archive"
cp -a "$3/archive" "$4/whole"`
	out, err := exec.Command("unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh", bin, queue, disk, copied).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if !strings.Contains(string(out), "no space left on device") || strings.Contains(string(out), ".tmp\n") {
		t.Errorf("it says:\n%s", out)
	}
	half, temps := logSums(t, filepath.Join(copied, "half"))
	if len(half) == 0 || len(half) >= len(want) || len(temps) > 0 {
		t.Errorf("on the full disk are %d of %d, temporary files %v", len(half), len(want), temps)
	}
	got, temps := logSums(t, filepath.Join(copied, "whole"))
	if left, _ := os.ReadDir(queue); !slices.Equal(got, want) || len(temps) > 0 || len(left) > 0 {
		t.Errorf("%d contents, want %d; temporary files %v; %d in the queue", len(got), len(want), temps, len(left))
	}
}
