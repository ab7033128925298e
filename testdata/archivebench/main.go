// Command archivebench has zeekrec archive and zeek-archiver archive the same conn logs, one after the other, and compares
// wall time, CPU time and size. Where there is no zeek-archiver, GNU gzip stands for it: zeek-archiver runs it for each
// log, one after the other. Ratios are medians over rounds.
package main

import (
	"context"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"time"
)

func main() {
	if err := bench(); err != nil {
		fmt.Fprintln(os.Stderr, "archivebench:", err)
		os.Exit(1)
	}
}

// figures of one run.
type figures struct {
	wall, cpu time.Duration
	size      int64
}

// contender archives a queue into a folder.
type contender struct {
	name string
	argv func(queue, dir string) []string
}

func bench() error {
	zeekrec := flag.String("zeekrec", "bin/zeekrec", "the `PATH` of zeekrec")
	archiver := flag.String("zeek-archiver", "", "the `PATH` of zeek-archiver (default: on PATH, or in /opt/zeek/bin)")
	megabytes := flag.Int("mb", 300, "size of all logs, in megabytes")
	files := flag.Int("files", 12, "how many logs that is")
	rounds := flag.Int("rounds", 3, "how often to measure")
	work := flag.String("dir", "", "the `DIR` to work in (default: a temporary one)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()

	dir, err := os.MkdirTemp(*work, "archivebench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	logs := filepath.Join(dir, "logs")
	total, err := generate(logs, int64(*megabytes)*1_000_000, *files)
	if err != nil {
		return err
	}
	self, err := filepath.Abs(*zeekrec)
	if err != nil {
		return err
	}
	base := upstream(*archiver)
	fmt.Printf("%d conn logs, %.0f MB; %s beside zeekrec archive\n\n", *files, float64(total)/1e6, base.name)
	ours := []contender{
		{"zeekrec gzip", func(q, d string) []string { return []string{self, "archive", "-1", "--log-level", "warn", q, d} }},
		{"zeekrec zstd", func(q, d string) []string {
			return []string{self, "archive", "-1", "-c", "zst,zstd", "--log-level", "warn", q, d}
		}},
		{"zeekrec none", func(q, d string) []string {
			return []string{self, "archive", "-1", "-c", "", "--log-level", "warn", q, d}
		}},
	}
	got := map[string][]figures{}
	for range *rounds {
		for _, c := range append([]contender{base}, ours...) {
			f, err := run(ctx, c, logs, filepath.Join(dir, "run"))
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			got[c.name] = append(got[c.name], f)
		}
	}
	report(base, ours, got, total)
	return nil
}

// upstream is what zeekrec is compared with.
func upstream(path string) contender {
	for _, p := range []string{path, "zeek-archiver", "/opt/zeek/bin/zeek-archiver"} {
		if full, err := exec.LookPath(p); p != "" && err == nil {
			return contender{"zeek-archiver", func(q, d string) []string { return []string{full, "-1", q, d} }}
		}
	}
	const loop = `mkdir -p "$2" && for f in "$1"/*; do gzip <"$f" >"$2/.tmp" && mv "$2/.tmp" "$2/${f##*/}.gz" && rm "$f" || exit 1; done`
	return contender{"GNU gzip, log by log (there is no zeek-archiver)", func(q, d string) []string { return []string{"sh", "-c", loop, "sh", q, d} }}
}

// generate makes the logs: hours of one day.
func generate(dir string, size int64, n int) (total int64, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return 0, err
	}
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range n {
		open := at.Add(time.Duration(i) * time.Hour)
		const layout = "2006-01-02-15-04-05"
		path := filepath.Join(dir, fmt.Sprintf("conn__%s__%s__log_suffix=logger-1__.log", open.Format(layout), open.Add(time.Hour).Format(layout)))
		f, err := os.Create(path)
		if err != nil {
			return total, err
		}
		err = newTraffic(uint64(i), open).write(f, size/int64(n))
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			return total, err
		}
		info, err := os.Stat(path)
		if err != nil {
			return total, err
		}
		total += info.Size()
	}
	return total, nil
}

// run measures one contender on a fresh copy of the logs.
func run(ctx context.Context, c contender, logs, dir string) (f figures, err error) {
	if err := os.RemoveAll(dir); err != nil {
		return f, err
	}
	queue, out := filepath.Join(dir, "queue"), filepath.Join(dir, "archive")
	if err := os.CopyFS(queue, os.DirFS(logs)); err != nil {
		return f, err
	}
	if err := exec.CommandContext(ctx, "sync").Run(); err != nil {
		return f, err
	}
	argv := c.argv(queue, out)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stderr = os.Stderr
	began := time.Now()
	if err := cmd.Run(); err != nil {
		return f, err
	}
	f.wall, f.cpu = time.Since(began), cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime()
	if left, _ := os.ReadDir(queue); len(left) > 0 {
		return f, fmt.Errorf("%d logs are left in the queue", len(left))
	}
	err = filepath.WalkDir(out, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		f.size += info.Size()
		return err
	})
	return f, err
}

// report prints medians, and ratios to what zeekrec is compared with.
func report(base contender, ours []contender, got map[string][]figures, total int64) {
	median := func(name string, of func(figures) float64) float64 {
		var vs []float64
		for _, f := range got[name] {
			vs = append(vs, of(f))
		}
		slices.Sort(vs)
		return vs[len(vs)/2]
	}
	wall := func(f figures) float64 { return f.wall.Seconds() }
	cpu := func(f figures) float64 { return f.cpu.Seconds() / float64(total) * 1e9 }
	size := func(f figures) float64 { return float64(f.size) }
	fmt.Printf("%-16s %9s %9s %10s %9s   %s\n", "", "wall, s", "MB/s", "CPU-s/GB", "size, MB", "against it: speed, CPU, size")
	for _, c := range append([]contender{base}, ours...) {
		name := c.name
		if len(name) > 16 {
			name = name[:16]
		}
		fmt.Printf("%-16s %9.2f %9.0f %10.1f %9.1f", name, median(c.name, wall), float64(total)/1e6/median(c.name, wall), median(c.name, cpu), median(c.name, size)/1e6)
		if c.name != base.name {
			fmt.Printf("   %.1f, %.2f, %.3f", median(base.name, wall)/median(c.name, wall), median(c.name, cpu)/median(base.name, cpu), median(c.name, size)/median(base.name, size))
		}
		fmt.Println()
	}
}
