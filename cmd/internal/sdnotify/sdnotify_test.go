package sdnotify

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// told by a Service, with when: for tests in a bubble, whose time begins at 0.
type told struct {
	at    time.Duration
	state string
}

func listening(interval time.Duration, log *bytes.Buffer) (*Service, *[]told) {
	began, got := time.Now(), &[]told{}
	return &Service{
		log: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}})),
		interval: interval,
		send: func(s string) error {
			*got = append(*got, told{time.Since(began), strings.ReplaceAll(s, "\n", " ")})
			return nil
		},
	}, got
}

func TestReadyWithTheFirstAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s, got := listening(9*time.Second, &log)
		ctx, cancel := context.WithCancel(t.Context())
		n := 0
		go s.Run(ctx, func(context.Context) (string, error) {
			if n++; n < 3 {
				return "", errors.New("not\nyet")
			}
			return "fine", nil
		})
		time.Sleep(4 * time.Second)
		s.Stopping()
		time.Sleep(time.Minute)
		cancel()
		synctest.Wait()
		want := []told{
			{0, "STATUS=coming up: not yet"},
			{100 * time.Millisecond, "STATUS=coming up: not yet"},
			{200 * time.Millisecond, "STATUS=fine READY=1 WATCHDOG=1"},
			{3200 * time.Millisecond, "STATUS=fine WATCHDOG=1"},
			{4 * time.Second, "STOPPING=1 STATUS=ending"},
		}
		if !slices.Equal(*got, want) {
			t.Errorf("said\n%v\nin place of\n%v", *got, want)
		}
		if log.Len() > 0 {
			t.Errorf("logged %s", &log)
		}
	})
}

// A loop that hangs gets no sign of life sent on its behalf, for as long as it hangs.
func TestNoSignOfLifeOfWhatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s, got := listening(6*time.Second, &log)
		ctx, cancel := context.WithCancel(t.Context())
		began := time.Now()
		go s.Run(ctx, func(ctx context.Context) (string, error) {
			if at := time.Since(began); at >= time.Second && at < 10*time.Second {
				<-ctx.Done()
				return "", context.Cause(ctx)
			}
			return "fine", nil
		})
		time.Sleep(11 * time.Second)
		cancel()
		synctest.Wait()
		want := []told{
			{0, "STATUS=fine READY=1 WATCHDOG=1"},
			{4 * time.Second, "STATUS=does not answer: no answer within 2s"},
			{6100 * time.Millisecond, "STATUS=does not answer: no answer within 2s"},
			{8200 * time.Millisecond, "STATUS=does not answer: no answer within 2s"},
			{10300 * time.Millisecond, "STATUS=does not answer: no answer within 2s"},
			{10400 * time.Millisecond, "STATUS=fine WATCHDOG=1"},
		}
		if !slices.Equal(*got, want) {
			t.Errorf("said\n%v\nin place of\n%v", *got, want)
		}
		if w := `level=ERROR msg="The main loops do not answer; the service manager ends this process when that lasts" error="no answer within 2s" watchdog=6s
level=INFO msg="The main loops answer again"
`; log.String() != w {
			t.Errorf("logged\n%s", &log)
		}
	})
}

func TestWithoutServiceManager(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	s, err := Open(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s.Run(t.Context(), func(context.Context) (string, error) {
		t.Error("somebody is asked for whom nobody listens")
		return "", nil
	})
	s.Stopping()
}

func TestOverTheSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "30000000")
	t.Setenv("WATCHDOG_PID", "")
	s, err := Open(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	go s.Run(t.Context(), func(context.Context) (string, error) { return "fine", nil })
	if err := conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1000)
	n, err := conn.Read(b)
	if got, want := string(b[:n]), "STATUS=fine\nREADY=1\nWATCHDOG=1"; err != nil || got != want {
		t.Errorf("the service manager reads %q, %v in place of %q", got, err, want)
	}
}

func TestBadWatchdog(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "/nowhere")
	t.Setenv("WATCHDOG_USEC", "soon")
	_, err := Open(slog.New(slog.DiscardHandler))
	if want := `cannot tell when the service manager wants a sign of life: error converting WATCHDOG_USEC: strconv.Atoi: parsing "soon": invalid syntax`; err == nil || err.Error() != want {
		t.Errorf("the error is %v", err)
	}
}
