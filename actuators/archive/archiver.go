package archive

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"
	"golang.org/x/time/rate"
)

// Config is what an archiver is made of. Queue and Settings.Root are required.
type Config struct {
	// Queue is the folder that rotated logs appear in. It need not exist yet.
	Queue    string
	Settings Settings
	// ID tells this archiver's temporary files from those of others that archive into the same folders; it has to be the
	// same after a restart. Empty: the queue's path serves.
	ID string
	// Drain is how long Run goes on after its context has ended, for what is in the queue then: 45 s.
	Drain   time.Duration
	Version string
	Log     *slog.Logger     // nil: none
	Now     func() time.Time // nil: time.Now
	Disk    Disk             // nil: OS
}

// Archiver archives the logs of one queue. Its methods may be called from several goroutines.
type Archiver struct {
	cfg   Config
	log   *slog.Logger
	disk  Disk
	queue string
	id    string
	since time.Time

	settings atomic.Pointer[Settings]
	applied  chan struct{} // settings have changed
	limiter  *rate.Limiter
	codecs   codecs
	seq      atomic.Uint64

	passing sync.Mutex             // held by a pass, and by what deletes
	tidied  atomic.Pointer[string] // the root that is without temporary files of an earlier process
	warned  map[string]bool        // folders of days with files that were not deleted, and were named

	tally tally
}

// New makes an archiver; it does nothing yet.
func New(cfg Config) (*Archiver, error) {
	if cfg.Queue == "" {
		return nil, errors.New("cannot archive: no queue is named")
	}
	var err error
	if cfg.Queue, err = filepath.Abs(cfg.Queue); err != nil {
		return nil, fmt.Errorf("cannot archive: %w", err)
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Disk == nil {
		cfg.Disk = OS{}
	}
	if cfg.Drain == 0 {
		cfg.Drain = 45 * time.Second
	}
	if cfg.ID == "" {
		cfg.ID = cfg.Queue
	}
	a := &Archiver{
		cfg: cfg, log: cfg.Log, disk: cfg.Disk, queue: cfg.Queue, id: fmt.Sprintf("%08x", uint32(xxhash.Sum64String(cfg.ID))),
		since: cfg.Now(), applied: make(chan struct{}, 1), limiter: rate.NewLimiter(rate.Inf, burst),
		warned: map[string]bool{},
	}
	a.tally.refused = map[string]refused{}
	if err := a.Apply(cfg.Settings); err != nil {
		return nil, err
	}
	return a, nil
}

// Apply has the archiver use other settings from now on. A log that is being stored is finished by the earlier ones.
func (a *Archiver) Apply(s Settings) error {
	s, err := s.Complete()
	if err != nil {
		return err
	}
	a.settings.Store(&s)
	limit := rate.Inf
	if s.Rate > 0 {
		limit = rate.Limit(s.Rate)
	}
	a.limiter.SetLimit(limit)
	select {
	case a.applied <- struct{}{}:
	default: // about to be seen
	}
	return nil
}

// Settings in use.
func (a *Archiver) Settings() Settings { return *a.settings.Load() }

func (a *Archiver) now() time.Time { return a.cfg.Now() }
