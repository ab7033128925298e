package cli

import (
	"bytes"
	"log/slog"
	"testing"
)

func TestJournalHandler(t *testing.T) {
	var out bytes.Buffer
	l := slog.New(newJournalHandler(&out, slog.LevelDebug))
	l.Debug("one")
	l.With("part", "agent").Info("told", "resource", "dmz/w1")
	l.Warn("a \"word\"")
	l.WithGroup("g").Error("bad", "level", 2)
	const want = "<7>msg=one\n<6>msg=told part=agent resource=dmz/w1\n<4>msg=\"a \\\"word\\\"\"\n<3>msg=bad g.level=2\n"
	if got := out.String(); got != want {
		t.Errorf("%s", got)
	}
	out.Reset()
	slog.New(newJournalHandler(&out, slog.LevelWarn)).Info("nothing")
	if out.Len() > 0 {
		t.Errorf("%s", out.String())
	}
}
