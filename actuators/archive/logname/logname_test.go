package logname_test

import (
	"strings"
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/actuators/archive/logname"
)

func TestParse(t *testing.T) {
	for _, tt := range []struct{ name, want string }{
		{"conn__2026-01-01-10-00-00__2026-01-01-11-00-00__.log", "2026-01-01/conn.10:00:00-11:00:00.log"},
		{"conn__2026-01-01-10-00-00__2026-01-01-11-00-00__log_suffix=logger-1__.log", "2026-01-01/conn.10:00:00-11:00:00-logger-1.log"},
		{"conn__2026-01-01-10-00-00__2026-01-01-11-00-00__pid=7, log_suffix = logger-1 __.log.gz", "2026-01-01/conn.10:00:00-11:00:00-logger-1.log.gz"},
		{"conn__2026-01-01-10-00-00__2026-01-01-11-00-00____.log", "2026-01-01/conn.10:00:00-11:00:00.log"},
		{"conn__2026-01-01-23-00-00__2026-01-02-00-00-00__.log", "2026-01-01/conn.23:00:00-00:00:00.log"},
		// zeek-archiver takes none of these.
		{"my__log__2026-01-01-10-00-00__2026-01-01-11-00-00__.log", "2026-01-01/my__log.10:00:00-11:00:00.log"},
		{"conn__2026-01-01-10-00-00__2026-01-01-11-00-00__log_suffix=a__b__.log", "2026-01-01/conn.10:00:00-11:00:00-a__b.log"},
		{"x__2026-01-01-10-00-00__2026-01-01-10-00-00__2026-01-01-11-00-00__.log", "2026-01-01/x__2026-01-01-10-00-00.10:00:00-11:00:00.log"},
		{".shadow.conn.log", ""}, {"conn.log", ""}, {"README", ""}, {"", ""}, {"____", ""},
		{"__2026-01-01-10-00-00__2026-01-01-11-00-00__.log", ""},
		{"conn__2026-13-01-10-00-00__2026-01-01-11-00-00__.log", ""},
		{"conn__2026-02-30-10-00-00__2026-03-01-11-00-00__.log", ""},
		{"conn__2026-01-01-10-00-00.5__2026-01-01-11-00-00__.log", ""},
		{"conn__2026-01-01-10-00-00__2026-01-01-11-00-00__log", ""},
		{"conn__2026-01-01-10-00-00__2026-01-01-11-00-00__log_suffix__.log", ""},
		{"conn__2026-01-01-10-00-00__2026-01-01-11-00-00__log_suffix=__.log", ""},
		{"conn__2026-01-01-10-00-00__2026-01-01-11-00-00__a=b=c__.log", ""},
		{strings.Repeat("x", 250) + "__2026-01-01-10-00-00__2026-01-01-11-00-00__.log", ""},
	} {
		r, err := logname.Zeek.Parse(tt.name)
		got := ""
		if err == nil {
			got = r.Day() + "/" + r.Archived()
			if !logname.IsArchived(r.Archived()) || !logname.IsArchived(r.ArchivedAs(2)) {
				t.Errorf("%s is no name of an archived log", r.Archived())
			}
		}
		if got != tt.want {
			t.Errorf("%s: got %q (%v), want %q", tt.name, got, err, tt.want)
		}
	}
}

func TestOtherFormats(t *testing.T) {
	layout, err := logname.Layout("%Y%m%dT%H%M%S")
	if err != nil {
		t.Fatal(err)
	}
	r, err := logname.Format{Delimiter: "--", Layout: layout}.Parse("conn--20260101T100000--20260101T110000--.log")
	if err != nil || r.Archived() != "conn.10:00:00-11:00:00.log" {
		t.Errorf("%+v, %v", r, err)
	}
	for _, bad := range []string{"%q", "%", "2026-%m", "Jan %d", "PM"} {
		if l, err := logname.Layout(bad); err == nil {
			t.Errorf("%q is %q", bad, l)
		}
	}
}

func TestNotArchived(t *testing.T) {
	for _, name := range []string{
		".zeekrec", "conn.log", "conn.log.gz", "notes.txt", "conn.10:00:00.log", "a/conn.10:00:00-11:00:00.log", "conn.10:00:00-11:00:00log",
		".tmp.conn.10:00:00-11:00:00.log", "..10:00:00-11:00:00.log",
	} {
		if logname.IsArchived(name) {
			t.Errorf("%s", name)
		}
	}
	for name, is := range map[string]bool{"2026-01-01": true, "2026-1-1": false, "2026-02-30": false, "current": false, "2026-01-01.bak": false} {
		if _, ok := logname.ParseDay(name); ok != is {
			t.Errorf("%s is a day: %t", name, ok)
		}
	}
}

func TestLeftover(t *testing.T) {
	in := time.FixedZone("", 3600)
	opened, written := time.Unix(1767261600, 0).In(in), time.Unix(1767263400, 5).In(in) // 10:00 UTC, 10:30
	for _, tt := range []struct{ log, shadow, want string }{
		{"stats.log", ".log\n\n", "stats__2026-01-01-11-00-00__2026-01-01-11-30-00__log_suffix=logger-1__.log"},
		{"stats.log", "", "stats__2026-01-01-11-00-00__2026-01-01-11-30-00__log_suffix=logger-1__.log"},
		{"stats.log", ".log", "stats__2026-01-01-11-00-00__2026-01-01-11-30-00__log_suffix=logger-1__.log"},
		{"conn.log.gz", ".log.gz\nmail\n", "conn__2026-01-01-11-00-00__2026-01-01-11-30-00__log_suffix=logger-1__.log.gz"},
		{"conn.txt", "../x\n\n", "conn.txt__2026-01-01-11-00-00__2026-01-01-11-30-00__log_suffix=logger-1__.log"},
	} {
		if got := logname.Zeek.Name(logname.Leftover(tt.log, []byte(tt.shadow), opened, written, "logger-1")); got != tt.want {
			t.Errorf("%s: got %s", tt.log, got)
		}
	}
	if log, ok := logname.ShadowOf(".shadow.stats.log"); !ok || log != "stats.log" {
		t.Errorf("%q %t", log, ok)
	}
	for _, n := range []string{"stats.log", ".shadow.", ".tmp.shadow.x"} {
		if _, ok := logname.ShadowOf(n); ok {
			t.Errorf("%s is a shadow file's", n)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("conn__2026-01-01-10-00-00__2026-01-01-11-00-00__log_suffix=logger-1,x=y__.log.gz", "__")
	f.Add("a__b__2026-01-01-10-00-00__2026-01-01-11-00-00__.log", "__")
	f.Add("conn-2026-01-01-10-00-00-2026-01-01-11-00-00-.log", "-")
	f.Add("______", "_")
	f.Fuzz(func(t *testing.T, name, delimiter string) {
		if delimiter == "" {
			return
		}
		format := logname.Format{Delimiter: delimiter, Layout: logname.Zeek.Layout}
		r, err := format.Parse(name)
		if err != nil {
			return
		}
		if _, ok := logname.ParseDay(r.Day()); !ok {
			t.Errorf("%q: its day is %q", name, r.Day())
		}
		if a := r.Archived(); strings.ContainsAny(a, "/\x00") || strings.HasPrefix(a, ".") {
			t.Errorf("%q is archived as %q", name, a)
		}
		// What is written again is read as the same, where the other metadata is left out.
		if again, err := format.Parse(format.Name(r)); err != nil || again != r {
			t.Errorf("%q: %+v is read again as %+v, %v", name, r, again, err)
		}
	})
}
