package archive

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"time"

	"github.com/zeekrec/zeekrec/actuators/archive/logname"
)

// Settings are what can be changed while the archiver runs. Root is required; what else is zero is the default.
type Settings struct {
	// Root is the folder that holds the folders of days; it is made where it is missing.
	Root string `json:"root"`
	// Compress is gzip (the default), zstd or none.
	Compress Compression `json:"compress,omitempty"`
	// Keep is how long logs are kept after the end of their day; 0: for ever.
	Keep time.Duration `json:"keep,omitempty"`
	// MinFree is the room to leave on Root's file system.
	MinFree Share `json:"min_free,omitzero"`
	// Interval is that of the loggers' rotation: 1 h. A backlog is reckoned in it.
	Interval time.Duration `json:"interval,omitempty"`
	// Command is run in the archiver's place, by the shell, as COMMAND -1 QUEUE ROOT.
	Command string `json:"command,omitempty"`
	// Parallel is how many logs are compressed at the same time: as many as there are CPUs, at most 4.
	Parallel int `json:"parallel,omitempty"`
	// Rate bounds how many bytes of logs are read in a second; 0: as many as can be.
	Rate int64 `json:"rate,omitempty"`
	// UTC: days begin and end as in UTC, and not in local time.
	UTC bool `json:"utc,omitempty"`

	// What follows is for those who take zeek-archiver's place.

	// Format of the names in the queue; zero: logname.Zeek.
	Format logname.Format `json:"-"`
	// Zipped are extensions (without a dot) of logs that are compressed already; nil: gz, bz2, lz, lz4, zst, xz.
	Zipped []string `json:"-"`
	// Filter is a command that compresses its standard input, instead of Compress; FilterExt (without a dot) is added to
	// names.
	Filter, FilterExt string `json:"-"`
}

// Share of a file system: a percentage, or a number of bytes.
type Share struct {
	Percent int   `json:"percent,omitempty"`
	Bytes   int64 `json:"bytes,omitempty"`
}

// of is the share in bytes.
func (s Share) of(total int64) int64 {
	if s.Percent > 0 {
		return total / 100 * int64(s.Percent)
	}
	return s.Bytes
}

// String is "5%" or "2.0 GB".
func (s Share) String() string {
	if s.Percent > 0 {
		return fmt.Sprintf("%d%%", s.Percent)
	}
	return Bytes(s.Bytes)
}

// The defaults of Settings.
const (
	DefaultInterval = time.Hour
	mostParallel    = 4
)

// Complete fills in the defaults, and refuses what makes no sense.
func (s Settings) Complete() (Settings, error) {
	if s.Root == "" {
		return s, errors.New("cannot archive: no folder is named to archive into")
	}
	var err error
	if s.Root, err = filepath.Abs(s.Root); err != nil {
		return s, fmt.Errorf("cannot archive: %w", err)
	}
	switch s.Compress {
	case "":
		s.Compress = Gzip
	case Gzip, Zstd, None:
	default:
		return s, fmt.Errorf("cannot compress with %q: it is gzip, zstd or none", s.Compress)
	}
	if s.Interval <= 0 {
		s.Interval = DefaultInterval
	}
	if s.Parallel <= 0 {
		s.Parallel = min(runtime.NumCPU(), mostParallel)
	}
	if s.Format == (logname.Format{}) {
		s.Format = logname.Zeek
	}
	if s.Zipped == nil {
		s.Zipped = []string{"gz", "bz2", "lz", "lz4", "zst", "xz"}
	}
	if s.Keep < 0 || s.Rate < 0 || s.MinFree.Bytes < 0 || s.MinFree.Percent < 0 || s.MinFree.Percent > 99 {
		return s, errors.New("cannot archive: keep, rate and min_free cannot be negative, nor min_free 100% or more")
	}
	return s, nil
}

// location that days are reckoned in.
func (s *Settings) location() *time.Location {
	if s.UTC {
		return time.UTC
	}
	return time.Local
}
