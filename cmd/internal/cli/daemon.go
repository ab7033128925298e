package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"

	"github.com/google/renameio/v2"
	"github.com/oklog/run"

	"github.com/zeekrec/zeekrec/actuators/socket"
)

// daemon is a process that zeekrec runs beside Zeek's, a broker or an archiver, while it is in the foreground: parts that
// serve until one of them ends, what they listen on, and a file that tells the state.
type daemon struct {
	status statusFile
	log    *slog.Logger

	group  run.Group
	opened []net.Listener
}

// begin says that the process is coming up. Whoever calls it calls end.
func (d *daemon) begin() error { return d.status.write("INITIALIZING [main]") }

// end closes what was opened and says that the process is over; *err, where it is nil, becomes what goes wrong with that.
func (d *daemon) end(err *error) {
	for _, ln := range d.opened {
		_ = ln.Close()
	}
	if werr := d.status.write("TERMINATED [atexit]"); werr != nil && *err == nil {
		*err = werr
	}
}

// part serves until its context ends, which it does when another part has ended.
func (d *daemon) part(ctx context.Context, serve func(context.Context) error) {
	ctx, cancel := context.WithCancel(ctx)
	d.group.Add(func() error { return serve(ctx) }, func(error) { cancel() })
}

// open keeps a listener for end to close.
func (d *daemon) open(ln net.Listener, err error) (net.Listener, error) {
	if err == nil {
		d.opened = append(d.opened, ln)
	}
	return ln, err
}

// answer serves questions at a Unix socket, and metrics at an address; where either is empty, not.
func (d *daemon) answer(ctx context.Context, path string, questions http.Handler, address string, metrics http.Handler) error {
	serve := func(ln net.Listener, h http.Handler) {
		d.part(ctx, func(ctx context.Context) error { return socket.Serve(ctx, ln, h) })
	}
	if path != "" {
		ln, err := d.open(socket.Listen(path))
		if err != nil {
			return err
		}
		serve(ln, questions)
	}
	if address != "" {
		var lc net.ListenConfig
		ln, err := d.open(lc.Listen(ctx, "tcp", address))
		if err != nil {
			return fmt.Errorf("cannot serve metrics: %w", err)
		}
		serve(ln, metrics)
	}
	return nil
}

// run says that the process serves, and returns when a part has ended and then all have.
func (d *daemon) run(what string, args ...any) error {
	if err := d.status.write("RUNNING [run_loop]"); err != nil {
		return err
	}
	d.log.Info(what, append(args, "version", Version())...)
	err := d.group.Run()
	if werr := d.status.write("TERMINATING [main]"); werr != nil {
		d.log.Warn("Cannot write the status file", "error", werr)
	}
	return err
}

// statusFile tells the state of the process, in Zeek's words.
type statusFile string

func (f statusFile) write(state string) error {
	if f == "" {
		return nil
	}
	if err := renameio.WriteFile(string(f), []byte(state+"\n"), 0o644); err != nil {
		return fmt.Errorf("cannot write the status file: %w", err)
	}
	return nil
}

// readSettings are a daemon's settings of a file, as JSON.
func readSettings[T any](path string) (s T, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return s, fmt.Errorf("cannot read the settings: %w", err)
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return s, fmt.Errorf("cannot read the settings in %s: %w", path, err)
	}
	return s, nil
}
