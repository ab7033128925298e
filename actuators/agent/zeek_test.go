package agent

import (
	"context"
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/desired"
)

func TestNewer(t *testing.T) {
	was := binary{Path: "/opt/zeek", Version: "8.2.1", Size: 10, ModTime: time.Unix(1, 0)}
	with := func(change func(*binary)) binary { b := was; change(&b); return b }
	for _, tt := range []struct {
		now  binary
		want string
	}{
		{was, ""},
		{with(func(b *binary) { b.Size, b.Version = 11, "8.2.2" }), "Zeek 8.2.1 -> 8.2.2"},
		{with(func(b *binary) { b.ModTime = time.Unix(2, 0) }), "another build of Zeek 8.2.1"},
		{with(func(b *binary) { b.Path = "/usr/zeek" }), "/opt/zeek -> /usr/zeek"},
		{binary{Path: "/opt/zeek"}, "Zeek 8.2.1 is no longer at /opt/zeek"},
		{with(func(b *binary) { b.Size, b.Version = 11, "" }), ""}, // it does not say; no news
	} {
		if got := was.newer(tt.now); got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.now, got, tt.want)
		}
	}
}

func TestZeeksAskOnceForEachFile(t *testing.T) {
	asked := 0
	z := &zeeks{fallback: "/bin/sh", known: map[string]*zeekEntry{}, ask: func(_ context.Context, path string) desired.ZeekFacts {
		asked++
		return desired.ZeekFacts{Path: path, Version: "8.2.2"}
	}}
	if _, _, ok := z.current(""); ok {
		t.Error("known before it was asked")
	}
	for range 3 {
		if f, b := z.facts(t.Context(), ""); f.Version != "8.2.2" || b.Version != "8.2.2" || b.Size == 0 {
			t.Errorf("%+v, %+v", f, b)
		}
	}
	z.refresh(t.Context())
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
	if f, _ := z.facts(t.Context(), "/nonexistent"); f.Err == "" {
		t.Error("no error")
	}
	if got := z.report(); got[""].Version != "8.2.2" || got["/nonexistent"].Err == "" || len(got) != 2 {
		t.Errorf("%+v", got)
	}
}
