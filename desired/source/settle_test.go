package source

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
	"pgregory.net/rapid"

	"github.com/zeekrec/zeekrec/desired"
)

var start = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func ms(n int) time.Time { return start.Add(time.Duration(n) * time.Millisecond) }

// seen makes a scan from "a=1 b=2": "b=2*" is being written, "b=!" cannot be read, "error:x" is the source's.
func seen(at int, what string, device uint64) *scan {
	sc := &scan{began: ms(at), ended: ms(at + 1), device: device}
	if why, ok := strings.CutPrefix(what, "error:"); ok {
		sc.err = errors.New(why)
		return sc
	}
	for _, f := range strings.Fields(what) {
		name, data, _ := strings.Cut(f, "=")
		data, busy := strings.CutSuffix(data, "*")
		si := sighting{file: desired.ClusterFile{Name: name, File: name + ".cfg", Data: []byte(data)}, stamp: xxhash.Sum64String(data)}
		if busy {
			si.busy = name + ".cfg"
		}
		if data == "!" {
			si.file.Data, si.file.Err = nil, errors.New("unreadable")
		}
		sc.files = append(sc.files, si)
	}
	slices.SortFunc(sc.files, func(a, b sighting) int { return strings.Compare(a.file.Name, b.file.Name) })
	return sc
}

// said is the inverse of seen, for an update: "-" is none.
func said(u *Update) string {
	if u == nil {
		return "-"
	}
	if u.Err != nil {
		if e, ok := errors.AsType[*Error](u.Err); ok {
			return "error:" + string(e.Kind)
		}
		return "error:" + u.Err.Error()
	}
	var out []string
	for _, cf := range u.Snapshot.Files {
		switch e, _ := errors.AsType[*Error](cf.Err); {
		case e != nil:
			out = append(out, cf.Name+"="+string(e.Kind))
		case cf.Err != nil:
			out = append(out, cf.Name+"=!")
		default:
			out = append(out, cf.Name+"="+string(cf.Data))
		}
	}
	for _, p := range u.Pending {
		out = append(out, "pending:"+p.Cluster)
	}
	return strings.Join(out, " ")
}

func TestSettler(t *testing.T) {
	type at struct {
		ms     int
		what   string // "hint", "ask", "silent", or what a scan sees
		want   string // of a scan: what is said
		device uint64
	}
	tests := []struct {
		name  string
		steps []at
	}{
		{"the first look is not enough", []at{{0, "a=1", "-", 1}, {200, "a=1", "-", 1}, {310, "a=1", "a=1", 1}}},
		{"an empty folder is one, after a while", []at{{0, "", "-", 1}, {310, "", "", 1}}},
		{"nothing new is not told", []at{{0, "a=1", "-", 1}, {310, "a=1", "a=1", 1}, {700, "a=1", "-", 1}}},
		{"told again after Rescan", []at{{0, "a=1", "-", 1}, {310, "a=1", "a=1", 1}, {30_310, "a=1", "a=1", 1}}},
		{"told again when asked", []at{{0, "a=1", "-", 1}, {310, "a=1", "a=1", 1}, {500, "ask", "", 0}, {501, "a=1", "a=1", 1}, {900, "a=1", "-", 1}}},
		{"a look from before the question is no answer", []at{
			{0, "a=1", "-", 1}, {310, "a=1", "a=1", 1}, {600, "ask", "", 0}, {500, "a=1", "-", 1}, {610, "a=1", "a=1", 1},
		}},
		{"a change settles", []at{{0, "a=1", "-", 1}, {310, "a=1", "a=1", 1}, {700, "a=2", "-", 1}, {900, "a=2", "-", 1}, {1010, "a=2", "a=2", 1}}},
		{"a change and back is none", []at{{0, "a=1", "-", 1}, {310, "a=1", "a=1", 1}, {700, "a=2", "-", 1}, {900, "a=1", "-", 1}, {1300, "a=1", "-", 1}}},
		{"each change begins anew", []at{
			{0, "a=1", "-", 1}, {310, "a=1", "a=1", 1}, {700, "a=2", "-", 1}, {950, "a=3", "-", 1}, {1200, "a=4", "-", 1}, {1510, "a=4", "a=4", 1},
		}},
		{"a short absence is none", []at{{0, "a=1", "-", 1}, {310, "a=1", "a=1", 1}, {700, "", "-", 1}, {800, "a=1", "-", 1}, {1200, "a=1", "-", 1}}},
		{"a removal settles like a change", []at{{0, "a=1 b=1", "-", 1}, {310, "a=1 b=1", "a=1 b=1", 1}, {700, "a=1", "-", 1}, {1010, "a=1", "a=1", 1}}},
		{"all change together", []at{
			{0, "a=1 b=1", "-", 1}, {310, "a=1 b=1", "a=1 b=1", 1}, {700, "a=2 b=1", "-", 1}, {900, "a=2 b=2", "-", 1},
			{1010, "a=2 b=2", "-", 1}, {1210, "a=2 b=2", "a=2 b=2", 1},
		}},
		{"who writes is waited for", []at{
			{0, "a=1", "-", 1}, {310, "a=1", "a=1", 1}, {700, "a=2*", "-", 1}, {1200, "a=2*", "-", 1}, {1250, "a=2", "-", 1}, {1510, "a=2", "-", 1}, {1560, "a=2", "a=2", 1},
		}},
		{"who holds it open and has changed nothing is not", []at{
			{0, "a=1 b=1", "-", 1}, {310, "a=1 b=1", "a=1 b=1", 1}, {700, "a=1* b=2", "-", 1}, {1010, "a=1* b=2", "a=1 b=2", 1},
		}},
		{"who writes forever holds up others for Hold only", []at{
			{0, "a=1 b=1", "-", 1}, {310, "a=1 b=1", "a=1 b=1", 1}, {1000, "a=2* b=2", "-", 1}, {5000, "a=2* b=2", "-", 1},
			{10_900, "a=2* b=2", "-", 1}, {11_000, "a=2* b=2", "a=1 b=2 pending:a", 1}, {13_000, "a=2* b=2", "-", 1},
			{14_000, "a=2* b=3", "-", 1}, {14_310, "a=2* b=3", "a=1 b=3 pending:a", 1}, {15_000, "a=2 b=3", "-", 1},
			{15_310, "a=2 b=3", "a=2 b=3", 1},
		}},
		{"a new one that never settles is an error of its own", []at{
			{0, "a=1* b=1", "-", 1}, {310, "a=1* b=1", "-", 1}, {10_001, "a=1* b=1", "a=busy b=1 pending:a", 1}, {10_400, "a=1 b=1", "-", 1},
			{10_710, "a=1 b=1", "a=1 b=1", 1},
		}},
		{"a file that cannot be read", []at{
			{0, "a=1 b=1", "-", 1}, {310, "a=1 b=1", "a=1 b=1", 1}, {700, "a=! b=1", "-", 1}, {1010, "a=! b=1", "a=! b=1", 1},
			{2000, "a=1 b=1", "-", 1}, {2310, "a=1 b=1", "a=1 b=1", 1},
		}},
		{"the source fails, and comes back the same", []at{
			{0, "a=1", "-", 1}, {310, "a=1", "a=1", 1}, {700, "error:x", "-", 0}, {1010, "error:x", "error:x", 0}, {1400, "error:x", "-", 0},
			{2000, "a=1", "-", 1}, {2310, "a=1", "a=1", 1},
		}},
		{"it fails from the beginning", []at{{0, "error:x", "-", 0}, {310, "error:x", "error:x", 0}, {400, "a=1", "-", 1}, {710, "a=1", "a=1", 1}}},
		{"gone for a moment only", []at{{0, "a=1", "-", 1}, {310, "a=1", "a=1", 1}, {700, "error:x", "-", 0}, {900, "a=1", "-", 1}, {1300, "a=1", "-", 1}}},
		{"deleted while nothing was seen of it is not settled", []at{ // rm -rf, mkdir, and filled again
			{0, "a=1 b=1", "-", 1}, {310, "a=1 b=1", "a=1 b=1", 1}, {600, "b=1", "-", 1}, {700, "error:x", "-", 0}, {1000, "", "-", 1},
			{1100, "a=1", "-", 1}, {1200, "a=1 b=1", "-", 1}, {1600, "a=1 b=1", "-", 1},
		}},
		{"what was pending before a failure begins anew", []at{
			{0, "a=1 b=1", "-", 1}, {310, "a=1 b=1", "a=1 b=1", 1}, {700, "a=2* b=1", "-", 1}, {1000, "error:x", "-", 0}, {1400, "error:x", "error:x", 0},
			{20_000, "a=2* b=1", "-", 1}, {20_400, "a=2* b=1", "-", 1}, {20_500, "a=2 b=1", "-", 1}, {20_810, "a=2 b=1", "a=2 b=1", 1},
		}},
		{"unmounted", []at{
			{0, "a=1", "-", 1}, {310, "a=1", "a=1", 1}, {700, "", "-", 2}, {1010, "", "error:unmounted", 2}, {5000, "", "-", 2},
			{5100, "", "-", 1}, {5500, "", "-", 1}, // another that was given the same number
			{6000, "a=1", "-", 1}, {6310, "a=1", "a=1", 1},
		}},
		{"emptied on the same device is a removal", []at{{0, "a=1", "-", 1}, {310, "a=1", "a=1", 1}, {700, "", "-", 1}, {1010, "", "", 1}}},
		{"swapped for a filled one on another device", []at{
			{0, "a=1", "-", 1}, {310, "a=1", "a=1", 1}, {700, "a=2", "-", 2}, {1010, "a=2", "a=2", 2}, {1400, "", "-", 2}, {1710, "", "", 2},
		}},
		{"events put it off", []at{
			{0, "a=1", "-", 1}, {310, "a=1", "a=1", 1}, {690, "hint", "", 0}, {700, "a=2", "-", 1}, {900, "hint", "", 0},
			{1010, "a=2", "-", 1}, {1150, "hint", "", 0}, {1400, "a=2", "-", 1}, {1450, "a=2", "a=2", 1},
		}},
		{"a hint during the look puts it off", []at{{0, "a=1", "-", 1}, {311, "hint", "", 0}, {310, "a=1", "-", 1}, {611, "a=1", "a=1", 1}}},
		{"a silent file system", []at{
			{0, "a=1", "-", 1}, {310, "a=1", "a=1", 1}, {31_000, "silent", "error:unresponsive", 0}, {61_000, "silent", "error:unresponsive", 0},
			{70_000, "a=1", "-", 1}, {70_310, "a=1", "a=1", 1},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSettler("/src", Options{}.withDefaults())
			for _, st := range tt.steps {
				got := ""
				switch st.what {
				case "hint":
					s.hint(ms(st.ms))
				case "ask":
					s.ask(ms(st.ms))
				case "silent":
					got = said(s.silent(ms(st.ms)))
				default:
					s.begin()
					got = said(s.take(seen(st.ms, st.what, st.device), nil).update)
				}
				if got != st.want {
					t.Fatalf("at %d ms, %q: said %q, want %q", st.ms, st.what, got, st.want)
				}
			}
		})
	}
}

// Events without end put things off for MaxWait only.
func TestSettlerMaxWait(t *testing.T) {
	s := newSettler("/src", Options{}.withDefaults())
	var said []int
	for now := 0; now <= 12_000; now += 100 {
		s.hint(ms(now))
		if out := s.take(seen(now, fmt.Sprintf("a=%d", now/6000), 1), nil); out.update != nil {
			said = append(said, now)
		}
	}
	if want := []int{5000, 6400}; !slices.Equal(said, want) { // 6400: by then it has gone on for long enough
		t.Errorf("said something at %v ms, want %v", said, want)
	}
}

// Who does not settle is told once.
func TestSettlerSlow(t *testing.T) {
	s := newSettler("/src", Options{}.withDefaults())
	var slow []Pending
	for now := 0; now <= 9000; now += 300 {
		slow = append(slow, s.take(seen(now, fmt.Sprintf("a=%d b=1", now), 1), nil).slow...)
	}
	if len(slow) != 1 || slow[0].Cluster != "a" || !slow[0].Since.Equal(ms(1)) {
		t.Errorf("slow are %+v, want a once, since the first look", slow)
	}
}

// The same content is the same pointer, so that whoever takes updates can tell at a glance.
func TestSettlerKeepsPointer(t *testing.T) {
	s := newSettler("/src", Options{}.withDefaults())
	s.take(seen(0, "a=1", 1), nil)
	first := s.take(seen(400, "a=1", 1), nil).update
	again := s.take(seen(40_000, "a=1", 1), nil).update
	if first == nil || again == nil || first.Snapshot != again.Snapshot || !again.CheckedAt.After(first.CheckedAt) {
		t.Errorf("updates %+v and %+v: want the same snapshot, checked later", first, again)
	}
}

// due must neither wait longer than promised nor turn in circles.
func TestSettlerDue(t *testing.T) {
	s := newSettler("/src", Options{}.withDefaults())
	want := func(what string, at int) {
		t.Helper()
		if got := s.due(); !got.Equal(ms(at)) {
			t.Errorf("%s: due at %v, want %v", what, got.Sub(start), ms(at).Sub(start))
		}
	}
	if !s.due().IsZero() {
		t.Error("the first look is not due at once")
	}
	s.take(seen(0, "a=1", 1), nil)
	want("seen once", 301)
	s.take(seen(301, "a=1", 1), nil)
	want("settled", 30_302)
	s.hint(ms(1000))
	want("hinted", 1050)
	s.hint(ms(1040))
	want("hinted twice", 1090)
	for i := 1060; i < 1500; i += 20 {
		s.hint(ms(i))
	}
	want("hinted again and again", 1300)
	s.begin()
	s.take(seen(1500, "a=1", 1), nil)
	want("nothing new, but events are young", 1780)
	s.begin()
	s.take(seen(1780, "a=!", 1), nil)
	s.take(seen(2081, "a=!", 1), nil)
	want("a file cannot be read", 4082)
	s.ask(ms(2500))
	want("asked", 2500)
	s.begin()
	s.take(seen(2501, "a=!", 1), nil)
	want("answered", 4502)
	s.take(seen(4502, "error:x", 1), nil)
	want("the source has failed", 4803)
	s.take(seen(4803, "error:x", 1), nil)
	want("it has failed for good", 6804)
}

// Whatever is seen in whatever order: what is told of a file was the same in two looks, Quiet apart, and in
// all between, with nobody writing; and errors of the source never remove anything.
func TestSettlerProperties(t *testing.T) {
	opts := Options{}.withDefaults()
	rapid.Check(t, func(rt *rapid.T) {
		s := newSettler("/src", opts)
		type look struct {
			at   int
			data map[string]string // nil: error
		}
		var looks []look
		now := 0
		for range rapid.IntRange(1, 60).Draw(rt, "looks") {
			now += rapid.SampledFrom([]int{20, 50, 150, 301, 320, 2000, 11_000}).Draw(rt, "after")
			if rapid.Bool().Draw(rt, "hint") {
				s.hint(ms(now - 10))
			}
			l, what := look{at: now, data: map[string]string{}}, ""
			if rapid.IntRange(0, 9).Draw(rt, "fails") == 0 {
				l.data, what = nil, "error:x"
			} else {
				for _, name := range []string{"a", "b"} {
					if v := rapid.SampledFrom([]string{"", "1", "1", "2", "2*", "!"}).Draw(rt, name); v != "" {
						l.data[name] = v
						what += " " + name + "=" + v
					}
				}
			}
			looks = append(looks, l)
			u := s.take(seen(now, what, 1), nil).update
			if due := s.due(); !due.After(ms(now)) || due.After(ms(now+1).Add(opts.Rescan)) {
				rt.Fatalf("due %v after a look at %d ms", due.Sub(start), now)
			}
			if u == nil || u.Err != nil {
				continue
			}
			for _, name := range []string{"a", "b"} {
				told := ""
				if cf, ok := u.Snapshot.Find(name); ok {
					told = string(cf.Data)
					if e, isOwn := errors.AsType[*Error](cf.Err); isOwn && e.Kind == Busy {
						continue // promises nothing
					} else if cf.Err != nil {
						told = "!"
					}
				}
				// Some stretch of looks must show it so, or it was never there at all.
				first, ok := -1, told == ""
				for i, l := range looks {
					switch {
					case l.data == nil || l.data[name] != told:
						first = -1
					case first < 0:
						first = i
					}
					ok = ok && (told != "" || i != -1)
					if first >= 0 && l.at-(looks[first].at+1) >= 300 {
						ok = true
					}
				}
				if !ok {
					rt.Fatalf("told %s=%q, which never settled: %+v", name, told, looks)
				}
			}
		}
	})
}
