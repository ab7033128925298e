package git

import (
	"io"
	"net/http"
	"net/http/httptest"
	"syscall"
	"testing"
	"time"
)

// BenchmarkUnchanged is a poll of a repository in which nothing has changed: one question, and its CPU time, system and user, of this
// process; over http the server's share is in it, too.
func BenchmarkUnchanged(b *testing.B) {
	for _, kind := range []string{"file", "http"} {
		b.Run(kind, func(b *testing.B) {
			o := benchOrigin(b)
			url := o.url()
			if kind == "http" {
				said := advertised(b, o)
				s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
					_, _ = w.Write(said)
				}))
				defer s.Close()
				url = s.URL + "/zeek.git"
			}
			u, err := Parse(url)
			if err != nil {
				b.Fatal(err)
			}
			l := &looker{url: u, opts: Options{Dir: b.TempDir()}.withDefaults()}
			defer l.close()
			if kind == "file" {
				if _, _, err := l.look(b.Context(), time.Now()); err != nil {
					b.Fatal(err)
				}
			} else {
				local := &looker{url: mustParse(b, o.url()), opts: l.opts}
				if _, _, err := local.look(b.Context(), time.Now()); err != nil {
					b.Fatal(err)
				}
				l.last = local.last // as if it had been fetched
			}
			before := cpu(b)
			for b.Loop() {
				if _, _, err := l.look(b.Context(), time.Now()); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64((cpu(b)-before).Microseconds())/float64(b.N), "cpu-µs/op")
		})
	}
}

func cpu(b *testing.B) time.Duration {
	b.Helper()
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

func mustParse(b *testing.B, url string) URL {
	b.Helper()
	u, err := Parse(url)
	if err != nil {
		b.Fatal(err)
	}
	return u
}

// advertised is what a server says of a repository's refs.
func advertised(b *testing.B, o *origin) []byte {
	b.Helper()
	s := o.serve()
	res, err := http.Get(s.URL + "/zeek.git/info/refs?service=git-upload-pack")
	if err != nil {
		b.Fatal(err)
	}
	defer res.Body.Close()
	said, err := io.ReadAll(res.Body)
	if err != nil {
		b.Fatal(err)
	}
	return said
}

func benchOrigin(b *testing.B) *origin {
	o := newOrigin(b)
	o.commit(map[string]string{"dmz.cfg": dmz})
	return o
}
