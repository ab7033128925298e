package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"

	"github.com/coreos/go-systemd/v22/journal"
)

// The formats of the log.
const (
	logAuto    = "auto" // logJournal where stderr leads to systemd's journal, else logText
	logText    = "text"
	logJSON    = "json"
	logJournal = "journal"
)

// logger of a long-running command.
func (a *app) logger() *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(a.settings.logLevel)) // checked with the settings
	o := &slog.HandlerOptions{Level: level}
	format := a.settings.logFormat
	if format == logAuto {
		format = logText
		if is, err := journal.StderrIsJournalStream(); is && err == nil && a.stderr == io.Writer(os.Stderr) {
			format = logJournal
		}
	}
	switch format {
	case logJSON:
		return slog.New(slog.NewJSONHandler(a.stderr, o))
	case logJournal:
		return slog.New(newJournalHandler(a.stderr, o.Level))
	}
	return slog.New(slog.NewTextHandler(a.stderr, o))
}

// journalHandler writes lines for systemd's journal, which has the time itself and takes the priority from a line's beginning
// (sd-daemon(3): "<4>text").
type journalHandler struct {
	slog.Handler // writes to out, without time and level
	out          *leveled
}

func newJournalHandler(w io.Writer, level slog.Leveler) *journalHandler {
	out := &leveled{w: w}
	return &journalHandler{out: out, Handler: slog.NewTextHandler(out, &slog.HandlerOptions{
		Level: level,
		ReplaceAttr: func(groups []string, at slog.Attr) slog.Attr {
			if len(groups) == 0 && (at.Key == slog.TimeKey || at.Key == slog.LevelKey) {
				return slog.Attr{}
			}
			return at
		},
	})}
}

func (h *journalHandler) Handle(ctx context.Context, r slog.Record) error {
	h.out.mu.Lock()
	defer h.out.mu.Unlock()
	h.out.level = r.Level
	return h.Handler.Handle(ctx, r)
}

func (h *journalHandler) WithAttrs(as []slog.Attr) slog.Handler {
	return &journalHandler{h.Handler.WithAttrs(as), h.out}
}

func (h *journalHandler) WithGroup(name string) slog.Handler {
	return &journalHandler{h.Handler.WithGroup(name), h.out}
}

// leveled puts the priority of a level before each line. mu is held while a line is written.
type leveled struct {
	w     io.Writer
	mu    sync.Mutex
	level slog.Level
}

func (l *leveled) Write(line []byte) (int, error) {
	priority := 7
	switch {
	case l.level >= slog.LevelError:
		priority = 3
	case l.level >= slog.LevelWarn:
		priority = 4
	case l.level >= slog.LevelInfo:
		priority = 6
	}
	// In one write: lines of others may come between two.
	if _, err := l.w.Write(append(fmt.Appendf(nil, "<%d>", priority), line...)); err != nil {
		return 0, err
	}
	return len(line), nil
}
