package sdnotify

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

const (
	// refresh is how often the status is renewed, and how often signs of life are sent where the watchdog's time does not ask for more.
	refresh = 5 * time.Second
	// retry is the pause before the main loops are asked again that did not answer.
	retry = 100 * time.Millisecond
	// patience with an answer where no watchdog says how long one may take.
	patience = 20 * time.Second
	// perInterval is how many signs of life fit into the time after which the watchdog bites: one may be late.
	perInterval = 3
)

// Pulse asks the main loops for a sign of life and returns a line about what they do, which has no line break. An error says that they
// do not answer, or not yet. It is called by one goroutine, and honours ctx.
type Pulse func(ctx context.Context) (status string, err error)

// Service is this process as the service manager sees it. Its methods may be called at once.
type Service struct {
	log      *slog.Logger
	send     func(state string) error // nil: nobody listens
	interval time.Duration            // of the watchdog; 0: there is none

	mu       sync.Mutex
	ready    bool
	stopping bool
	deaf     bool // sending failed, and that was logged
}

// Open finds out from the environment of this process whether a service manager listens, and how soon it misses a sign of life. Without
// one the Service does nothing.
func Open(log *slog.Logger) (*Service, error) {
	s := &Service{log: log}
	if os.Getenv("NOTIFY_SOCKET") == "" {
		return s, nil
	}
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return nil, fmt.Errorf("cannot tell when the service manager wants a sign of life: %w", err)
	}
	s.interval = interval
	s.send = func(state string) error {
		_, err := daemon.SdNotify(false, state)
		return err
	}
	return s, nil
}

// Run says that the service is ready as soon as pulse answers, and goes on with signs of life and the status until ctx ends.
func (s *Service) Run(ctx context.Context, pulse Pulse) {
	if s.send == nil {
		return
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	silent := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		status, err := s.ask(ctx, pulse)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			if silent {
				s.log.Info("The main loops answer again")
			}
			silent = false
			s.tell(status)
			timer.Reset(s.pause())
			continue
		}
		if s.missed(err) && !silent {
			silent = true
			s.log.Error("The main loops do not answer; the service manager ends this process when that lasts", "error", err, "watchdog", s.interval)
		}
		timer.Reset(retry)
	}
}

// ask for a sign of life, for no longer than it may take.
func (s *Service) ask(ctx context.Context, pulse Pulse) (string, error) {
	wait := patience
	if s.interval > 0 {
		wait = s.interval / perInterval
	}
	ctx, cancel := context.WithTimeoutCause(ctx, wait, fmt.Errorf("no answer within %s", wait))
	defer cancel()
	return pulse(ctx)
}

// pause until the next sign of life.
func (s *Service) pause() time.Duration {
	if s.interval > 0 {
		return min(refresh, s.interval/perInterval)
	}
	return refresh
}

// tell that all is well.
func (s *Service) tell(status string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	state := []string{"STATUS=" + status}
	if !s.ready {
		state = append(state, daemon.SdNotifyReady)
	}
	if s.interval > 0 {
		state = append(state, daemon.SdNotifyWatchdog)
	}
	if s.say(state...) {
		s.ready = true
	}
}

// missed says that there was no sign of life, and reports whether there should have been one.
func (s *Service) missed(err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	what := "coming up"
	if s.ready {
		what = "does not answer"
	}
	s.say("STATUS=" + what + ": " + strings.ReplaceAll(err.Error(), "\n", " "))
	return s.ready && !s.stopping
}

// Stopping says that the process ends because it was told to.
func (s *Service) Stopping() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.say(daemon.SdNotifyStopping, "STATUS=ending")
	s.stopping = true
}

// say sends it, and reports whether it was sent; s.mu is held. What cannot be told to the service manager is told to the log, once.
func (s *Service) say(state ...string) bool {
	if s.send == nil || s.stopping {
		return false
	}
	err := s.send(strings.Join(state, "\n"))
	if err != nil && !s.deaf {
		s.log.Warn("Cannot tell the service manager how this service is", "error", err)
	}
	s.deaf = err != nil
	return err == nil
}
