package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/zeekrec/zeekrec/actuators/archive"
	"github.com/zeekrec/zeekrec/actuators/archive/admin"
	"github.com/zeekrec/zeekrec/actuators/archive/logname"
	"github.com/zeekrec/zeekrec/actuators/process"
)

// archiveOptions are the flags of `zeekrec archive`.
type archiveOptions struct {
	settings archive.Settings

	once, verbose, version bool
	interval               int
	compress               string
	delimiter, timeFormat  string
	zipped                 string
	minFree                string

	nice         int
	settingsFile string
	admin        string
	metrics      string
	statusFile   string
}

func (a *app) archiveCommand() *cobra.Command {
	var o archiveOptions
	c := &cobra.Command{
		Use:   "archive QUEUE DIR",
		Short: "Archive a queue of rotated logs, in the foreground",
		Long: `Archive rotated logs: compress what Zeek's loggers put into QUEUE, and file it by day:

  QUEUE/conn__2026-01-01-10-00-00__2026-01-01-11-00-00__log_suffix=logger-1__.log
  DIR/2026-01-01/conn.10:00:00-11:00:00-logger-1.log.gz

zeekrec runs one for each cluster by itself; this is the same program for clusters that are
run otherwise. With -1 it archives what there is and ends; it takes zeek-archiver's options
and puts logs where zeek-archiver does, so it can stand in for it.

A log leaves QUEUE only when its content is in DIR, on disk, and was read again. Nothing in
DIR is ever overwritten: another log of the same name gets a new one ("~2"). With --keep,
logs are deleted that were archived by it, when their day ended longer ago than that.`,
		Example: `  zeekrec archive -1 /opt/zeek/spool/log-queue /opt/zeek/var/logs/zeek
  zeekrec archive --keep 2160h --min-free 5% /opt/zeek/spool/log-queue /var/log/zeek
  zeekrec archive -c zst,zstd QUEUE DIR`,
		Args: cobra.MaximumNArgs(2),
		RunE: a.action(func(ctx context.Context, args []string) error { return a.archive(ctx, o, args) }),
	}
	f := c.Flags()
	f.BoolVarP(&o.once, "once", "1", false, "archive what there is, and end")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "log every file")
	f.BoolVar(&o.version, "version", false, "print the version and end")
	f.IntVarP(&o.interval, "idle-poll-interval", "i", 30, "for zeek-archiver's sake; the queue is watched, and read every 30 s besides")
	f.StringVarP(&o.compress, "compress", "c", "gz,gzip", "`EXT,CMD`: the extension, and what compresses; gzip and zstd are built in, empty: nothing")
	f.StringVarP(&o.delimiter, "delimiter", "d", "__", "what stands between the parts of names in QUEUE")
	f.StringVarP(&o.timeFormat, "time-fmt", "t", "%Y-%m-%d-%H-%M-%S", "the `FORMAT` of times in names in QUEUE, as of strptime")
	f.StringVarP(&o.zipped, "zip-extensions", "z", "gz,bz2,lz,lz4,zst,xz", "extensions of logs that are compressed already")
	f.DurationVar(&o.settings.Keep, "keep", 0, "delete what was archived when its day ended longer ago than this (2160h: 90 days)")
	f.StringVar(&o.minFree, "min-free", "", "room to leave at DIR: a percentage, or a number of bytes")
	f.IntVar(&o.settings.Parallel, "parallel", 0, "how many logs to compress at the same time (default: as many as there are CPUs, at most 4)")
	f.Int64Var(&o.settings.Rate, "rate", 0, "bytes of logs to read in a second (default: as many as can be)")
	f.IntVar(&o.nice, "nice", 0, "be this nice, and do input and output only when nobody else does")
	f.StringVar(&o.settingsFile, "settings", "", "file with settings as JSON, instead of DIR and the flags")
	f.StringVar(&o.admin, "admin", "", "Unix socket to be asked and told by")
	f.StringVar(&o.metrics, "metrics", "", "ADDRESS:PORT to serve Prometheus metrics on, at /metrics")
	f.StringVarP(&o.statusFile, "status-file", "U", "", "file to write the state to, as Zeek's -U does")
	a.logFlags(f, "info")
	c.AddCommand(a.archiveStatusCommand())
	return c
}

func (a *app) archive(ctx context.Context, o archiveOptions, args []string) (err error) {
	if o.version {
		return a.print("zeekrec archive " + Version() + "\n")
	}
	if want := map[bool]int{true: 1, false: 2}[o.settingsFile != ""]; len(args) != want {
		return usage(errors.New("QUEUE and DIR are required"), "zeekrec archive -1 QUEUE DIR")
	}
	s, err := o.complete(args)
	if err != nil {
		return err
	}
	if o.verbose {
		a.settings.logLevel = "debug"
	}
	log := a.logger()
	host, _ := os.Hostname() // two hosts may share DIR
	ar, err := archive.New(archive.Config{Queue: args[0], Settings: s, ID: host + ":" + args[0], Version: Version(), Log: log})
	if err != nil {
		return err
	}
	if o.once {
		return a.archiveOnce(ctx, ar, log)
	}
	ownName("zeek-archive") // whoever ends zeekrec by name spares it
	process.StepBack(o.nice)
	d := &daemon{status: statusFile(o.statusFile), log: log}
	if err := d.begin(); err != nil {
		return err
	}
	defer d.end(&err)
	d.part(ctx, ar.Run)
	// It answers until the last log is archived.
	if err := d.answer(context.WithoutCancel(ctx), o.admin, admin.Handler(ar), o.metrics, admin.MetricsOnly(ar)); err != nil {
		return err
	}
	s = ar.Settings()
	return d.run("Archiver", "root", s.Root, "compress", s.Compress, "parallel", s.Parallel, "keep", s.Keep)
}

// complete are the settings that the flags amount to, or those of the file.
func (o *archiveOptions) complete(args []string) (archive.Settings, error) {
	if o.settingsFile != "" {
		return readSettings[archive.Settings](o.settingsFile)
	}
	s := o.settings
	s.Root = args[1]
	if o.delimiter == "" {
		return s, usage(errors.New("the delimiter cannot be empty"))
	}
	layout, err := logname.Layout(o.timeFormat)
	if err != nil {
		return s, usage(err)
	}
	s.Format = logname.Format{Delimiter: o.delimiter, Layout: layout}
	s.Zipped = []string{}
	for z := range strings.SplitSeq(o.zipped, ",") {
		if z = strings.TrimPrefix(z, "."); z != "" {
			s.Zipped = append(s.Zipped, z)
		}
	}
	if s.MinFree, err = parseShare(o.minFree); err != nil {
		return s, usage(err)
	}
	if o.compress == "" || o.compress == "=" { // -c=, which zeek-archiver understands so
		s.Compress = archive.None
		return s, nil
	}
	ext, command, ok := strings.Cut(o.compress, ",")
	if !ok || command == "" || strings.Contains(command, ",") || strings.Contains(ext, "/") {
		return s, usage(fmt.Errorf("--compress takes EXT,CMD, and not %q", o.compress))
	}
	switch {
	case slices.Contains([]string{"gzip", "zstd"}, command):
		s.Compress = archive.Compression(command)
	default:
		s.Filter = command
	}
	s.FilterExt = strings.TrimPrefix(ext, ".")
	return s, nil
}

func parseShare(text string) (s archive.Share, err error) {
	if text == "" {
		return s, nil
	}
	if digits, percent := strings.CutSuffix(text, "%"); percent {
		_, err = fmt.Sscanf(digits, "%d", &s.Percent)
	} else {
		_, err = fmt.Sscanf(text, "%d", &s.Bytes)
	}
	if err != nil || s.Percent < 0 || s.Percent > 99 || s.Bytes < 0 {
		return s, fmt.Errorf("--min-free takes a percentage or a number of bytes, and not %q", text)
	}
	return s, nil
}

// archiveOnce is one pass. What cannot be archived was logged; it is no failure, as with zeek-archiver.
func (a *app) archiveOnce(ctx context.Context, ar *archive.Archiver, log *slog.Logger) error {
	began := time.Now()
	out, err := ar.Pass(ctx)
	if out.Files > 0 {
		log.Info("Archived", "files", out.Files, "bytes", out.Read, "stored", out.Written, "seconds", time.Since(began).Seconds())
	}
	if err != nil {
		return err
	}
	_, err = ar.Expire()
	return err
}

func (a *app) archiveStatusCommand() *cobra.Command {
	var path string
	var asJSON bool
	c := &cobra.Command{
		Use:   "status --admin SOCKET",
		Short: "What waits for an archiver, what it has done, and what is wrong",
		Example: `  zeekrec archive status --admin /run/zeek/archive.sock
  zeekrec archive status --json --admin /var/lib/zeekrec/clusters/dmz/nodes/archiver/work/admin.sock`,
		Args: cobra.NoArgs,
		RunE: a.action(func(ctx context.Context, _ []string) error {
			ctx, cancel := context.WithTimeout(ctx, brokerTimeout)
			defer cancel()
			st, err := admin.Dial(path).Status(ctx)
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(st)
			}
			return a.print(archiveText(&st, time.Now()))
		}),
	}
	c.Flags().StringVar(&path, "admin", "", "the archiver's socket")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	_ = c.MarkFlagRequired("admin")
	return c
}

// archiveText is an archiver's status for people.
func archiveText(st *archive.Status, now time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, "archiver %s, process %d, up %s\n", st.Version, st.PID, now.Sub(st.Since).Round(time.Second))
	fmt.Fprintf(&b, "from %s to %s, %s", st.Queue, st.Settings.Root, st.Settings.Compress)
	if st.Settings.Command != "" {
		fmt.Fprintf(&b, ", by %s", st.Settings.Command)
	}
	if st.Settings.Keep > 0 {
		fmt.Fprintf(&b, ", kept for %s", st.Settings.Keep)
	}
	b.WriteString("\n\n" + strings.Join(st.Notes, "\n") + "\n")
	fmt.Fprintf(&b, "since its start: %d files, %s read, %s written, %d deleted\n",
		st.Totals.Files, archive.Bytes(int64(st.Totals.Read)), archive.Bytes(int64(st.Totals.Written)), st.Totals.Deleted)
	for _, d := range st.Degraded {
		fmt.Fprintf(&b, "DEGRADED: %s\n", d)
	}
	if e := st.LastError; e != nil {
		fmt.Fprintf(&b, "last error, %s ago: %s\n", now.Sub(e.At).Round(time.Second), e.Text)
	}
	for _, r := range st.Refused {
		fmt.Fprintf(&b, "cannot be archived: %s: %s\n", r.Name, r.Reason)
	}
	return b.String()
}
